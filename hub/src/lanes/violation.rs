//! How a worker can break the protocol.

use slotway_shm_proto::byte_ring::CursorError;
use slotway_shm_proto::ring::RingError;

use super::phase::Phase;

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

/// What no honest worker does; the session ends for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotViolation {
    /// No such slot.
    #[error("a completion names slot {slot_index} of {slot_count}")]
    NoSuchSlot {
        /// What the entry says.
        slot_index: u32,
        /// Slots of the lane.
        slot_count: u32,
    },
    /// A response to a request that the slot does not hold.
    #[error(
        "a response to generation {seen} of slot {slot_index}, which is {phase:?} in generation {expected}"
    )]
    NotAsked {
        /// The slot.
        slot_index: u32,
        /// What the entry says.
        seen: u32,
        /// The slot's generation.
        expected: u32,
        /// The slot's phase.
        phase: Phase,
    },
}
