//! The chunked transfer coding (RFC 9112 section 7.1), decoded strictly:
//! CRLF and nothing else ends a line, a size is one to sixteen hexadecimal
//! digits, extensions are read, bounded and dropped, and so are trailers that no worker may see.

use memchr::memchr;
use slotway_shm_proto::field::is_token_byte;
use slotway_shm_proto::trailers::{self, TrailerError};

use crate::limits::{CHUNK_LINES_BYTES_MAX, TRAILER_BYTES_MAX};

/// Why a chunked body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// 400: chunk lines beyond their bound.
    #[error("chunk sizes and extensions exceed {CHUNK_LINES_BYTES_MAX} bytes in all")]
    LinesTooLong,
    /// 431.
    #[error("the trailer section exceeds {TRAILER_BYTES_MAX} bytes")]
    TrailersTooLarge,
    /// 413.
    #[error("the request body exceeds the limit")]
    BodyTooLarge,
}

impl ChunkError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::LinesTooLong => 400,
            Self::TrailersTooLarge => 431,
            Self::BodyTooLarge => 413,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeLine,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What one call got done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// The last chunk and its trailers have been read.
    pub done: bool,
}

/// Decodes one body, fed as it arrives.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    body_bytes: u64,
    body_bytes_max: u64,
    lines_bytes: usize,
    trailer_bytes: usize,
    trailers: Vec<u8>,
}

impl ChunkedDecoder {
    /// For a body of at most `body_bytes_max`.
    pub fn new(body_bytes_max: u64) -> Self {
        Self {
            state: State::SizeLine,
            body_bytes: 0,
            body_bytes_max,
            lines_bytes: 0,
            trailer_bytes: 0,
            trailers: Vec::new(),
        }
    }

    /// Whether the next thing to come is a chunk: all that has been decoded is whole.
    pub fn is_between_chunks(&self) -> bool {
        self.state == State::SizeLine
    }

    /// The fields behind the body that a worker may get, in wire form, once it is done.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Decodes from `input` behind the end of `out`, at most `room` bytes.
    /// Lines are used up whole, so an unfinished one stays in the input.
    pub fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        mut room: usize,
    ) -> Result<Progress, ChunkError> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match self.state {
                State::SizeLine => {
                    let left = CHUNK_LINES_BYTES_MAX - self.lines_bytes;
                    let Some(line) = next_line(rest, left, ChunkError::LinesTooLong)? else {
                        break;
                    };
                    // The digits and CRLF of an ordinary size line are not
                    // what the bound is for, only what comes on top.
                    let size = parse_size_line(line)?;
                    self.lines_bytes += line.len().saturating_sub(16);
                    consumed += line.len() + 2;
                    self.body_bytes = self
                        .body_bytes
                        .checked_add(size)
                        .filter(|bytes| *bytes <= self.body_bytes_max)
                        .ok_or(ChunkError::BodyTooLarge)?;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(left) => {
                    let take = rest
                        .len()
                        .min(room)
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    if take == 0 {
                        break;
                    }
                    out.extend_from_slice(&rest[..take]);
                    consumed += take;
                    room -= take;
                    let left = left - take as u64;
                    self.state = if left == 0 {
                        State::DataEnd
                    } else {
                        State::Data(left)
                    };
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        consumed += 2;
                        self.state = State::SizeLine;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(ChunkError::Malformed("chunk data longer than its size")),
                },
                State::Trailers => {
                    let left = TRAILER_BYTES_MAX - self.trailer_bytes;
                    let Some(line) = next_line(rest, left, ChunkError::TrailersTooLarge)? else {
                        break;
                    };
                    if !line.is_empty() {
                        self.add_trailer(line)?;
                    }
                    self.trailer_bytes += line.len();
                    consumed += line.len() + 2;
                    if line.is_empty() {
                        self.state = State::Done;
                    }
                }
                State::Done => break,
            }
        }
        Ok(Progress {
            consumed,
            done: self.state == State::Done,
        })
    }

    fn add_trailer(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let name = line.iter().take_while(|byte| is_token_byte(**byte)).count();
        let malformed = ChunkError::Malformed("malformed trailer field");
        let Some([b':', value @ ..]) = line.get(name..) else {
            return Err(malformed);
        };
        trailers::append(&mut self.trailers, &line[..name], value.trim_ascii()).map_err(|error| {
            match error {
                TrailerError::Malformed => malformed,
                TrailerError::TooLarge => ChunkError::TrailersTooLarge,
            }
        })
    }
}

/// The next line without its CRLF, once it is whole.
fn next_line(
    input: &[u8],
    bytes_max: usize,
    too_long: ChunkError,
) -> Result<Option<&[u8]>, ChunkError> {
    let Some(line_feed) = memchr(b'\n', input) else {
        return if input.len() > bytes_max {
            Err(too_long)
        } else {
            Ok(None)
        };
    };
    let Some(line) = input[..line_feed].strip_suffix(b"\r") else {
        return Err(ChunkError::Malformed("a line ends in LF without CR"));
    };
    if line.len() > bytes_max {
        Err(too_long)
    } else {
        Ok(Some(line))
    }
}

fn parse_size_line(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits == 0 || digits > 16 {
        return Err(ChunkError::Malformed(
            "a chunk size that is not 1 to 16 hexadecimal digits",
        ));
    }
    check_extensions(&line[digits..])?;
    Ok(line[..digits].iter().fold(0_u64, |size, digit| {
        size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or_default())
    }))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 section
