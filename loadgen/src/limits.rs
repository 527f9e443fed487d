//! Every bound and default of the load generator.

use std::time::Duration;

/// Connections unless told otherwise.
pub const CONNECTION_COUNT_DEFAULT: usize = 64;

/// Most connections.
pub const CONNECTION_COUNT_MAX: usize = 16_384;

/// Seconds measured unless told otherwise.
pub const DURATION_SECONDS_DEFAULT: f64 = 5.0;

/// Seconds before measuring unless told otherwise.
pub const WARMUP_SECONDS_DEFAULT: f64 = 0.5;

/// A request that takes longer counts as an error.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Pause after a failed connection, so that a dead target is not hammered.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Largest response head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a response head.
pub const FIELD_COUNT_MAX: usize = 100;

/// Longest recorded latency, in nanoseconds.
pub const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// How often progress is shown.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

const _: () = assert!(REQUEST_TIME_MAX.as_nanos() < LATENCY_NS_MAX as u128);
