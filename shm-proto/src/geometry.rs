//! The numbers that a session's regions are laid out by, and what follows from them: see the map in
//! [`layout`](crate::layout).

use crate::layout::{
    LAYOUT_VERSION, MAGIC, RegionHeader, RequestHead, RequestWords, ResponseHead, ResponseWords,
    RingEntry,
};
use crate::limits::{
    ARENA_BYTES_MAX, ARENA_BYTES_MIN, LANE_COUNT_MAX, REGION_BYTES_MAX, RING_ENTRIES_PER_SLOT,
    SLOT_COUNT_MAX, THREAD_COUNT_MAX,
};
pub use crate::offsets::{LaneOffsets, SlotOffsets};

const PAGE_BYTES: u64 = 4096;
const LINE_BYTES: u64 = 64;

const THREAD_LINES_OFFSET: u64 = PAGE_BYTES;
const LANES_OFFSET: u64 = 2 * PAGE_BYTES;
const LANE_RING_OFFSET: u64 = 4 * LINE_BYTES;
const _: () = assert!(THREAD_COUNT_MAX as u64 * LINE_BYTES <= PAGE_BYTES);

const REQUEST_ARENA_OFFSET: u64 = (size_of::<RequestHead>() + size_of::<RequestWords>()) as u64;
const RESPONSE_ARENA_OFFSET: u64 = (size_of::<ResponseHead>() + size_of::<ResponseWords>()) as u64;

/// The numbers that a session's regions are laid out by; every offset in the
/// project comes from here. All offsets are in bytes from the region's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    lane_count: u32,
    slot_count: u32,
    arena_bytes: u32,
}

/// Why a set of numbers is no geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Lanes outside 1 to [`LANE_COUNT_MAX`].
    #[error("{0} lanes, expected 1 to {LANE_COUNT_MAX}")]
    LaneCount(u32),
    /// Slots outside 1 to [`SLOT_COUNT_MAX`].
    #[error("{0} slots per lane, expected 1 to {SLOT_COUNT_MAX}")]
    SlotCount(u32),
    /// Arena outside its bounds or no multiple of 64.
    #[error(
        "arenas of {0} bytes, expected a multiple of 64 from {ARENA_BYTES_MIN} to {ARENA_BYTES_MAX}"
    )]
    ArenaBytes(u32),
    /// The product of the three is more than one mapping should be.
    #[error(
        "regions of {0} bytes, expected at most {REGION_BYTES_MAX}; use fewer slots or smaller arenas"
    )]
    RegionBytes(u64),
}

impl Geometry {
    /// Checks the numbers.
    pub fn new(lane_count: u32, slot_count: u32, arena_bytes: u32) -> Result<Self, GeometryError> {
        if !(1..=LANE_COUNT_MAX).contains(&lane_count) {
            return Err(GeometryError::LaneCount(lane_count));
        }
        if !(1..=SLOT_COUNT_MAX).contains(&slot_count) {
            return Err(GeometryError::SlotCount(slot_count));
        }
        if !(ARENA_BYTES_MIN..=ARENA_BYTES_MAX).contains(&arena_bytes)
            || !u64::from(arena_bytes).is_multiple_of(LINE_BYTES)
        {
            return Err(GeometryError::ArenaBytes(arena_bytes));
        }
        let geometry = Self {
            lane_count,
            slot_count,
            arena_bytes,
        };
        let region_bytes = geometry.requests_bytes();
        if region_bytes > REGION_BYTES_MAX {
            return Err(GeometryError::RegionBytes(region_bytes));
        }
        Ok(geometry)
    }

    /// Lanes of the session.
    pub fn lane_count(&self) -> u32 {
        self.lane_count
    }

    /// Slots of each lane.
    pub fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// Bytes of each arena.
    pub fn arena_bytes(&self) -> u32 {
        self.arena_bytes
    }

    /// Entries of each ring: a power of two.
    pub fn ring_entry_count(&self) -> u32 {
        (self.slot_count * RING_ENTRIES_PER_SLOT).next_power_of_two()
    }

    /// Header of a region of `region_bytes`.
    pub fn header(&self, region_bytes: u64) -> RegionHeader {
        RegionHeader {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            lane_count: self.lane_count,
            slot_count: self.slot_count,
            arena_bytes: self.arena_bytes,
            region_bytes,
        }
    }

    fn lane_bytes(&self, arena_offset: u64) -> u64 {
        let ring_bytes = u64::from(self.ring_entry_count()) * size_of::<RingEntry>() as u64;
        let slots_bytes = u64::from(self.slot_count) * (arena_offset + u64::from(self.arena_bytes));
        (LANE_RING_OFFSET + ring_bytes + slots_bytes).next_multiple_of(PAGE_BYTES)
    }

