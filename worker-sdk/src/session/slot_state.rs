//! What the worker keeps of a slot in its own memory: a body under way, and who has yet
//! to let go of the slot.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::task::Waker;

use slotway_shm_proto::layout::RequestHead;
use slotway_shm_proto::ring::NoticeGate;
use slotway_shm_proto::{BodyEnd, ByteRing};

use super::body_pool::CollectedBody;
use super::slot_key::SlotKey;

#[cfg(feature = "tokio")]
pub use tokio_util::sync::CancellationToken;

/// Nobody can ask for a token.
#[cfg(not(feature = "tokio"))]
#[derive(Debug)]
pub(crate) enum CancellationToken {}

#[cfg(not(feature = "tokio"))]
impl CancellationToken {
    pub fn cancel(&self) {
        match *self {}
    }
}

/// What the worker keeps of a slot in its own memory.
#[derive(Default)]
pub(crate) struct SlotState {
    /// A body that streams, in either direction.
    pub transfer: Mutex<TransferState>,
    /// Who has yet to let go before the response may be published: an async
    /// handler's request, and its response.
    pub holds: AtomicU32,
}

/// See [`SlotState::transfer`].
#[derive(Default)]
pub(crate) struct TransferState {
    pub transfer: Option<Transfer>,
    /// A request's body that its handler reads, perhaps while it writes the response's.
    pub reading: Option<StreamIn>,
    pub notices: NoticeGate,
    /// Told when the response is not wanted any more, if the handler asked for it.
    pub cancellation: Option<CancellationToken>,
    /// Which use of the slot the notices and the token are about.
    pub generation: u32,
}

/// A body under way.
pub(crate) enum Transfer {
    /// From the hub.
    Collect(Collect),
    /// To the hub.
    Push(Push),
    /// To the hub, written by the handler.
    Out(StreamOut),
}

pub(crate) struct Collect {
    pub generation: u32,
    pub head: RequestHead,
    pub ring: ByteRing,
    pub consumed: u32,
    pub body: CollectedBody,
}

pub(crate) struct Push {
    pub generation: u32,
    /// The hub knows of the response: until then nothing may be said of it, not
    /// even that it was given up, since its slot could be used again.
    pub published: bool,
    pub ring: ByteRing,
    pub ring_offset: u32,
    pub produced: u32,
    pub body: Vec<u8>,
    pub sent_bytes: usize,
}

/// A request's body that its handler reads.
pub(crate) struct StreamIn {
    pub generation: u32,
    pub ring: ByteRing,
    pub ring_offset: u32,
    pub consumed: u32,
    /// The client waits to be told that it is wanted.
    pub expects_continue: bool,
    /// Its end has been reached.
    pub is_over: bool,
    /// The fields behind it, in wire form, once its end has been reached.
    pub trailers: Vec<u8>,
    pub waker: Option<Waker>,
}

/// A response's body that its handler writes.
pub(crate) struct StreamOut {
    pub generation: u32,
    /// The hub knows of the response: until then nothing may be said of it.
    pub published: bool,
    pub ring: ByteRing,
    pub ring_offset: u32,
    pub produced: u32,
    /// The writer has ended before the hub knew of the response.
    pub ended: Option<BodyEnd>,
    pub waker: Option<Waker>,
}

impl TransferState {
    /// Begins a transfer: the first of a slot's use forgets the notices of the
    /// use before.
    pub(crate) fn begin(&mut self, key: SlotKey) {
        if self.generation != key.generation {
            self.generation = key.generation;
            self.notices.reset();
            self.cancellation = None;
        }
    }
}

impl TransferState {
    /// Whoever still reads the request's body learns that it has ended.
    pub(crate) fn end_reading(&mut self, key: SlotKey) {
        let is_it = |stream: &mut StreamIn| stream.generation == key.generation;
        if let Some(waker) = self.reading.take_if(is_it).and_then(|stream| stream.waker) {
            waker.wake();
        }
    }

    /// Wakes the handlers that wait for these bodies, to look again.
    pub(crate) fn wake(&mut self) {
        let writer = match &mut self.transfer {
            Some(Transfer::Out(stream)) => stream.waker.take(),
            _ => None,
        };
        let reader = self.reading.as_mut().and_then(|stream| stream.waker.take());
        for waker in [writer, reader].into_iter().flatten() {
            waker.wake();
        }
    }
}
