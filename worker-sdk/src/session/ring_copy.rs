//! Bytes between a slot's ring and this process, with the cursor that says so.

use std::mem::offset_of;

use slotway_shm_proto::ByteRing;
use slotway_shm_proto::byte_ring::CursorError;
use slotway_shm_proto::layout::{RequestWords, ResponseWords};
use slotway_shm_proto::tagged::{load_tagged, store_tagged};
use slotway_shm_proto::trailers;

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

/// How much of a request's body is in its ring, without its trailers.
pub(crate) fn ready(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    consumed: u32,
) -> Result<u32, CursorError> {
    let produced = session.request_word(key, offset_of!(RequestWords, body_produced));
    let produced = load_tagged(produced, key.generation).unwrap_or(0);
    let filled = ring.filled(produced, consumed)?;
    // After the cursor: they are said before it moves over them.
    Ok(trailers::body_bytes(filled, trailers_bytes(session, key)))
}

fn trailers_bytes(session: &Session, key: SlotKey) -> Option<u32> {
    let word = session.request_word(key, offset_of!(RequestWords, trailers));
    load_tagged(word, key.generation)
}

/// The trailers behind a request's body, once that has been taken to its end.
pub(crate) fn take_trailers(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    ring_offset: u32,
    consumed: &mut u32,
) -> Vec<u8> {
    let mut section = Vec::new();
    // The hub says no more than fit the ring.
    let bytes = trailers_bytes(session, key).unwrap_or(0).min(ring.bytes());
    take_ready(
        session,
        key,
        ring,
        ring_offset,
        consumed,
        bytes,
        &mut section,
    );
    section
}

/// Puts a response's trailers behind its body, if there is room for all of them.
pub(crate) fn put_trailers(
    session: &Session,
    key: SlotKey,
    ring: ByteRing,
    ring_offset: u32,
    produced: &mut u32,
    section: &[u8],
) -> Result<bool, CursorError> {
    let word = session.request_word(key, offset_of!(RequestWords, response_consumed));
    let consumed = load_tagged(word, key.generation).unwrap_or(0);
    if section.len() > (ring.bytes() - ring.filled(*produced, consumed)?) as usize {
        return Ok(false);
    }
    let word = session.response_word(key, offset_of!(ResponseWords, trailers));
    store_tagged(word, key.generation, section.len() as u32);
    put(session, key, ring, ring_offset, produced, section)?;
    Ok(true)
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
