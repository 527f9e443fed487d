//! Every bound and default of the hub, and how they hang together. Bounds of
//! the shared-memory protocol are in `slotway_shm_proto::limits`.

use std::time::Duration;

use slotway_shm_proto::limits::{
    ARENA_BYTES_MIN, BODY_RING_BYTES_MIN, REQUEST_FIELD_COUNT_MAX, REQUEST_HEAD_BYTES_MAX,
    REQUEST_LINE_BYTES_MAX, ROUTE_PARAM_COUNT_MAX,
};

/// Where the hub listens unless told otherwise.
pub const PORT_DEFAULT: u16 = 3200;

/// Time a worker has to respond.
pub const TIMEOUT_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// Silence after which a worker is pinged.
pub const PING_TIME_DEFAULT: Duration = Duration::from_secs(5);

/// A reactor that has left its core to a worker for longer than this has left it to others as
/// well, and does not for a while: what that costs the others is a few percent at most.
pub const YIELD_TIME_MAX: Duration = Duration::from_micros(500);
/// See [`YIELD_TIME_MAX`].
pub const YIELD_PAUSE: Duration = Duration::from_millis(100);

/// Users other than the hub's own may have one of so many connections that wait to attach.
pub const OTHERS_QUEUE_DIVISOR: u32 = 4;

/// Lanes that a reactor pings in one turn.
pub const PING_BATCH_COUNT: usize = 16;

/// Time for requests in flight when the hub stops or a worker goes.
pub const DRAIN_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// How long requests wait for a worker that has just gone.
pub const WORKER_GRACE_DEFAULT: Duration = Duration::from_secs(1);

/// How long a connection may wait for its next request.
pub const IDLE_TIME_DEFAULT: Duration = Duration::from_secs(75);

/// How long a request head may take, from its first byte.
pub const HEAD_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// How long a request body may take before its least rate counts.
pub const BODY_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// How long a client may take for a piece of a response before its least rate counts.
pub const WRITE_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// When the hub stops: how long an idle connection may still bring a request, which is
/// answered as its last. A client that sends just when it is closed would lose one.
pub const IDLE_GRACE: Duration = Duration::from_millis(500);

/// How long a step of an upgrade may take before it is given up.
pub const HANDOVER_TIME: Duration = Duration::from_secs(20);

/// How long a new hub waits for the workers of the old one before it accepts.
pub const MOVE_TIME: Duration = Duration::from_secs(5);

/// Shortest time that a flag may set for clients and workers: a few ticks of the coarse clock.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// A configuration file, or one with a secret.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Longest time that a flag or a worker may set.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// How long routes are remembered after their workers have gone. A service that has not come
/// back by then is taken for retired: its paths are 404, or those of a less specific route.
pub const ABSENCE_TIME: Duration = Duration::from_secs(3600);

/// Routes that are remembered after their workers have gone: of several of the largest.
pub const ABSENT_ROUTE_COUNT_MAX: usize = 4 * ROUTE_COUNT_MAX;

/// Replacements of workers of a name within this time count together.
pub const TURN_WINDOW: Duration = Duration::from_secs(60);

/// So many of them are no deploy: workers take turns, and the log says so.
pub const TURN_COUNT: u32 = 3;

/// Names for which they are counted.
pub const TURN_NAME_COUNT_MAX: usize = 1024;

/// Slots of a lane: requests that one worker may have in flight per reactor.
pub const SLOT_COUNT_DEFAULT: u32 = 256;

/// Responses without a known end, such as event streams of its own, that one worker may
/// send per reactor. A slot whose arena has been used stays in memory, so this bounds what
/// clients can make a lane use: half a gigabyte of responses.
pub const STREAM_COUNT_DEFAULT: u32 = 4096;

/// Requests that wait for a slot, for each route on each reactor.
pub const QUEUE_COUNT_DEFAULT: u32 = 1024;

/// How often connections are looked over whose requests workers have: one that has
/// had the same for a tick is watched for its client leaving.
pub const HANGUP_TICK: Duration = Duration::from_millis(2);

/// How long that pauses when the system has failed it.
pub const HANGUP_PAUSE: Duration = Duration::from_secs(1);

