//! Reading a request where the hub has put it.

use slotway_shm_proto::layout::Span;

use crate::exchange::request::Request;

impl Request {
    /// The bytes of a span in the request's arena; empty if it lies outside.
    #[inline]
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        let arena_bytes = self.session.geometry.arena_bytes();
        if span
            .offset
            .checked_add(span.bytes)
            .is_none_or(|end| end > arena_bytes)
        {
            debug_assert!(false, "the hub's spans lie in the arena");
            return &[];
        }
        let start = self.arena_offset + u64::from(span.offset);
        // SAFETY: the hub, which is trusted by its workers, leaves the arena
        // alone until the slot's completion is published, and that happens only
        // after this request has been dropped: a plain handler borrows it and
        // ends before, and an async handler's request carries a `Hold`.
        unsafe {
            self.session
                .regions
                .requests
                .in_place(start, span.bytes as usize)
        }
    }
}
