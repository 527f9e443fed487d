//! Every bound of the shared-memory protocol, and how they hang together.

/// Reactor threads of one hub, and so lanes of one session. One message
/// carries a lane's eventfd each, and `SCM_RIGHTS` passes at most 253 fds.
pub const LANE_COUNT_MAX: u32 = 64;

/// Receiving threads of one worker; each has a doorbell word of its own.
pub const THREAD_COUNT_MAX: u32 = 64;

/// Slots of one lane, and so requests in flight on it.
pub const SLOT_COUNT_MAX: u32 = 16_384;

/// Smallest arena: a request head of the largest size still fits with its
/// tables and leaves room for a body ring.
pub const ARENA_BYTES_MIN: u32 = 64 * 1024;

/// Largest arena. Cursors of a body ring run over twice its size in a u32.
pub const ARENA_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Largest request head (request line and field section) that enters an arena.
pub const REQUEST_HEAD_BYTES_MAX: u32 = 32 * 1024;

/// Longest request line (RFC 9112 section 3 asks for 8,000 octets at least).
pub const REQUEST_LINE_BYTES_MAX: u32 = 16 * 1024;

/// Longest token of a method that has no number.
pub const METHOD_BYTES_MAX: usize = 32;

/// Field lines of one request head.
pub const REQUEST_FIELD_COUNT_MAX: usize = 128;

/// Parameters of one route pattern.
pub const ROUTE_PARAM_COUNT_MAX: usize = 16;

/// Largest field section of a response.
pub const RESPONSE_FIELDS_BYTES_MAX: u32 = 32 * 1024;

/// Smallest body ring of a streamed body.
pub const BODY_RING_BYTES_MIN: u32 = 4 * 1024;

/// Fields behind a body, in wire form: they fit any ring.
pub const TRAILERS_BYTES_MAX: usize = BODY_RING_BYTES_MIN as usize;

/// Fields of an interim response, in wire form. They are the end of a response's arena, which the rest
/// of the response leaves alone then.
pub const INTERIM_BYTES_MAX: u32 = 8 * 1024;

/// Ring entries per slot: a request (or response), one coalesced notice about it,
/// and one about the use of the slot before, unread when the slot was re-used.
/// There cannot be more: entries are read in order, so whoever reads a request
/// has read every notice of the use before. A ring of this size cannot
/// overflow.
pub const RING_ENTRIES_PER_SLOT: u32 = 3;

/// Largest shared region: below the address space that one mapping may ask for.
pub const REGION_BYTES_MAX: u64 = 1 << 40;

/// An event that a worker sends over its session.
pub const EMIT_BYTES_MAX: usize = 64 * 1024;

/// What a client has sent behind the head of a request by which it upgrades its connection, and
/// that is handed to the worker with its socket.
pub const HANDED_BYTES_MAX: usize = 64 * 1024;

/// Longest value of the Upgrade field that a worker gets to see.
pub const UPGRADE_BYTES_MAX: usize = 256;

/// A piece of a registration that comes over the attach socket.
pub const REGISTER_PIECE_BYTES_MAX: usize = 32 * 1024;

/// A command of somebody who operates the hub.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024;

/// A piece of the reply to one.
pub const REPLY_PIECE_BYTES_MAX: usize = 32 * 1024;

const _: () = {
    assert!(
        LANE_COUNT_MAX + 2 <= 253,
        "both memfds and every eventfd travel in one message"
    );
    assert!(
        SLOT_COUNT_MAX * RING_ENTRIES_PER_SLOT <= 1 << 31,
        "ring positions are u32"
    );
    assert!(
        ARENA_BYTES_MAX <= u32::MAX / 4,
        "cursors run over twice the ring"
    );
    let tables_bytes = REQUEST_FIELD_COUNT_MAX as u32 * 16 + ROUTE_PARAM_COUNT_MAX as u32 * 8;
    let decoded_params_bytes = REQUEST_LINE_BYTES_MAX;
    assert!(
        REQUEST_HEAD_BYTES_MAX + tables_bytes + decoded_params_bytes + BODY_RING_BYTES_MIN
            <= ARENA_BYTES_MIN,
        "the largest head fits the smallest arena"
    );
    assert!(RESPONSE_FIELDS_BYTES_MAX + BODY_RING_BYTES_MIN + INTERIM_BYTES_MAX <= ARENA_BYTES_MIN);
};

/// Longest name of a worker.
pub const WORKER_NAME_BYTES_MAX: usize = 128;

/// Longest type, id and source of an event.
pub const EVENT_NAME_BYTES_MAX: usize = 256;

/// The statuses that a worker may respond with: final ones (RFC 9110 section 15).
pub const RESPONSE_STATUSES: std::ops::RangeInclusive<u32> = 200..=599;
