//! The fields by which a browser lets a page of an allowed origin read a response (the
//! Fetch standard, section 3.2).

use crate::config::origin::AllowedOrigin;
use crate::http::encode;

const NAME: &str = "Access-Control-Allow-Origin";

/// Appends the fields of a response whose own begin at `own_start` of the output: a
/// worker's own count more. `granted` is the index of the origin that asks, if it is an
/// allowed one.
pub fn append(
    output: &mut Vec<u8>,
    own_start: usize,
    allowed: &[AllowedOrigin],
    granted: Option<u32>,
) {
    // A cache must not give one origin's response to another.
    if allowed.iter().any(|origin| *origin != AllowedOrigin::Any) {
        encode::field(output, "Vary", "Origin");
    }
    let Some(granted) = granted else { return };
    if encode::has_field(&output[own_start..], NAME) {
        return;
    }
    match &allowed[granted as usize] {
        AllowedOrigin::Any => encode::field(output, NAME, "*"),
        AllowedOrigin::One(origin) => encode::field(output, NAME, origin),
    }
}
