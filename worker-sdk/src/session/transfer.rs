//! Bodies that do not fit their arena: a request's is collected from the hub's
//! ring, a response's is pushed into the worker's, piece by piece, whenever a
//! notice says that the other side has moved. No thread ever waits for it.

use std::mem::offset_of;

use slotway_shm_proto::layout::{RequestHead, RequestWords, ResponseWords, request_flags};
use slotway_shm_proto::tagged::{load_tagged, store_tagged};
use slotway_shm_proto::{BodyEnd, ByteRing};

use super::body_pool::{CollectedBody, NoRoom};
use super::ring_copy;
use super::slot_state::{Collect, Push, Transfer, TransferState};
use super::stream;
use super::{Session, SlotKey};

/// What came of a step.
#[must_use]
pub(crate) enum Step {
    /// Nothing that anybody waits for.
    Nothing,
    /// A request's body is whole: its handler can run.
    Collected(RequestHead, CollectedBody),
    /// The hub gave up on a request whose body was being collected; the slot
    /// must still be answered.
    Abandoned,
    /// There is no memory for the body; the slot must still be answered.
    NoRoom,
}

/// Begins to collect a request's body.
pub(crate) fn collect(session: &Session, key: SlotKey, head: RequestHead) -> Step {
    let mut state = session.lock_transfer(key);
    state.begin(key);
    state.transfer = Some(Transfer::Collect(Collect {
        generation: key.generation,
        head,
        ring: ByteRing::new(head.body_ring_bytes),
        consumed: 0,
        body: CollectedBody::new(&session.bodies),
    }));
    if head.flags & request_flags::EXPECTS_CONTINUE != 0 {
        stream::say_wanted(session, key, &mut state.notices);
    }
    step(session, key, &mut state)
}

/// Begins to push a response's body; its head has been written and is published
/// by the caller after this.
pub(crate) fn begin_push(
    session: &Session,
    key: SlotKey,
    ring_offset: u32,
    ring: ByteRing,
    body: Vec<u8>,
) {
    let mut state = session.lock_transfer(key);
    state.begin(key);
    let mut push = Push {
        generation: key.generation,
        published: false,
        ring,
        ring_offset,
        produced: 0,
        body,
        sent_bytes: 0,
    };
    push.fill(session, key);
    state.end_reading(key);
    state.transfer = Some(Transfer::Push(push));
}

/// Whether the slot has a response whose body is still to go.
pub(crate) fn has_body_to_send(session: &Session, key: SlotKey) -> bool {
    match &session.lock_transfer(key).transfer {
        Some(Transfer::Push(push)) => push.generation == key.generation,
        Some(Transfer::Out(stream)) => stream.generation == key.generation,
        _ => false,
    }
}

/// The hub has been told of the response: its body may go on, or be given up.
pub(crate) fn go_on_pushing(session: &Session, key: SlotKey) {
    let mut state = session.lock_transfer(key);
    match &mut state.transfer {
        Some(Transfer::Push(push)) if push.generation == key.generation => {
            push.published = true;
        }
        Some(Transfer::Out(out)) if out.generation == key.generation => {
            stream::publish_out(session, key, &mut state);
        }
        _ => return,
    }
    let step = step(session, key, &mut state);
    debug_assert!(matches!(step, Step::Nothing), "nothing is collected here");
}

/// Looks at the slot's words and does what they allow. To be called for every
/// notice; one that comes late, when the slot has its next use, does nothing.
pub(crate) fn advance(session: &Session, key: SlotKey) -> Step {
    let mut state = session.lock_transfer(key);
    look_for_cancellation(session, key, &state);
    step(session, key, &mut state)
}

