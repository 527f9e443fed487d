//! Skipping through a chunked body (RFC 9112 section 7.1). A client that
//! measures needs to know where the body ends and what its bytes are; whether
//! an extension is well-formed is not its business.

use crate::limits::{CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u32,
        size: u64,
    },
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEndLineFeed,
    /// At the start of a trailer line, or within one.
    Trailer {
        in_line: bool,
    },
    Done,
}

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of the body.
    Body(usize),
    /// The body has ended.
    Done,
}

/// Where in a chunked body the reader is.
#[derive(Clone, Debug)]
pub struct ChunkedReader {
    state: State,
    line_bytes: usize,
    trailer_bytes: usize,
}

impl ChunkedReader {
    /// At the start of a body.
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            line_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Looks at what comes first in `input`, which is not empty.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, &'static str> {
        if let State::Data(left) = self.state {
            let bytes = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - bytes as u64;
            self.state = if left == 0 {
                State::DataEnd
            } else {
                State::Data(left)
            };
            return Ok(Step::Body(bytes));
        }
        for (index, byte) in input.iter().enumerate() {
            if self.state == State::Done {
                return Ok(if index == 0 {
                    Step::Done
                } else {
                    Step::Framing(index)
                });
            }
            if matches!(self.state, State::Data(_)) {
                return Ok(Step::Framing(index));
            }
            self.state = self.after(*byte)?;
        }
        Ok(Step::Framing(input.len()))
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn after(&mut self, byte: u8) -> Result<State, &'static str> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err("a chunk size line without an end");
        }
        Ok(match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err("a chunk size of more than 16 digits");
                }
                let digit = u64::from(char::from(byte).to_digit(16).unwrap_or_default());
                State::Size {
                    digits: digits + 1,
                    size: size << 4 | digit,
                }
            }
            (State::Size { digits: 1.., size } | State::Extension(size), b'\r') => {
                State::SizeEnd(size)
            }
            (State::Size { digits: 1.., size }, b';' | b' ' | b'\t') => State::Extension(size),
            (State::Extension(size), byte) if byte != b'\n' => State::Extension(size),
            (State::SizeEnd(0), b'\n') => State::Trailer { in_line: false },
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataEnd, b'\r') => State::DataEndLineFeed,
            (State::DataEndLineFeed, b'\n') => {
                self.line_bytes = 0;
                State::Size { digits: 0, size: 0 }
            }
            (State::Trailer { in_line }, byte) => {
                self.line_bytes = 0;
                self.trailer_bytes += 1;
                if self.trailer_bytes > HEAD_BYTES_MAX {
                    return Err("trailers of more than 64 KiB");
                }
                match byte {
                    b'\n' if in_line => State::Trailer { in_line: false },
                    b'\n' => State::Done,
                    b'\r' => State::Trailer { in_line },
                    _ => State::Trailer { in_line: true },
                }
            }
            _ => return Err("chunked coding that is none"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let (mut reader, mut body, mut left) = (ChunkedReader::new(), Vec::new(), 0);
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() && !reader.is_done() {
                let bytes = match reader.step(input)? {
                    Step::Framing(bytes) => bytes,
                    Step::Body(bytes) => {
                        body.extend_from_slice(&input[..bytes]);
                        bytes
                    }
                    Step::Done => break,
                };
                input = &input[bytes..];
            }
            left = input.len();
        }
        Ok((body, left, reader.is_done()))
    }

    #[test]
    fn a_body_cut_anywhere_reads_the_same_and_what_follows_is_left() {
        let input = b"5;x=y\r\nhello\r\n00a\r\n, chunked!\r\n0\r\nT: v\r\n\r\nHTTP";
        for cut in 0..input.len() - 4 {
            let (body, left, done) = read(&[&input[..cut], &input[cut..]]).unwrap();
            assert_eq!(
                (&body[..], left, done),
                (&b"hello, chunked!"[..], 4, true),
                "{cut}"
            );
        }
    }

    #[test]
    fn what_is_no_chunked_body_is_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "1\r\nab",
            "11111111111111111\r\n",
        ] {
            assert!(read(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let endless = format!("1;{}", "a".repeat(CHUNK_LINE_BYTES_MAX));
        assert!(read(&[endless.as_bytes()]).is_err());
        assert!(!read(&[b"5\r\nhel"]).unwrap().2);
    }
}
