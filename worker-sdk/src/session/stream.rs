//! Bodies that a handler reads or writes while they are under way. Bytes go
//! between the handler and the slot's ring directly; a notice of the hub wakes
//! whoever waits for more of them, or for room.

use std::mem::offset_of;
use std::task::{Context, Poll};

use slotway_shm_proto::layout::{RequestHead, RequestWords, ResponseWords, request_flags};
use slotway_shm_proto::ring::NoticeGate;
use slotway_shm_proto::tagged::{load_tagged, store_tagged};
use slotway_shm_proto::{BodyEnd, ByteRing};

use super::ring_copy;
use super::slot_state::{StreamIn, StreamOut, Transfer, TransferState};
use super::{Session, SlotKey};

/// The other side has given the body up: the client has left, the deadline has
/// passed, or the session with the hub is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the body is gone")]
pub struct BodyClosed;

impl From<BodyClosed> for std::io::Error {
    fn from(error: BodyClosed) -> Self {
        Self::new(std::io::ErrorKind::BrokenPipe, error)
    }
}

/// Begins to let a handler read a request's body.
pub(crate) fn begin_in(session: &Session, key: SlotKey, head: &RequestHead) {
    let mut state = session.lock_transfer(key);
    state.begin(key);
    state.reading = Some(StreamIn {
        generation: key.generation,
        ring: ByteRing::new(head.body_ring_bytes),
        ring_offset: head.body_offset,
        consumed: 0,
        expects_continue: head.flags & request_flags::EXPECTS_CONTINUE != 0,
        is_over: false,
        trailers: Vec::new(),
        waker: None,
    });
}

/// Begins to let a handler write its response's body.
pub(crate) fn begin_out(session: &Session, key: SlotKey, ring_offset: u32, ring: ByteRing) {
    let mut state = session.lock_transfer(key);
    state.begin(key);
    state.transfer = Some(Transfer::Out(StreamOut {
        generation: key.generation,
        published: false,
        ring,
        ring_offset,
        produced: 0,
        ended: None,
        waker: None,
    }));
}

/// Forgets bodies whose response turned out to be another.
pub(crate) fn forget(session: &Session, key: SlotKey) {
    let mut state = session.lock_transfer(key);
    state.wake();
    state.transfer = None;
    state.reading = None;
}

/// The response is whole: what was not read of the request's body is dropped.
pub(crate) fn end_in(session: &Session, key: SlotKey) {
    session.lock_transfer(key).end_reading(key);
}

/// Takes what has arrived of the body, appending it to `bytes`. Ready with 0 at
/// its end.
pub(crate) fn poll_in(
    session: &Session,
    key: SlotKey,
    cx: &mut Context<'_>,
    bytes: &mut Vec<u8>,
) -> Poll<Result<usize, BodyClosed>> {
    let mut state = session.lock_transfer(key);
    let state = &mut *state;
    let Some(stream) = &mut state.reading else {
        return Poll::Ready(Err(BodyClosed));
    };
    if stream.generation != key.generation || session.is_cancelled(key) || session.has_ended() {
        return Poll::Ready(Err(BodyClosed));
    }
    if std::mem::take(&mut stream.expects_continue) {
        say_wanted(session, key, &mut state.notices);
    }
    // The end first: once it is there, the cursor does not move again.
    let end = session.request_word(key, offset_of!(RequestWords, body_end));
    let end = load_tagged(end, key.generation).map(BodyEnd::from_word);
    let (ring, offset) = (stream.ring, stream.ring_offset);
    let consumed = &mut stream.consumed;
    let Ok(ready) = ring_copy::take(session, key, ring, offset, consumed, bytes) else {
        tracing::error!("the hub's cursor of a request body is out of range");
        return Poll::Ready(Err(BodyClosed));
    };
    if ready == 0 {
        return match end {
            Some(BodyEnd::Complete) => {
                if !std::mem::replace(&mut stream.is_over, true) {
                    let trailers = ring_copy::take_trailers(session, key, ring, offset, consumed);
                    stream.trailers = trailers;
                }
                Poll::Ready(Ok(0))
            }
            Some(BodyEnd::Aborted) => Poll::Ready(Err(BodyClosed)),
            None => {
                stream.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        };
    }
    session.notify(key, &mut state.notices);
    session.ring(key.lane_index);
    Poll::Ready(Ok(ready as usize))
}

/// The fields behind a request's body whose end has been reached, once.
pub(crate) fn take_trailers(session: &Session, key: SlotKey) -> Vec<u8> {
    let mut state = session.lock_transfer(key);
    let reading = state.reading.as_mut();
    let own = reading.filter(|stream| stream.generation == key.generation);
    own.map(|stream| std::mem::take(&mut stream.trailers))
        .unwrap_or_default()
}

/// Puts the fields behind a response's body into the ring, once there is room for them, and ends the
/// body.
pub(crate) fn poll_trailers(
    session: &Session,
    key: SlotKey,
    cx: &mut Context<'_>,
    section: &[u8],
) -> Poll<Result<(), BodyClosed>> {
    let mut state = session.lock_transfer(key);
    let stream = written(session, key, &mut state.transfer)?;
    let (ring, offset) = (stream.ring, stream.ring_offset);
    let produced = &mut stream.produced;
    match ring_copy::put_trailers(session, key, ring, offset, produced, section) {
        Ok(true) => {}
        Ok(false) => {
            stream.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Err(_) => {
            tracing::error!("the hub's cursor of a response body is out of range");
            return Poll::Ready(Err(BodyClosed));
        }
    }
    drop(state);
    end_out(session, key, BodyEnd::Complete);
    Poll::Ready(Ok(()))
}

/// Tells the hub that a body is wanted which its client holds back.
pub(crate) fn say_wanted(session: &Session, key: SlotKey, notices: &mut NoticeGate) {
    let word = session.response_word(key, offset_of!(ResponseWords, wants_body));
    store_tagged(word, key.generation, 1);
    session.notify(key, notices);
    session.ring(key.lane_index);
}

/// The response body that a handler writes, as long as somebody reads it.
fn written<'t>(
    session: &Session,
    key: SlotKey,
    transfer: &'t mut Option<Transfer>,
) -> Result<&'t mut StreamOut, BodyClosed> {
    match transfer {
        Some(Transfer::Out(stream))
            if stream.generation == key.generation
                && !session.is_cancelled(key)
                && !session.has_ended() =>
        {
            Ok(stream)
        }
        _ => Err(BodyClosed),
    }
}

