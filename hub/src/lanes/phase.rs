//! Where a slot is in its life; [`slot`](super::slot) says who may touch it then.

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In no use.
    Free,
    /// A connection is writing its request.
    Reserved,
    /// The worker has it.
    Submitted,
    /// The worker is done; the hub has yet to read the response.
    Responded,
    /// The response's head is there, its body streams.
    Streaming,
    /// Nobody waits any more, but the worker may still write.
    Quarantined,
}
