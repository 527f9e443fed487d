//! `CLOCK_MONOTONIC`, which hub and workers share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds.
#[inline]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
