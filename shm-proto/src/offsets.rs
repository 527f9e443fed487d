//! Where the words, rings and arenas of a lane lie; [`crate::geometry`] computes them.

/// Where a lane's words lie; the first five in the requests region, then two
/// in the responses region.
#[derive(Clone, Copy, Debug)]
pub struct LaneOffsets {
    /// u32: submissions published.
    pub submission_tail: u64,
    /// u32: completions the hub has consumed.
    pub completion_head: u64,
    /// u32: the reactor's sleep epoch for this lane.
    pub hub_sleep: u64,
    /// u32: the CPU on which the reactor last rang, plus one.
    pub hub_cpu: u64,
    /// First submission [`RingEntry`](crate::layout::RingEntry).
    pub submission_entries: u64,
    /// u32: submissions the worker has consumed.
    pub submission_head: u64,
    /// First completion [`RingEntry`](crate::layout::RingEntry).
    pub completion_entries: u64,
    /// Start of the lane in the requests region.
    pub(crate) requests: u64,
    /// Start of the lane in the responses region.
    pub(crate) responses: u64,
}

/// Where a slot lies; the first three in the requests region.
#[derive(Clone, Copy, Debug)]
pub struct SlotOffsets {
    /// [`RequestHead`](crate::layout::RequestHead).
    pub request_head: u64,
    /// [`RequestWords`](crate::layout::RequestWords).
    pub request_words: u64,
    /// First byte of the request arena.
    pub request_arena: u64,
    /// [`ResponseHead`](crate::layout::ResponseHead).
    pub response_head: u64,
    /// [`ResponseWords`](crate::layout::ResponseWords).
    pub response_words: u64,
    /// First byte of the response arena.
    pub response_arena: u64,
}
