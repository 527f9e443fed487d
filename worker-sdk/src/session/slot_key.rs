//! Which use of which slot.

/// One use of one slot.
pub(crate) use slotway_shm_proto::upgrade::SlotUse as SlotKey;
