//! Bytes between a slot's ring and this process, with the cursor that says so.

use std::mem::offset_of;

use slotway_shm_proto::ByteRing;
use slotway_shm_proto::byte_ring::CursorError;
use slotway_shm_proto::layout::{RequestWords, ResponseWords};
use slotway_shm_proto::tagged::{load_tagged, store_tagged};

use crate::session::{Session, SlotKey};

/// Takes all that the hub has put into a request body's ring, appending it to
/// `out`, and publishes the cursor. Returns how much that was.
pub(crate) fn take(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    ring_offset: u32,
    consumed: &mut u32,
    out: &mut Vec<u8>,
) -> Result<u32, CursorError> {
    let ready = ready(session, key, ring, *consumed)?;
    take_ready(session, key, ring, ring_offset, consumed, ready, out);
    Ok(ready)
}

/// How much of a request's body is in its ring.
pub(crate) fn ready(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    consumed: u32,
) -> Result<u32, CursorError> {
    let produced = session.request_word(key, offset_of!(RequestWords, body_produced));
    let produced = load_tagged(produced, key.generation).unwrap_or(0);
    ring.filled(produced, consumed)
}

/// Takes what is [`ready`], and publishes the cursor.
pub(crate) fn take_ready(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    ring_offset: u32,
    consumed: &mut u32,
    ready: u32,
    out: &mut Vec<u8>,
) {
    let arena = session.offsets(key).request_arena + u64::from(ring_offset);
    for (start, count) in ring.pieces(*consumed, ready) {
        let requests = &session.regions.requests;
        requests.append_to(arena + u64::from(start), count as usize, out);
    }
    *consumed = ring.advance(*consumed, ready);
    let word = session.response_word(key, offset_of!(ResponseWords, request_consumed));
    store_tagged(word, key.generation, *consumed);
}

/// Puts as much of `bytes` into a response body's ring as there is room for, and
/// publishes the cursor. Returns how much that was.
pub(crate) fn put(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    ring_offset: u32,
    produced: &mut u32,
    bytes: &[u8],
) -> Result<u32, CursorError> {
    let word = session.request_word(key, offset_of!(RequestWords, response_consumed));
    let consumed = load_tagged(word, key.generation).unwrap_or(0);
    let filled = ring.filled(*produced, consumed)?;
    let count = bytes.len().min((ring.bytes() - filled) as usize) as u32;
    let arena = session.offsets(key).response_arena + u64::from(ring_offset);
    let mut left = &bytes[..count as usize];
    for (start, piece_bytes) in ring.pieces(*produced, count) {
        let (piece, tail) = left.split_at(piece_bytes as usize);
        session
            .regions
            .responses
            .write(arena + u64::from(start), piece);
        left = tail;
    }
    *produced = ring.advance(*produced, count);
    let word = session.response_word(key, offset_of!(ResponseWords, body_produced));
    store_tagged(word, key.generation, *produced);
    Ok(count)
}