    fn slot_offset(&self, lane_offset: u64, slot_index: u32, arena_offset: u64) -> u64 {
        let ring_bytes = u64::from(self.ring_entry_count()) * size_of::<RingEntry>() as u64;
        let stride = arena_offset + u64::from(self.arena_bytes);
        lane_offset + LANE_RING_OFFSET + ring_bytes + u64::from(slot_index) * stride
    }

    /// Bytes of the requests region.
    pub fn requests_bytes(&self) -> u64 {
        LANES_OFFSET + u64::from(self.lane_count) * self.lane_bytes(REQUEST_ARENA_OFFSET)
    }

    /// Bytes of the responses region.
    pub fn responses_bytes(&self) -> u64 {
        LANES_OFFSET + u64::from(self.lane_count) * self.lane_bytes(RESPONSE_ARENA_OFFSET)
    }

    /// A worker thread's line: its doorbell in the requests region, its sleep
    /// epoch in the responses region.
    pub fn thread_line(&self, thread_index: u32) -> u64 {
        debug_assert!(thread_index < THREAD_COUNT_MAX);
        THREAD_LINES_OFFSET + u64::from(thread_index) * LINE_BYTES
    }

    /// Beside its sleep epoch: the number of the CPU that the thread is kept to, and 1; 0 if it
    /// is not kept to any.
    pub fn thread_cpu(&self, thread_index: u32) -> u64 {
        self.thread_line(thread_index) + 4
    }

    /// Where a lane's words lie.
    pub fn lane(&self, lane_index: u32) -> LaneOffsets {
        debug_assert!(lane_index < self.lane_count);
        let requests = LANES_OFFSET + u64::from(lane_index) * self.lane_bytes(REQUEST_ARENA_OFFSET);
        let responses =
            LANES_OFFSET + u64::from(lane_index) * self.lane_bytes(RESPONSE_ARENA_OFFSET);
        LaneOffsets {
            submission_tail: requests,
            completion_head: requests + LINE_BYTES,
            hub_sleep: requests + 2 * LINE_BYTES,
            hub_cpu: requests + 2 * LINE_BYTES + 4,
            submission_entries: requests + LANE_RING_OFFSET,
            submission_head: responses,
            completion_entries: responses + LANE_RING_OFFSET,
            requests,
            responses,
        }
    }

    /// Where a slot lies in both regions.
    #[inline]
    pub fn slot(&self, lane: &LaneOffsets, slot_index: u32) -> SlotOffsets {
        debug_assert!(slot_index < self.slot_count);
        let request = self.slot_offset(lane.requests, slot_index, REQUEST_ARENA_OFFSET);
        let response = self.slot_offset(lane.responses, slot_index, RESPONSE_ARENA_OFFSET);
        SlotOffsets {
            request_head: request,
            request_words: request + size_of::<RequestHead>() as u64,
            request_arena: request + REQUEST_ARENA_OFFSET,
            response_head: response,
            response_words: response + size_of::<ResponseHead>() as u64,
            response_arena: response + RESPONSE_ARENA_OFFSET,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_outside_its_bounds_is_refused_with_the_number_that_is_wrong() {
        for (lanes, slots, arena, error) in [
            (0, 1, 65_536, GeometryError::LaneCount(0)),
            (65, 1, 65_536, GeometryError::LaneCount(65)),
            (1, 0, 65_536, GeometryError::SlotCount(0)),
            (1, 1, 65_535, GeometryError::ArenaBytes(65_535)),
            (1, 1, 65_537, GeometryError::ArenaBytes(65_537)),
        ] {
            assert_eq!(Geometry::new(lanes, slots, arena), Err(error));
        }
        assert!(matches!(
            Geometry::new(64, SLOT_COUNT_MAX, ARENA_BYTES_MAX),
            Err(GeometryError::RegionBytes(_))
        ));
    }

    #[test]
    fn lanes_and_slots_neither_overlap_nor_leave_their_region() {
        let geometry = Geometry::new(3, 5, 65_536).unwrap();
        let arena = u64::from(geometry.arena_bytes());
        let (mut request_end, mut response_end) = (0, 0);
        for lane_index in 0..3 {
            let lane = geometry.lane(lane_index);
            assert!(lane.submission_tail >= request_end && lane.submission_head >= response_end);
            let ring_bytes = u64::from(geometry.ring_entry_count()) * 16;
            request_end = lane.submission_entries + ring_bytes;
            response_end = lane.completion_entries + ring_bytes;
            for slot_index in 0..5 {
                let slot = geometry.slot(&lane, slot_index);
                assert!(slot.request_head >= request_end && slot.response_head >= response_end);
                assert!(slot.request_arena.is_multiple_of(64));
                assert!(slot.response_arena.is_multiple_of(64));
                request_end = slot.request_arena + arena;
                response_end = slot.response_arena + arena;
            }
        }
        assert!(request_end <= geometry.requests_bytes());
        assert!(response_end <= geometry.responses_bytes());
    }
}
