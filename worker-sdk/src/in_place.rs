//! Reading a request where the hub has put it.

use slotway_shm_proto::layout::Span;
use slotway_shm_proto::memory::PeerRegion;

/// The bytes of a span in a request arena; empty if it lies outside.
///
/// # Safety
/// The slot's completion must not be published while the slice lives. Until
/// then the hub, which is trusted by its workers, leaves the arena alone.
#[inline]
pub unsafe fn arena_bytes(
    requests: &PeerRegion,
    arena_offset: u64,
    arena_bytes: u32,
    span: Span,
) -> &[u8] {
    let end = span.offset.checked_add(span.bytes);
    if end.is_none_or(|end| end > arena_bytes) {
        debug_assert!(false, "the hub's spans lie in the arena");
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { requests.in_place(arena_offset + u64::from(span.offset), span.bytes as usize) }
}
