//! A request head that is still arriving: where it ends, and whether it can still
//! become one.

use memchr::memchr_iter;
use slotway_shm_proto::field::is_token_byte;

use super::error::HeadError;
use super::lines::{blank_bytes, judge_lines};
use crate::http::head::HeadLimits;
use crate::limits::{BLANK_LINE_COUNT_MAX, METHOD_BYTES_MAX};

/// Finds the end of a head in a growing buffer, looking at each byte once.
#[derive(Debug, Default)]
pub struct HeadScanner {
    limits: HeadLimits,
    scanned: usize,
    line_start: usize,
    line_count: usize,
    /// Lines of an unfinished head that have been judged.
    judged_count: usize,
}

impl HeadScanner {
    /// With these bounds.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The bytes of the head, once it is complete. What can no longer become a head
    /// is an error at once: its client would wait for a response until the deadline.
    pub fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadError> {
        let judged = self.scanned;
        for position in memchr_iter(b'\n', &buffer[self.scanned..]) {
            let line_feed = self.scanned + position;
            if line_feed == self.line_start || buffer[line_feed - 1] != b'\r' {
                return Err(HeadError::BadRequest("a line ends in LF without CR"));
            }
            let line_bytes = line_feed - 1 - self.line_start;
            self.line_start = line_feed + 1;
            if line_bytes == 0 {
                if self.line_count == 0 && line_feed < 2 * BLANK_LINE_COUNT_MAX {
                    continue;
                }
                if self.line_count == 0 {
                    return Err(HeadError::BadRequest(
                        "too many blank lines before the request",
                    ));
                }
                let end = line_feed + 1;
                return if end > self.limits.head_bytes {
                    Err(HeadError::HeadTooLarge)
                } else {
                    Ok(Some(end))
                };
            }
            self.line_count += 1;
            if self.line_count > self.limits.field_count + 1 {
                return Err(HeadError::HeadTooLarge);
            }
            if self.line_count == 1 && line_bytes > self.limits.line_bytes {
                return Err(HeadError::LineTooLong);
            }
        }
        self.scanned = buffer.len();
        if self.line_count == 0 && buffer.len() > self.limits.line_bytes + 2 {
            return Err(HeadError::LineTooLong);
        }
        if buffer.len() > self.limits.head_bytes {
            return Err(HeadError::HeadTooLarge);
        }
        self.judge(buffer, judged)?;
        Ok(None)
    }

    /// Judges a head that has not come whole, from `judged` on.
    fn judge(&mut self, buffer: &[u8], judged: usize) -> Result<(), HeadError> {
        if self.line_count > self.judged_count {
            self.judged_count = self.line_count;
            judge_lines(&buffer[blank_bytes(buffer)..self.line_start])?;
        }
        // A CR that came last is judged with what follows it.
        let news = &buffer[judged.saturating_sub(1)..];
        let is_bare = |at: usize| news.get(at + 1).is_some_and(|next| *next != b'\n');
        if memchr_iter(b'\r', news).any(is_bare) {
            return Err(HeadError::BadRequest("a line has a CR without LF"));
        }
        if self.line_count == 0 && !begins_request_line(&buffer[self.line_start..]) {
            return Err(HeadError::BadRequest("malformed request line"));
        }
        Ok(())
    }
}

/// Whether an unfinished line, which may be blank, can begin a request.
fn begins_request_line(line: &[u8]) -> bool {
    let end = line.iter().position(|byte| *byte == b' ');
    let method = &line[..end.unwrap_or(line.len())];
    let is_token = method.iter().all(|byte| is_token_byte(*byte));
    match end {
        Some(_) => is_token && !method.is_empty(),
        None => (is_token && method.len() <= METHOD_BYTES_MAX) || method == b"\r",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_BYTES_MAX;

    fn find(bytes: impl AsRef<[u8]>) -> Result<Option<usize>, HeadError> {
        HeadScanner::default().find_end(bytes.as_ref())
    }

    #[test]
    fn a_head_split_at_every_byte_is_found_at_the_same_place() {
        for blank in ["", "\r\n", "\r\n\r\n"] {
            let bytes = format!("{blank}GET /x HTTP/1.1\r\nHost: h\r\n\r\nrest");
            for cut in 0..bytes.len() {
                let mut scanner = HeadScanner::default();
                let early = scanner.find_end(&bytes.as_bytes()[..cut]).unwrap();
                let end = early.or_else(|| scanner.find_end(bytes.as_bytes()).unwrap());
                assert_eq!(end, Some(bytes.len() - 4), "cut at {cut}");
            }
        }
    }

    #[test]
    fn three_blank_lines_are_too_many() {
        assert_eq!(find("\r\n\r\n"), Ok(None));
        assert!(find("\r\n\r\n\r\n").is_err());
    }

    #[test]
    fn lines_and_heads_over_their_limits_are_told_apart_even_before_they_end() {
        let long = "a".repeat(LINE_BYTES_MAX);
        assert_eq!(find(format!("GET /{long}")), Err(HeadError::LineTooLong));
        let fields = format!("X: {}\r\n", "a".repeat(1000)).repeat(40);
        let head = format!("GET / HTTP/1.1\r\n{fields}");
        assert_eq!(find(head), Err(HeadError::HeadTooLarge));
    }

    #[test]
    fn what_cannot_become_a_head_is_refused_before_it_ends() {
        for bad in [
            &b"\x16\x03\x01\x02\0\x01"[..],
            b"\x16",
            b"\0",
            b"(",
            b" ",
            b"GET / HTTP/1.1\rX",
            b"GE\r",
            b"GET\t/ HTTP/1.1",
            b"GET /\r\n",
            b"GET / HTTP/0.9\r\n",
            b"GET /a#b HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost\r\n",
            b"GET / HTTP/1.1\r\nHost : h\r\n",
            b"GET / HTTP/1.1\r\nX: a\r\n b\r\n",
            b"GET / HTTP/1.1\r\nX: a\rb",
            b"\r\n\r\n\r\n",
            b"\rG",
        ] {
            assert!(find(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let version = find("GET / HTTP/2.0\r\n");
        assert_eq!(version, Err(HeadError::Version));
    }

    #[test]
    fn what_can_become_a_head_is_waited_for() {
        for good in [
            "",
            "\r",
            "\r\n\r",
            "G",
            "GET",
            "GET ",
            "GET /caf",
            "GET / HTTP/1.1\r",
        ] {
            assert_eq!(find(good), Ok(None), "{good:?}");
        }
        for good in [
            "Ho",
            "Host: h\r",
            "Host: h\r\n",
            "Host: h\r\n\r",
            "X: \u{e9}\t",
        ] {
            let head = format!("GET / HTTP/1.2\r\n{good}");
            assert_eq!(find(&head), Ok(None), "{good:?}");
        }
    }
}
