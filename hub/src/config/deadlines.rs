//! How long clients are waited for.

use crate::limits::{
    BODY_RATE_MIN_DEFAULT, BODY_TIME_DEFAULT, HEAD_TIME_DEFAULT, IDLE_TIME_DEFAULT,
    WRITE_RATE_MIN_DEFAULT, WRITE_TIME_DEFAULT,
};

/// How long clients are waited for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For the first byte of a request.
    pub idle_ms: u64,
    /// For a whole head, from its first byte.
    pub head_ms: u64,
    /// For a body, before its least rate counts.
    pub body_ms: u64,
    /// Least rate of a body; 0 for none.
    pub body_bytes_per_s_min: u64,
    /// For a client to take a piece of a response, before its least rate counts.
    pub write_ms: u64,
    /// Least rate at which it must take it.
    pub write_bytes_per_s_min: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            idle_ms: IDLE_TIME_DEFAULT.as_millis() as u64,
            head_ms: HEAD_TIME_DEFAULT.as_millis() as u64,
            body_ms: BODY_TIME_DEFAULT.as_millis() as u64,
            body_bytes_per_s_min: BODY_RATE_MIN_DEFAULT,
            write_ms: WRITE_TIME_DEFAULT.as_millis() as u64,
            write_bytes_per_s_min: WRITE_RATE_MIN_DEFAULT,
        }
    }
}
