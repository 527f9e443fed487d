//! The head of a response, and how long its body is (RFC 9112 section 6.3).

use std::mem::MaybeUninit;

use crate::limits::{FIELD_COUNT_MAX, HEAD_BYTES_MAX};
use crate::load::server_timing::{self, Phases};

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// By its chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its own length.
    pub bytes: usize,
    /// Status code.
    pub status: u16,
    /// Of the body.
    pub framing: Framing,
    /// Whether the connection serves another request.
    pub keep_alive: bool,
    /// From Server-Timing.
    pub phases: Option<Phases>,
    /// Whether the body is an event stream.
    pub is_event_stream: bool,
}

/// Parses a head, once it is whole.
pub fn parse(bytes: &[u8], to_head_request: bool) -> Result<Option<ResponseHead>, &'static str> {
    // Initialising the table would cost as much as parsing an ordinary head.
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELD_COUNT_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    let head_bytes = match parsed {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("a head of more than 64 KiB"),
        Err(httparse::Error::TooManyHeaders) => return Err("more than 128 header fields"),
        Err(_) => return Err("not an HTTP/1.x response"),
    };
    let status = response.code.unwrap_or_default();
    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = response.version == Some(1);
    let mut phases = None;
    let mut is_event_stream = false;
    for field in response.headers.iter() {
        // Most fields are told from these by their length alone.
        match field.name.len() {
            10 if field.name.eq_ignore_ascii_case("connection") => {
                let mut options = field
                    .value
                    .split(|byte| *byte == b',')
                    .map(<[u8]>::trim_ascii);
                if options
                    .clone()
                    .any(|option| option.eq_ignore_ascii_case(b"close"))
                {
                    keep_alive = false;
                } else if options.any(|option| option.eq_ignore_ascii_case(b"keep-alive")) {
                    keep_alive = true;
                }
            }
            12 if field.name.eq_ignore_ascii_case("content-type") => {
                is_event_stream = names_event_stream(field.value);
            }
            13 if field.name.eq_ignore_ascii_case("server-timing") => {
                phases = Some(server_timing::parse(field.value));
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let value = parse_length(field.value).ok_or("a Content-Length that is none")?;
                if length.replace(value).is_some_and(|before| before != value) {
                    return Err("two Content-Length fields that differ");
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err("a Transfer-Encoding other than chunked");
                }
                chunked = true;
            }
            _ => {}
        }
    }
    let framing = if to_head_request || status == 204 || status == 304 || status < 200 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else if let Some(length) = length {
        Framing::Length(length)
    } else {
        keep_alive = false;
        Framing::UntilClose
    };
    Ok(Some(ResponseHead {
        bytes: head_bytes,
        status,
        framing,
        keep_alive,
        phases,
        is_event_stream,
    }))
}

fn names_event_stream(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(b"text/event-stream")
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<ResponseHead>, &'static str> {
        parse(text.as_bytes(), false)
    }

    #[test]
    fn a_response_head_is_read_once_it_is_whole() {
        let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nabc";
        assert_eq!(of(&text[..30]), Ok(None));
        let head = of(text).unwrap().unwrap();
        assert_eq!((head.status, head.keep_alive), (404, false));
        assert_eq!(head.framing, Framing::Length(3));
        assert_eq!(head.bytes, text.len() - 3);
    }

    #[test]
    fn the_end_of_a_body_is_known_by_length_chunks_or_the_connections_end() {
        let framing = |fields: &str| {
            let head = of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
                .unwrap()
                .unwrap();
            (head.framing, head.keep_alive)
        };
        assert_eq!(framing("Content-Length: 5\r\n"), (Framing::Length(5), true));
        assert_eq!(
            framing("Transfer-Encoding: chunked\r\n"),
            (Framing::Chunked, true)
        );
        assert_eq!(framing(""), (Framing::UntilClose, false));
        let old = of("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n")
            .unwrap()
            .unwrap();
        assert!(!old.keep_alive);
        let head = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true)
            .unwrap()
            .unwrap();
        assert_eq!(head.framing, Framing::Length(0), "a response to HEAD");
        let empty = of("HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(
            (empty.framing, empty.keep_alive),
            (Framing::Length(0), true)
        );
    }

    #[test]
    fn what_cannot_be_framed_is_malformed() {
        for fields in [
            "Content-Length: x\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert!(
                of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).is_err(),
                "{fields}"
            );
        }
        assert!(of("SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(
            of(&format!(
                "HTTP/1.1 200 OK\r\nX: {}",
                "a".repeat(HEAD_BYTES_MAX)
            ))
            .is_err()
        );
    }
}
