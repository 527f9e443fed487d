//! The clocks of the hot path: coarse ones, which cost a few nanoseconds, tick
//! every few milliseconds, and are enough for deadlines and the Date field.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds on `CLOCK_MONOTONIC_COARSE`.
#[inline]
pub fn coarse_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Milliseconds since 1970 on `CLOCK_REALTIME`.
pub fn unix_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Seconds since 1970 on `CLOCK_REALTIME_COARSE`.
#[inline]
pub fn unix_seconds() -> u64 {
    clock_gettime(ClockId::RealtimeCoarse)
        .tv_sec
        .cast_unsigned()
}