/// Arena of a slot: bodies up to about this size travel in one message.
pub const ARENA_BYTES_DEFAULT: u32 = 128 * 1024;

/// Largest request body.
pub const BODY_BYTES_MAX_DEFAULT: u64 = 10 * 1024 * 1024;

/// Largest body of a request that the control thread answers.
pub const CONTROL_BODY_BYTES_MAX: u64 = 1024 * 1024;

/// A connection's read buffer to begin with, and what it shrinks to: ordinary
/// heads fit, and ten thousand idle connections cost ten megabytes.
pub const IDLE_BUFFER_BYTES: usize = 1024;

/// Room for a read when more of a request is expected.
pub const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Bodies of at least this size are sent from their slot without a copy.
pub const DIRECT_SEND_BYTES_MIN: u32 = 8 * 1024;

/// Bytes that the kernel takes for a client beyond those that are on their way.
pub const UNSENT_BYTES_MAX: u32 = 256 * 1024;

/// Output buffers that a reactor keeps, and the largest of them.
pub const SPARE_BUFFER_COUNT_MAX: usize = 256;
/// See [`SPARE_BUFFER_COUNT_MAX`].
pub const SPARE_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Least bytes per second of a request body.
pub const BODY_RATE_MIN_DEFAULT: u64 = 500;

/// Least bytes per second that a client must take of a response.
pub const WRITE_RATE_MIN_DEFAULT: u64 = 500;

/// How far the coarse clock may be behind: a jiffy of the slowest kernel.
pub const CLOCK_GRAIN_MS: u64 = 10;

/// How often connections are looked over for passed deadlines.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Descriptors that are neither clients' nor workers': listeners, rings, timers.
pub const OTHER_FD_COUNT: u64 = 128;
/// But no more than one of so many.
pub const OTHER_FD_DIVISOR: u64 = 8;

/// One descriptor of so many is for workers.
pub const SESSION_FD_DIVISOR: u64 = 4;

/// One user may have all sessions but one of so many.
pub const USER_SESSIONS_DIVISOR: u32 = 8;

/// One process may have all sessions but one of so many.
pub const PROCESS_SESSIONS_DIVISOR: u32 = 2;

/// Fewer client connections than these are told of at the start: somebody will miss them.
pub const CONNECTIONS_FEW: u64 = 256;

/// After an early response, a body up to this many bytes is read and dropped so
/// that the connection can go on; with a larger one it ends.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// A body that is too long for its slot takes one once this much of it has come: a head alone must not
/// hold a place that others may wait for.
pub const STREAM_START_BYTES: usize = 32 * 1024;

/// Bodies that stream may hold all slots of a lane but one of so many.
pub const STREAM_SHARE_DIVISOR: usize = 2;

/// A body that pauses is let in only while fewer than one of so many places of that share are
/// taken, by streams of any kind.
pub const STREAM_SPARE_DIVISOR: usize = 2;

/// A body of unknown length pauses once nothing has come of it for so long.
pub const BODY_PAUSE: Duration = Duration::from_millis(50);

/// If there was no place to spare, the next try is so much later.
pub const BODY_PAUSE_AGAIN: Duration = Duration::from_secs(1);

/// Responses that turn out to stream are borne beyond that share, but for one slot of so
/// many.
pub const STREAM_RESERVE_DIVISOR: usize = 4;

/// Bytes per second below which a client that streams gives its place up when others
/// wait for one.
pub const STREAM_RATE_MIN: u64 = 16 * 1024;

/// How long a client's pace is measured.
pub const STREAM_PACE_WINDOW: Duration = Duration::from_secs(2);

/// When a worker that could not be notified of a subscriber is tried again; at once where
/// the routes change.
pub const SSE_RETRY_TIME: Duration = Duration::from_secs(5);

/// How often the control thread looks for what has expired, while anything can.
pub const CONTROL_TICK: Duration = Duration::from_millis(500);

/// How long a client of an event stream may take for one event while the memory for
/// events is all in use.
pub const EVENT_TIME_MAX: Duration = Duration::from_secs(10);

/// At most one such client of a lane is ended in this time. Who takes its place costs the
/// worker a request: 64 responses of 20 MB a second (a share of 128 in two seconds) take
/// half of a worker's time.
pub const STREAM_END_INTERVAL: Duration = SWEEP_INTERVAL;