fn step(session: &Session, key: SlotKey, state: &mut TransferState) -> Step {
    if state.generation == key.generation && state.reading.is_some() {
        state.wake();
    }
    let is_current = match &state.transfer {
        None => false,
        Some(Transfer::Collect(collect)) => collect.generation == key.generation,
        Some(Transfer::Push(push)) => push.generation == key.generation && push.published,
        Some(Transfer::Out(stream)) => stream.generation == key.generation,
    };
    if !is_current {
        return Step::Nothing;
    }
    let cancelled = session.is_cancelled(key);
    match &mut state.transfer {
        None => Step::Nothing,
        Some(Transfer::Out(_)) => {
            state.wake();
            if cancelled {
                stream::give_up_out(session, key, state);
            }
            Step::Nothing
        }
        Some(Transfer::Collect(_)) if cancelled => {
            state.transfer = None;
            Step::Abandoned
        }
        Some(Transfer::Push(_)) if cancelled => {
            state.transfer = None;
            end_push(session, key, BodyEnd::Aborted);
            session.notify(key, &mut state.notices);
            session.ring(key.lane_index);
            Step::Nothing
        }
        Some(Transfer::Collect(collect)) => {
            let Ok((taken, end)) = collect.take(session, key) else {
                state.transfer = None;
                return Step::NoRoom;
            };
            if taken > 0 {
                session.notify(key, &mut state.notices);
                session.ring(key.lane_index);
            }
            let Some(end) = end else { return Step::Nothing };
            let Some(Transfer::Collect(done)) = state.transfer.take() else {
                return Step::Nothing;
            };
            match end {
                BodyEnd::Complete => {
                    let Collect {
                        head,
                        ring,
                        mut consumed,
                        mut body,
                        ..
                    } = done;
                    let offset = head.body_offset;
                    body.trailers =
                        ring_copy::take_trailers(session, key, ring, offset, &mut consumed);
                    Step::Collected(head, body)
                }
                BodyEnd::Aborted => Step::Abandoned,
            }
        }
        Some(Transfer::Push(push)) => {
            let moved = push.fill(session, key);
            let done = push.sent_bytes == push.body.len();
            if done {
                session.bodies.keep(std::mem::take(&mut push.body));
                end_push(session, key, BodyEnd::Complete);
                state.transfer = None;
            }
            if moved || done {
                session.notify(key, &mut state.notices);
                session.ring(key.lane_index);
            }
            Step::Nothing
        }
    }
}

fn end_push(session: &Session, key: SlotKey, end: BodyEnd) {
    let word = session.response_word(key, offset_of!(ResponseWords, body_end));
    store_tagged(word, key.generation, end as u32);
}

impl Collect {
    fn take(&mut self, session: &Session, key: SlotKey) -> Result<(u32, Option<BodyEnd>), NoRoom> {
        // The end first: once it is there, the cursor does not move again.
        let end = session.request_word(key, offset_of!(RequestWords, body_end));
        let end = load_tagged(end, key.generation).map(BodyEnd::from_word);
        let (ring, offset) = (self.ring, self.head.body_offset);
        let Ok(ready) = ring_copy::ready(session, key, ring, self.consumed) else {
            tracing::error!("the hub's cursor of a request body is out of range");
            return Ok((0, Some(BodyEnd::Aborted)));
        };
        // `BODY_BYTES_UNKNOWN` is more than there can be.
        let expected = self.head.body_bytes.try_into().unwrap_or(usize::MAX);
        self.body.reserve(ready as usize, expected)?;
        let (consumed, body) = (&mut self.consumed, self.body.bytes_mut());
        ring_copy::take_ready(session, key, ring, offset, consumed, ready, body);
        Ok((ready, end))
    }
}

impl Push {
    /// Puts as much into the ring as there is room for.
    fn fill(&mut self, session: &Session, key: SlotKey) -> bool {
        let rest = &self.body[self.sent_bytes..];
        let (ring, offset) = (self.ring, self.ring_offset);
        let produced = &mut self.produced;
        let Ok(count) = ring_copy::put(session, key, ring, offset, produced, rest) else {
            tracing::error!("the hub's cursor of a response body is out of range");
            return false;
        };
        self.sent_bytes += count as usize;
        count > 0
    }
}

/// Tells the handler, if it has asked for that, that its response is perhaps unwanted.
fn look_for_cancellation(session: &Session, key: SlotKey, state: &TransferState) {
    if state.generation == key.generation
        && let Some(token) = &state.cancellation
        && session.is_perhaps_unwanted(key)
    {
        token.cancel();
    }
}