/// 7.1.1). A recipient must parse the bad white space (RFC 9110 section 5.6.3); it
/// stands before something, never at the end.
fn check_extensions(mut rest: &[u8]) -> Result<(), ChunkError> {
    let malformed = ChunkError::Malformed("malformed chunk extension");
    let token = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| is_token_byte(**byte))
            .count()
    };
    while !rest.is_empty() {
        let [b';', tail @ ..] = skip_blanks(rest) else {
            return Err(malformed);
        };
        let tail = skip_blanks(tail);
        let name = token(tail);
        if name == 0 {
            return Err(malformed);
        }
        rest = &tail[name..];
        if let [b'=', value @ ..] = skip_blanks(rest) {
            let value = skip_blanks(value);
            let length = if value.first() == Some(&b'"') {
                quoted_bytes(value).ok_or(malformed)?
            } else {
                token(value)
            };
            if length == 0 {
                return Err(malformed);
            }
            rest = &value[length..];
        }
    }
    Ok(())
}

fn skip_blanks(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Bytes of the quoted string at the start, its quotes included.
fn quoted_bytes(value: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in value.iter().enumerate().skip(1) {
        match byte {
            0..=8 | 10..=31 | 127 => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &str) -> Result<(String, usize, bool), ChunkError> {
        let mut out = Vec::new();
        let mut decoder = ChunkedDecoder::new(1000);
        let progress = decoder.decode(input.as_bytes(), &mut out, usize::MAX)?;
        Ok((
            String::from_utf8(out).unwrap(),
            progress.consumed,
            progress.done,
        ))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_and_what_follows_is_left() {
        let input = "5\r\nhello\r\n00A;a;b=c;d=\"e;\\\"\"\r\n, chunked!\r\n0\r\nX: y\r\n\r\nGET";
        let (body, consumed, done) = decode(input).unwrap();
        assert_eq!((body.as_str(), done), ("hello, chunked!", true));
        assert_eq!(&input[consumed..], "GET");
    }

    #[test]
    fn white_space_in_chunk_extensions_is_parsed() {
        for line in ["5; a=b", "5 ;a", "5\t; a = b ; c", "5;a= \"q\""] {
            let input = format!("{line}\r\nhello\r\n0 ; z\r\n\r\n");
            let (body, _, done) = decode(&input).unwrap();
            assert_eq!((body.as_str(), done), ("hello", true), "{line}");
        }
    }

    #[test]
    fn a_body_cut_at_every_byte_decodes_to_the_same() {
        let input = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n";
        for cut in 0..=input.len() {
            let (mut out, mut decoder) = (Vec::new(), ChunkedDecoder::new(1000));
            let first = decoder.decode(&input[..cut], &mut out, usize::MAX).unwrap();
            let second = decoder
                .decode(&input[first.consumed..], &mut out, usize::MAX)
                .unwrap();
            assert_eq!(
                (out.as_slice(), second.done),
                (&b"hello!"[..], true),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn only_as_much_is_decoded_as_there_is_room_for() {
        let (mut out, mut decoder) = (Vec::new(), ChunkedDecoder::new(1000));
        let progress = decoder
            .decode(b"5\r\nhello\r\n0\r\n\r\n", &mut out, 2)
            .unwrap();
        assert_eq!((out.as_slice(), progress.done), (&b"he"[..], false));
    }

    #[test]
    fn whatever_another_reader_might_take_for_a_chunk_is_refused() {
        for bad in [
            "\r\n",
            " 5\r\n",
            "5 \r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            "1_0\r\n",
            "5;\r\n",
            "5;a=\r\n",
            "5;a=\"x\r\n",
            "5 ;\r\n",
            "5;a \r\n",
            "5;a=b \r\n",
            "5 a\r\n",
            "5\n",
            "11111111111111111\r\n",
            "5\r\nhelloXX",
            "0\r\nbad\r\n\r\n",
            "0\r\n: v\r\n\r\n",
            "0\r\nX: y\n\r\n",
        ] {
            assert!(
                matches!(decode(bad), Err(ChunkError::Malformed(_))),
                "{bad:?} gave {:?}",
                decode(bad)
            );
        }
    }

    #[test]
    fn bodies_lines_and_trailers_are_bounded() {
        assert_eq!(decode("3E9\r\n"), Err(ChunkError::BodyTooLarge));
        assert_eq!(
            decode("FFFFFFFFFFFFFFFF\r\n"),
            Err(ChunkError::BodyTooLarge)
        );
        let long = "a".repeat(CHUNK_LINES_BYTES_MAX);
        assert_eq!(
            decode(&format!("1;{long}\r\n")),
            Err(ChunkError::LinesTooLong)
        );
        assert_eq!(decode(&format!("1;{long}")), Err(ChunkError::LinesTooLong));
        let trailers = format!("X: {}\r\n", "a".repeat(1000)).repeat(9);
        assert_eq!(
            decode(&format!("0\r\n{trailers}")),
            Err(ChunkError::TrailersTooLarge)
        );
        let one_byte_chunks = "1\r\na\r\n".repeat(1000);
        assert!(
            decode(&one_byte_chunks).is_ok(),
            "size lines alone do not use the bound up"
        );
    }
}
