//! HTTP/1.1 (RFC 9110, RFC 9112): bytes to a checked request head and back.
//! Nothing here does I/O.
//!
//! In: [`scan`] finds where a head ends, `lines` judges its lines, [`head`] parses it, with
//! [`target`], `field_kind`, `connection_field`, [`framing`] and [`forwarded`] for parts of it, and
//! [`chunked`] decodes a body; [`proxy_header`] is what a balancer says before; [`error`] is what can be wrong. Out: [`encode`] writes a head,
//! with its [`date`], [`field_section`] checks the fields of a worker, [`trace_context`] reads
//! and makes a trace's field, and [`local_reply`] is a response of the hub's own.

pub mod chunked;
mod connection_field;
pub mod date;
pub mod encode;
pub mod error;
mod field_kind;
pub mod field_section;
pub mod forwarded;
pub mod framing;
pub mod head;
mod lines;
pub mod local_reply;
pub mod proxy_header;
pub mod scan;
pub mod target;
pub mod trace_context;

/// Elements of a comma-separated list, trimmed; some may be empty.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Elements of a comma-separated list, trimmed, without empty ones.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements(value).filter(|element| !element.is_empty())
}

/// Without blanks and tabs around it, and no other byte.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
