//! How long a request's body is, by its head (RFC 9112 section 6). Every field on
//! which two readers could disagree is refused.

use slotway_shm_proto::field::is_token_byte;

use super::elements;
use super::error::HeadError;

/// How long the body is (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Content-Length, or 0 without one.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// Reads a Content-Length.
pub fn parse_content_length(value: &[u8]) -> Result<u64, HeadError> {
    let error = HeadError::BadRequest("Content-Length must be a decimal number below 2^63");
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(error);
    }
    let number = value
        .iter()
        .fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    if number > i64::MAX.cast_unsigned() {
        Err(error)
    } else {
        Ok(number)
    }
}

/// Checks a Transfer-Encoding: `chunked` alone is understood.
pub fn check_transfer_encoding(value: &[u8]) -> Result<(), HeadError> {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Ok(());
    }
    // An empty element is left out by some readers and refused by others.
    let well_formed = elements(value)
        .all(|coding| !coding.is_empty() && coding.iter().all(|byte| is_token_byte(*byte)));
    let chunked_count = elements(value).filter(|coding| is_chunked(coding)).count();
    let chunked_last = elements(value).last().is_some_and(is_chunked);
    match (well_formed, chunked_count, chunked_last) {
        (true, 1, true) | (true, 0, false) => Err(HeadError::NotImplemented(
            "the only transfer coding understood here is chunked",
        )),
        _ => Err(HeadError::BadRequest(
            "Transfer-Encoding must be a list that ends in \"chunked\"",
        )),
    }
}
