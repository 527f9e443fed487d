//! Responses: status line, fields and framing, written behind the end of a
//! buffer that is then sent whole.

use slotway_shm_proto::field::SWITCHING_PROTOCOLS;

use crate::decimal::push_decimal;

/// How a body is framed towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked, for a length that is not known ahead.
    Chunked,
    /// By the end of the connection, for HTTP/1.0.
    UntilClose,
    /// No body and no length: 101, 204, 304.
    None,
}

/// What the connection does after the response, as far as the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1 stays open without a word.
    Stays,
    /// HTTP/1.0 must be told so.
    StaysHttp10,
    /// `Connection: close`.
    Closes,
}

/// Writes the status line and the hub's own fields. The worker's fields and
/// the blank line come behind it.
pub fn start(
    out: &mut Vec<u8>,
    status: u16,
    framing: BodyFraming,
    persistence: Persistence,
    date_line: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(date_line);
    match framing {
        BodyFraming::Length(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, bytes);
            out.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::UntilClose | BodyFraming::None => {}
    }
    self::persistence(out, persistence);
}

/// The field that tells a client about its connection, if it must be told.
pub fn persistence(out: &mut Vec<u8>, persistence: Persistence) {
    match persistence {
        Persistence::Stays => {}
        Persistence::StaysHttp10 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Closes => out.extend_from_slice(b"Connection: close\r\n"),
    }
}

/// One of the hub's own fields.
pub fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    // Values come from the hub alone.
    for text in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Whether field lines have one of this name.
pub fn has_field(lines: &[u8], name: &str) -> bool {
    let mut lines = lines.split(|byte| *byte == b'\n');
    lines.any(|line| {
        let own = line.split(|byte| *byte == b':').next();
        own.is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// The blank line.
pub fn end_fields(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data (RFC 9112 section 7.1); a CRLF comes behind it.
pub fn chunk_size(out: &mut Vec<u8>, bytes: u32) {
    let digits = format_hex(bytes);
    let zeros = (bytes | 1).leading_zeros() as usize / 4;
    out.extend_from_slice(&digits[zeros..]);
    out.extend_from_slice(b"\r\n");
}

/// A whole chunk, whose data is not known before it is written.
pub fn chunk(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Of a fixed length, filled in below: leading zeros are allowed.
    out.extend_from_slice(b"00000000\r\n");
    let data = out.len();
    write(out);
    let size = format_hex((out.len() - data) as u32);
    out[start..start + size.len()].copy_from_slice(&size);
    out.extend_from_slice(b"\r\n");
}

fn format_hex(number: u32) -> [u8; 8] {
    let digit = |index: u32| b"0123456789abcdef"[(number >> (28 - 4 * index) & 15) as usize];
    std::array::from_fn(|index| digit(index as u32))
}

/// Tells a client that waits with its body to send it (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The last chunk, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Whether a response of this status has no content, though it may say so by a length of
/// 0 (RFC 9110 section 15.3.6).
pub fn has_no_content(status: u16) -> bool {
    is_bodiless(status) || status == 205
}

/// 426, whose response has an Upgrade field (RFC 9110 section 15.5.22).
pub const UPGRADE_REQUIRED: u16 = 426;

/// Whether a response of this status has no body (RFC 9110 section 6.4.1).
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, SWITCHING_PROTOCOLS | 204 | 304)
}

/// The reason phrase (RFC 9110 section 15); empty where there is none.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_as_clients_read_it() {
        let mut out = Vec::new();
        start(
            &mut out,
            404,
            BodyFraming::Length(10),
            Persistence::Closes,
            b"Date: now\r\n",
        );
        field(&mut out, "Allow", "GET");
        end_fields(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Length: 10\r\nConnection: close\r\nAllow: GET\r\n\r\n"
        );
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_without_leading_zeros() {
        for number in [0, 1, 15, 16, 255, 65_536, u32::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:x}\r\n"));
        }
    }

    #[test]
    fn a_chunk_has_its_size_before_it() {
        let mut out = b"x".to_vec();
        chunk(&mut out, |out| out.extend_from_slice(&[b'd'; 300]));
        assert_eq!(&out[..11], b"x0000012c\r\n");
        assert_eq!((out.len(), &out[out.len() - 3..]), (313, &b"d\r\n"[..]));
    }

    #[test]
    fn numbers_of_every_length_are_decimal() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