/// Most that one step moves while a body streams.
pub const READ_STEP_BYTES: usize = 64 * 1024;

/// Options that a request's Connection fields may list: each is looked for
/// among its fields.
pub const CONNECTION_OPTION_COUNT_MAX: usize = 32;

/// Blank lines before a request that are skipped (RFC 9112 section 2.2).
pub const BLANK_LINE_COUNT_MAX: usize = 2;

/// Longest method that is waited for; no registered one has half as many bytes.
pub const METHOD_BYTES_MAX: usize = 64;

/// Chunk extensions and size lines of one request, in all.
pub const CHUNK_LINES_BYTES_MAX: usize = 16 * 1024;

/// Trailer section of one request; what of it a worker gets is bounded as well.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Events that wait for a client of an event stream; it loses further ones.
pub const SSE_BUFFER_COUNT_DEFAULT: u32 = 256;

/// Bytes of events that wait for a client of an event stream.
pub const FEED_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of them that are copied to be sent at once; the rest is shared with other clients.
pub const FEED_PIECE_BYTES: usize = 16 * 1024;

/// Bytes of events that wait for any client, each counted once: beyond it, clients that
/// lag behind lose what waits for them.
pub const EVENT_MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// Beyond this, no further event is taken.
pub const EVENT_MEMORY_BYTES_MAX: usize = 2 * EVENT_MEMORY_BYTES;

/// How often a client of an event stream is told something, if only a comment: one
/// that is gone is noticed by it.
pub const SSE_SWEEP_MS_DEFAULT: u64 = 5000;

/// How long telling a worker of a client waits before it looks again whether the
/// route's full queue has room.
pub const SSE_QUEUE_RETRY: Duration = Duration::from_millis(50);

/// The type, id or source of an event.
pub use slotway_shm_proto::limits::EVENT_NAME_BYTES_MAX;

/// The data of an event.
pub const EVENT_DATA_BYTES_MAX: usize = 256 * 1024;

/// Longest time that an event may tell clients to wait before they connect again.
pub const EVENT_RETRY_MS_MAX: u64 = 86_400_000;

/// Characters of `HUB_SECRET`, without white space around them.
pub const SECRET_CHARS_MIN: usize = 16;

/// What is told of a document that is wrong: it may quote as much of it as it likes.
pub const DOCUMENT_ERROR_CHARS_MAX: usize = 300;

/// How long browsers may remember the response to a preflight.
pub const CORS_MAX_AGE_SECONDS: u32 = 600;

/// A worker's name.
pub use slotway_shm_proto::limits::WORKER_NAME_BYTES_MAX;

/// Of a worker id, to tell it from all others.
pub const WORKER_ID_CHARS_MIN: usize = 6;

/// The version of a worker's program.
pub const WORKER_VERSION_BYTES_MAX: usize = 64;

/// A route's path pattern.
pub const ROUTE_PATH_BYTES_MAX: usize = 1024;

/// Routes of one worker.
pub const ROUTE_COUNT_MAX: usize = 16 * 1024;

/// How long a registration waits for its worker to attach.
pub const RESERVATION_TIME: Duration = Duration::from_secs(10);

/// Registrations that wait to attach at one time.
pub const RESERVATION_COUNT_MAX: usize = 1024;

/// Connections that a reactor accepts before others have their turn.
pub const ACCEPT_BATCH_COUNT: u64 = 8;

/// Connections of those who operate the hub, at listeners of their own, for one reactor. With
/// more, one that the hub waits for is ended; status pages take half of them at most.
pub const OPERATOR_COUNT_MAX: usize = 128;

/// Requests that wait for somebody who looks on; further ones are counted.
pub const TRACE_QUEUE_COUNT_MAX: usize = 1024;

/// Commands of those who operate the hub that may be answered at a time.
pub const COMMAND_COUNT_MAX: usize = 32;

/// How long a hub may take for a piece of its reply to a command.
pub const COMMAND_REPLY_TIME: Duration = Duration::from_secs(10);

/// How long such a client may take for a piece of its reply.
pub const COMMAND_TIME: Duration = Duration::from_secs(5);

