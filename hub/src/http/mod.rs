//! HTTP/1.1 (RFC 9110, RFC 9112): bytes to a checked request head and back.
//! Nothing here does I/O.

pub mod chunked;
pub mod date;
pub mod encode;
pub mod field_section;
pub mod forwarded;
pub mod parse;
pub mod target;
