//! The lines of a head: which of them are blank, whether they can begin a head, and what
//! httparse's errors mean.

use std::mem::MaybeUninit;

use slotway_shm_proto::limits::REQUEST_FIELD_COUNT_MAX;

use super::error::HeadError;
use super::target;
use crate::limits::BLANK_LINE_COUNT_MAX;

/// Bytes of the blank lines at the beginning that are skipped (RFC 9112 section 2.2).
pub(super) fn blank_bytes(head: &[u8]) -> usize {
    let lines = head.chunks(2).take(BLANK_LINE_COUNT_MAX);
    2 * lines.take_while(|line| *line == b"\r\n").count()
}

/// Judges the lines of a head that has not come whole: whether they can still begin
/// one. Not looked at are the fields' meanings.
pub(super) fn judge_lines(lines: &[u8]) -> Result<(), HeadError> {
    let mut storage = [const { MaybeUninit::uninit() }; REQUEST_FIELD_COUNT_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(lines, &mut storage) {
        Ok(_) => {}
        Err(httparse::Error::Version) if matches!(version_of(lines), Some((b'1', b'2'.., _))) => {
            return Ok(());
        }
        Err(error) => return Err(explain(error, lines)),
    }
    match (request.method, request.path) {
        (Some(method), Some(target)) => target::parse(target.as_bytes(), method).map(|_| ()),
        _ => Ok(()),
    }
}

/// What httparse found wrong with these lines.
pub(super) fn explain(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::HeadTooLarge,
        httparse::Error::Version if version_of(bytes).is_some() => HeadError::Version,
        httparse::Error::Version => {
            HeadError::BadRequest("the request line must end with an HTTP version")
        }
        httparse::Error::HeaderName => {
            HeadError::BadRequest("malformed field name, or white space before the colon")
        }
        httparse::Error::HeaderValue => {
            HeadError::BadRequest("a field value contains a control character")
        }
        httparse::Error::NewLine => HeadError::BadRequest("a line has a CR without LF"),
        httparse::Error::Token | httparse::Error::Status => {
            HeadError::BadRequest("malformed request line")
        }
    }
}

/// Digits of the version, and where the minor one stands, if the request line
/// is well-formed up to it: three parts with one space between.
pub(super) fn version_of(bytes: &[u8]) -> Option<(u8, u8, usize)> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if method.is_empty() || target.is_empty() || parts.next().is_some() {
        return None;
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some((*major, *minor, line.len() - 1))
        }
        _ => None,
    }
}