/// How often it is said at most that connections are closed for their PROXY headers.
pub const PROXY_WORD_INTERVAL: Duration = Duration::from_secs(60);

/// For how long an answer to an agent-check is good.
pub const AGENT_ANSWER_TIME: Duration = Duration::from_millis(100);

/// Status pages that may be open.
pub const STATUS_PAGE_COUNT_MAX: usize = 64;

/// How long accepting pauses when the system is out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a worker may register over the attach socket.
pub const REGISTRATION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Connections of one user to the attach socket that are heard at a time: each may register
/// [`REGISTRATION_BYTES_MAX`].
pub const HEARD_COUNT_MAX: usize = 64;

/// How long one of them may take to say hello.
pub const HELLO_TIME: Duration = Duration::from_secs(2);

/// How long a connection that is being closed is still read at most, so that its
/// client can read the last response (RFC 9112 section 9.6).
pub const LINGER_TIME: Duration = Duration::from_secs(30);
/// How long its client may be silent meanwhile.
pub const LINGER_IDLE_TIME: Duration = Duration::from_secs(5);
/// How long it is still read once the hub stops.
pub const LINGER_STOP_TIME: Duration = Duration::from_secs(2);
/// How much of it is read.
pub const LINGER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How often in-flight requests are looked over for passed deadlines and for
/// wakes that got lost.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How long a worker may leave the messages of its session unread before a connection that it has
/// upgraded is ended.
pub const HAND_OVER_TIME: Duration = Duration::from_secs(1);

/// How often it is tried meanwhile.
pub const HAND_OVER_PAUSE: Duration = Duration::from_millis(2);

/// Files of workers that the hub has at a time, each with the two ends of a pipe, however many
/// descriptors there are.
pub const FILE_COUNT_MAX: u64 = 256;

/// One file for so many descriptors.
pub const FILE_FD_DIVISOR: u64 = 64;

/// A worker may have this part of them.
pub const OWN_FILES_DIVISOR: u64 = 2;

/// Descriptors of a worker that may wait to be closed, before its session ends for it.
pub const CLOSING_COUNT_MAX: usize = 1024;

/// Threads that read files of one worker at a time.
pub const FILE_READER_COUNT_MAX: usize = 8;

/// How long a file may come after the response that it is for: they go different ways.
pub const FILE_ARRIVAL_TIME: Duration = Duration::from_secs(1);

/// What is read of a file at a time: all that a pipe may have without further rights
/// (`/proc/sys/fs/pipe-max-size`).
pub const FILE_PIPE_BYTES: usize = 1024 * 1024;

/// How long a completion may wait unrung before its wake counts as lost. A
/// worker that is scheduled out between answering and ringing takes less.
pub const LOST_WAKE_TIME: Duration = Duration::from_millis(200);

/// A worker hangs, and its session is ended, when more of its slots than this
/// part have been quarantined for a whole timeout.
pub const QUARANTINE_DIVISOR: u32 = 2;

/// Lines that one place of the program may write to the log at once, and for each second
/// after that: many are caused by peers.
pub const LOG_BURST: f64 = 100.0;
/// See [`LOG_BURST`].
pub const LOG_LINES_PER_S: f64 = 10.0;

/// How long lines are left out of the log before it is said how many.
pub const LOG_SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Lines that wait to be written.
pub const LOG_QUEUE_COUNT_MAX: usize = 4096;

/// Longest line of the log.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// How long a line waits for standard error to take it.
pub const LOG_WRITE_TIME: Duration = Duration::from_secs(5);

/// How long the hub waits at its end for its last lines to be written.
pub const LOG_FLUSH_TIME: Duration = Duration::from_secs(1);

/// How much longer than `--drain-timeout` a stop may take before the hub ends anyway.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Names of workers that are counted each by itself; further ones are counted together.
pub const COUNTED_WORKER_COUNT_MAX: usize = 1024;

/// Observations (scrapes, pages, reports) that are made at a time: each may be megabytes.
pub const OBSERVATION_COUNT_MAX: usize = 2;

/// Those that wait for that, and so may be held for clients; further ones get 503.
pub const OBSERVATION_WAITING_MAX: usize = 32;

/// Seconds of each route's history that the status page shows.
pub const HISTORY_SECOND_COUNT: u64 = 300;