/// Puts as much of `bytes` into the ring as there is room for. Ready with how
/// much that was, which is not 0 unless there are none.
pub(crate) fn poll_out(
    session: &Session,
    key: SlotKey,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Result<usize, BodyClosed>> {
    let mut state = session.lock_transfer(key);
    let state = &mut *state;
    let stream = written(session, key, &mut state.transfer)?;
    let (ring, offset) = (stream.ring, stream.ring_offset);
    let produced = &mut stream.produced;
    let Ok(count) = ring_copy::put(session, key, ring, offset, produced, bytes) else {
        tracing::error!("the hub's cursor of a response body is out of range");
        return Poll::Ready(Err(BodyClosed));
    };
    if count == 0 && !bytes.is_empty() {
        stream.waker = Some(cx.waker().clone());
        return Poll::Pending;
    }
    if stream.published {
        session.notify(key, &mut state.notices);
        session.ring(key.lane_index);
    }
    Poll::Ready(Ok(count as usize))
}

/// The writer has ended.
pub(crate) fn end_out(session: &Session, key: SlotKey, end: BodyEnd) {
    let mut state = session.lock_transfer(key);
    let state = &mut *state;
    let Some(Transfer::Out(stream)) = &mut state.transfer else {
        return;
    };
    if stream.generation != key.generation {
        return;
    }
    if !stream.published {
        stream.ended = Some(end);
        return;
    }
    state.transfer = None;
    say_end(session, key, state, end);
}

/// Nobody reads the response any more: the hub gets its slot back.
pub(crate) fn give_up_out(session: &Session, key: SlotKey, state: &mut TransferState) {
    match &mut state.transfer {
        Some(Transfer::Out(stream)) if stream.published => {
            state.transfer = None;
            say_end(session, key, state, BodyEnd::Aborted);
        }
        Some(Transfer::Out(stream)) => stream.ended = Some(BodyEnd::Aborted),
        _ => {}
    }
}

fn say_end(session: &Session, key: SlotKey, state: &mut TransferState, end: BodyEnd) {
    // From here on the slot is the hub's.
    state.end_reading(key);
    let word = session.response_word(key, offset_of!(ResponseWords, body_end));
    store_tagged(word, key.generation, end as u32);
    session.notify(key, &mut state.notices);
    session.ring(key.lane_index);
}

/// The hub has been told of the response.
pub(crate) fn publish_out(session: &Session, key: SlotKey, state: &mut TransferState) {
    let Some(Transfer::Out(stream)) = &mut state.transfer else {
        return;
    };
    stream.published = true;
    if let Some(end) = stream.ended {
        state.transfer = None;
        say_end(session, key, state, end);
    }
}
