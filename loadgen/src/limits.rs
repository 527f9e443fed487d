//! Every bound and default of the load generator.

use std::time::Duration;

/// Connections unless told otherwise.
pub const CONNECTION_COUNT_DEFAULT: usize = 64;

/// Connections of a thread up to which epoll takes less of the processor for a request than a ring: 0.92 of
/// it at 1 connection, 0.96 at 4, 1.03 at 8.
pub const EPOLL_CONNECTION_COUNT_MAX: usize = 4;

/// Most connections.
pub const CONNECTION_COUNT_MAX: usize = 65_536;

/// Descriptors of a thread: its ring, epoll, timers, wake-ups.
pub const THREAD_FD_COUNT: u64 = 8;

/// Descriptors that are not connections or a thread's: files, the terminal.
pub const OTHER_FD_COUNT: u64 = 64;

/// Most threads.
pub const THREAD_COUNT_MAX: usize = 256;

/// Seconds measured unless told otherwise.
pub const DURATION_SECONDS_DEFAULT: f64 = 10.0;

/// Longest run.
pub const DURATION_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Seconds before measuring unless told otherwise.
pub const WARMUP_SECONDS_DEFAULT: f64 = 1.0;

/// A request that takes longer counts as an error, unless told otherwise.
pub const TIMEOUT_SECONDS_DEFAULT: f64 = 10.0;

/// Longest `--timeout`; latencies above it are not recorded.
pub const TIMEOUT_SECONDS_MAX: f64 = 3600.0;

/// Requests per second that can be asked for: a request each 10 ns.
pub const RATE_MAX: f64 = 1e8;

/// An event stream with less than this share of the events of the one with the most lags.
pub const LAGGING_SHARE: f64 = 0.99;

/// Pause after a failed connection, so that a dead target is not hammered.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How often a thread looks after timeouts, intervals and the end.
pub const SUPERVISION_STEP: Duration = Duration::from_millis(10);

/// Largest response head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a response head.
pub const FIELD_COUNT_MAX: usize = 128;

/// Bytes of a chunk size line with its extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// A connection's buffer, and its least room for one read.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Room for one read of encrypted bytes: a record of TLS and its frame.
pub const TLS_READ_BYTES: usize = 17 * 1024;

/// Room for one read of a large body.
pub const BODY_READ_BYTES: usize = 128 * 1024;

/// Longest recorded latency, in nanoseconds; longer ones count as this.
pub const LATENCY_NS_MAX: u64 = 2 * 3_600_000_000_000;

/// Significant decimal digits of a histogram.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// URLs of a `--urls` file, and the most that their weights may add up to.
pub const URL_COUNT_MAX: usize = 1000;
/// See [`URL_COUNT_MAX`].
pub const WEIGHT_SUM_MAX: u32 = 100_000;

/// Rows of a `--values` file, beyond which it is refused.
pub const VALUE_ROW_COUNT_MAX: usize = 1_000_000;

/// Intervals of a run's log and progress, unless the run is short.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Least number of intervals of a short run.
pub const INTERVAL_COUNT_MIN: u32 = 10;

/// Shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How often a thread checks, in a closed loop, how late it gets to run.
pub const LAG_PROBE_NS: u64 = 5_000_000;

/// Time given to each part of the noise floor.
pub const NOISE_SECONDS_DEFAULT: f64 = 0.5;

/// A result is not to be trusted when the generator's own lag is more than this
/// share of it, unless told otherwise.
pub const LAG_SHARE_MAX_DEFAULT: f64 = 0.25;

/// A generator whose threads have no rest for this share of the time may be what
/// is measured.
pub const BUSY_SHARE_MAX: f64 = 0.9;

/// An open loop has reached its rate when so much of it was sent.
pub const RATE_REACHED_SHARE: f64 = 0.99;

/// Of what was due, so much must have got a right response for the latencies of those to be
/// judged.
pub const RIGHT_SHARE_MIN: f64 = 0.99;

/// Requests without a response when a run ends are said from this share of all on: a few are
/// always under way.
pub const WAITED_SHARE_SAID: f64 = 0.001;

/// A hypervisor that takes more than this share of the cores' time spoils latencies.
pub const STEAL_SHARE_MAX: f64 = 0.01;

/// Rounds of a comparison unless told otherwise, and the least that gives a
/// confidence interval.
pub const ROUND_COUNT_DEFAULT: u32 = 8;
/// See [`ROUND_COUNT_DEFAULT`].
pub const ROUND_COUNT_MIN: u32 = 3;

/// How long a command of a comparison may take until its target answers.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end after SIGTERM.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);

const _: () = assert!(TIMEOUT_SECONDS_MAX * 1e9 < LATENCY_NS_MAX as f64);
const _: () = assert!(BODY_READ_BYTES > READ_BUFFER_BYTES);