/// How often the status page is told what is new.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Ends of sessions and other incidents that are remembered.
pub const INCIDENT_COUNT_MAX: usize = 200;

/// Warnings and errors of the log that are remembered.
pub const RECENT_LINE_COUNT_MAX: usize = 200;

/// Bytes of each.
pub const RECENT_LINE_BYTES_MAX: usize = 512;

/// How long a reactor may take to say what it has to do, before it is left out.
pub const REACTOR_ANSWER_TIME: Duration = Duration::from_secs(2);

/// Records of ended requests that wait to be written, for each reactor: some five thousand.
pub const ACCESS_LOG_RING_BYTES: usize = 1024 * 1024;

/// How long the access log's writer gathers lines to write them together.
pub const ACCESS_LOG_BATCH_TIME: Duration = Duration::from_millis(20);

/// How often it says that lines are missing.
pub const ACCESS_LOG_WORD_INTERVAL: Duration = Duration::from_secs(10);

/// How long the hub waits at its end for the last lines to be written.
pub const ACCESS_LOG_FLUSH_TIME: Duration = Duration::from_secs(1);

/// How long a full pipe of the access log is waited for before lines are given up.
pub const ACCESS_LOG_PIPE_TIME: Duration = Duration::from_millis(500);

/// Longest X-Request-Id of a client that is kept.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the fields that the hub gives a request take of its slot's arena: two entries, and
/// the longest names and values.
pub const GIVEN_FIELDS_BYTES_MAX: usize = 2 * 16 + 12 + REQUEST_ID_BYTES_MAX + 11 + 55;

/// Routes that are counted each by itself; further ones are counted together.
pub const COUNTED_ROUTE_COUNT_MAX: usize = 2048;

/// One request of so many has the times of its phases measured. It costs six looks at the
/// clock, and with all of them 2 % of the requests/s.
pub const PHASE_SAMPLE_DIVISOR: u32 = 16;

/// How often phases are logged with `--instrumentation`.
pub const PHASE_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait for an address that a dead hub still holds.
pub const BIND_PATIENCE: Duration = Duration::from_secs(1);

/// Backlog of a listener.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Request-line and head bounds that clients meet.
pub const HEAD_BYTES_MAX: usize = REQUEST_HEAD_BYTES_MAX as usize;
/// See [`HEAD_BYTES_MAX`].
pub const LINE_BYTES_MAX: usize = REQUEST_LINE_BYTES_MAX as usize;

const _: () = {
    assert!(ARENA_BYTES_DEFAULT >= ARENA_BYTES_MIN);
    assert!(LINE_BYTES_MAX >= 8000, "RFC 9112 section 3");
    assert!(HEAD_BYTES_MAX >= LINE_BYTES_MAX);
    assert!(REQUEST_FIELD_COUNT_MAX >= 100 && ROUTE_PARAM_COUNT_MAX >= 8);
    assert!(
        REQUEST_HEAD_BYTES_MAX
            + REQUEST_LINE_BYTES_MAX
            + 16 * REQUEST_FIELD_COUNT_MAX as u32
            + 8 * ROUTE_PARAM_COUNT_MAX as u32
            + GIVEN_FIELDS_BYTES_MAX as u32
            + BODY_RING_BYTES_MIN
            <= ARENA_BYTES_MIN,
        "the largest head fits the smallest arena with what the hub adds"
    );
    assert!(EVENT_DATA_BYTES_MAX < FEED_BYTES_MAX);
    assert!(STREAM_SHARE_DIVISOR < STREAM_RESERVE_DIVISOR);
    assert!((EVENT_DATA_BYTES_MAX as u64) < CONTROL_BODY_BYTES_MAX);
    assert!(STREAM_PACE_WINDOW.as_millis() >= 4 * SWEEP_INTERVAL.as_millis());
    assert!(LINGER_STOP_TIME.as_secs() < LINGER_IDLE_TIME.as_secs());
    assert!(LINGER_IDLE_TIME.as_secs() < LINGER_TIME.as_secs());
    assert!(IDLE_BUFFER_BYTES < READ_BUFFER_BYTES && READ_BUFFER_BYTES < HEAD_BYTES_MAX);
};
