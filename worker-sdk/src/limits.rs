//! Every bound and default of the worker SDK.

use std::time::Duration;

use slotway_shm_proto::limits::THREAD_COUNT_MAX;

/// Receiving threads unless `threads(n)` says otherwise.
pub const THREAD_COUNT_DEFAULT: u32 = 1;

/// Most receiving threads.
pub const THREAD_COUNT_BOUND: u32 = THREAD_COUNT_MAX;

/// Longest sleep of a receiving thread: how late the end of a session, or a
/// wake that got lost, can be noticed.
pub const SLEEP_TIME_MAX: Duration = Duration::from_secs(1);

/// How much longer a thread waits for a bell when it has timed out and found
/// work, before it counts a lost wake.
pub const LATE_BELL_TIME: Duration = Duration::from_millis(100);

/// Requests a thread takes from one lane before it looks at the next, so that
/// no reactor waits for another.
pub const LANE_BURST_COUNT: u32 = 16;

/// Responses that a thread gives before it rings, if there is more to do.
pub const UNRUNG_COUNT_MAX: u32 = 32;

/// How long a response may wait for the ring while further requests are served.
pub const UNRUNG_TIME_MAX: Duration = Duration::from_micros(50);

/// A handler that usually takes longer is preceded by a ring, so that answers
/// already given do not wait for it.
pub const SLOW_HANDLER_NS: u32 = 20_000;

/// An async handler whose first step usually takes longer is not polled where the
/// request was received, but by the runtime, which may have more threads.
pub const OFFLOAD_NS: u32 = 1_000_000;

/// Wakes on end from one core before a thread follows the reactor there.
pub const STEADY_WAKE_COUNT: u32 = 32;

/// First pause before connecting again, doubled up to the last. Each is cut by up to a half at
/// random, so that many workers of one hub do not come together.
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`RECONNECT_PAUSE_MIN`].
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(1500);

/// How long registering over HTTP, and attaching after it, may take, unless
/// `connect_timeout` says otherwise. So may a push over HTTP.
pub const CONNECT_TIME_DEFAULT: Duration = Duration::from_secs(5);

/// Where the hub is unless `HUB_URL` says otherwise.
pub const HUB_URL_DEFAULT: &str = "http://127.0.0.1:3200";

/// Memory of the request bodies that a session collects at once.
pub const COLLECTED_BYTES_MAX_DEFAULT: usize = 256 * 1024 * 1024;

/// Memory that a body is collected in first, if it is to be that long.
pub const COLLECTED_FIRST_BYTES: usize = 256 * 1024;

/// Buffers of large bodies that a session keeps for the next ones, and the largest
/// of them: together as much as a worker holds beyond what it needs.
pub const SPARE_BODY_COUNT_MAX: usize = 8;
/// See [`SPARE_BODY_COUNT_MAX`].
pub const SPARE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A response with bytes of its own request leaves them there from this size on: below it, a
/// copy beside the head is read sooner.
pub const LENT_BYTES_MIN: usize = 8 * 1024;

/// Idle connections to the hub that an emitter keeps for its next events.
pub const EMITTER_CONNECTION_COUNT: usize = 4;

/// Largest response of the hub's own.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Most fields of one.
pub const RESPONSE_FIELD_COUNT_MAX: usize = 32;

const _: () = {
    assert!(UNRUNG_COUNT_MAX <= 64, "some tens of responses");
    assert!(THREAD_COUNT_DEFAULT >= 1 && THREAD_COUNT_DEFAULT <= THREAD_COUNT_BOUND);
    assert!(RECONNECT_PAUSE_MIN.as_millis() < RECONNECT_PAUSE_MAX.as_millis());
};
