//! Fields that come behind a body (RFC 9110 section 6.5), in wire form: `name: value\r\n` …
//!
//! Of a body that streams they are the last bytes of its ring: whoever writes says first how many
//! they are, then moves its cursor over them, then says that the body has ended. Whoever reads leaves
//! as many bytes in the ring until the end is there.

use crate::field::{is_the_hubs, is_token_byte, is_value_byte};
use crate::limits::TRAILERS_BYTES_MAX;

/// Why a field cannot be a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// Its name is no token, or its value has control characters.
    #[error("a trailer field that is none")]
    Malformed,
    /// There are more than fit.
    #[error("trailer fields of more than {TRAILERS_BYTES_MAX} bytes")]
    TooLarge,
}

/// How many of the bytes in a ring are the body's.
#[inline]
pub fn body_bytes(filled: u32, trailers: Option<u32>) -> u32 {
    filled.saturating_sub(trailers.unwrap_or(0))
}

/// Names that are not for a trailer section: they frame or route a message, say how its content is to
/// be read or who sends it, or had to be known before (RFC 9110 section 6.5.1).
const NOT_BEHIND: [&str; 26] = [
    "age",
    "authorization",
    "cache-control",
    "cookie",
    "expect",
    "expires",
    "forwarded",
    "host",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "traceparent",
    "tracestate",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-hub-secret",
    "x-real-ip",
    "x-request-id",
];

/// Beginnings of names of which the same is true.
const NOT_BEHIND_FAMILIES: [&str; 6] = [
    "accept",
    "access-control-",
    "content-",
    "if-",
    "sec-",
    "x-forwarded",
];

/// Whether a field of this name may come behind a body; others are dropped.
pub fn may_be_one(name: &[u8]) -> bool {
    let begins_with = |start: &&str| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    };
    // What says whether the content is intact is what trailers are for.
    let is_digest =
        name.eq_ignore_ascii_case(b"content-digest") || name.eq_ignore_ascii_case(b"content-md5");
    let is_no_trailer = NOT_BEHIND
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || NOT_BEHIND_FAMILIES.iter().any(begins_with);
    is_digest || !(is_the_hubs(name) || is_no_trailer)
}

/// Adds a field to a section, unless it [may not be](may_be_one) there.
pub fn append(section: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), TrailerError> {
    let is_field = !name.is_empty()
        && name.iter().all(|byte| is_token_byte(*byte))
        && value.iter().all(|byte| is_value_byte(*byte));
    if !is_field {
        return Err(TrailerError::Malformed);
    }
    if !may_be_one(name) {
        return Ok(());
    }
    if section.len() + name.len() + value.len() + 4 > TRAILERS_BYTES_MAX {
        return Err(TrailerError::TooLarge);
    }
    for part in [name, b": ", value, b"\r\n"] {
        section.extend_from_slice(part);
    }
    Ok(())
}

/// Names and values of a section. What is no field is left out.
pub fn fields(section: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    section.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_from_their_section_and_forbidden_ones_do_not() {
        let mut section = Vec::new();
        for (name, value) in [
            ("Content-Digest", "sha-256=:x:"),
            ("Content-Length", "3"),
            ("transfer-encoding", "chunked"),
            ("Host", "h"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("Authorization", "me"),
            ("grpc-status", "0"),
            ("x-empty", ""),
        ] {
            append(&mut section, name.as_bytes(), value.as_bytes()).unwrap();
        }
        let found: Vec<_> = fields(&section).collect();
        assert_eq!(
            found,
            [
                ("Content-Digest", b"sha-256=:x:".as_slice()),
                ("grpc-status", b"0"),
                ("x-empty", b"")
            ]
        );
        for (name, value) in [("", "x"), ("a b", "x"), ("a", "x\r\ny: z"), ("a:", "x")] {
            let error = append(&mut section, name.as_bytes(), value.as_bytes());
            assert_eq!(error, Err(TrailerError::Malformed), "{name:?}");
        }
        let long = vec![b'x'; TRAILERS_BYTES_MAX];
        assert_eq!(
            append(&mut section, b"x", &long),
            Err(TrailerError::TooLarge)
        );
        assert!(fields(b"no field\r\n\r\nx: y").next().is_none());
    }

    #[test]
    fn what_are_trailers_is_no_body() {
        assert_eq!(body_bytes(10, None), 10);
        assert_eq!(body_bytes(10, Some(4)), 6);
        assert_eq!(body_bytes(3, Some(4)), 0);
    }
}
