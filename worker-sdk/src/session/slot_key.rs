//! Which use of which slot.

/// One use of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    pub lane_index: u32,
    pub slot_index: u32,
    pub generation: u32,
}
