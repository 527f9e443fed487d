//! How a worker can break the protocol.

use slotway_shm_proto::byte_ring::CursorError;
use slotway_shm_proto::ring::RingError;

use super::slot::SlotViolation;

/// What a worker did that ends its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// In the completion ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Against a slot's life.
    #[error(transparent)]
    Slot(#[from] SlotViolation),
    /// In a response head.
    #[error("the {0} of a response head lies outside its arena")]
    Head(&'static str),
    /// In a body ring.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The hub itself failed at what the worker had written.
    #[error("the hub panicked at what it found in this worker's memory")]
    Panic,
}
