//! Operations that the kernel has been asked for, and what became of them.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::cqueue;
use slab::Slab;

use super::buffers::Buffers;

/// Completions of what nobody asks after (a cancellation) have this key.
pub const NOBODY: u64 = u64::MAX;
/// What may arrive on a socket before it is read; the rest waits in the socket. More comes at
/// once only if it had arrived before the limit was noticed.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// What the kernel says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// 0 and more: what the call would return; below: a negative errno.
    pub result: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}

/// What a receive has yielded.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes in a buffer of the ring, which is to be given back.
    Buffer {
        /// Its index.
        index: u16,
        /// Bytes in it.
        count: usize,
    },
    /// What arrived while nobody read.
    Ahead(Vec<u8>),
    /// The receive has ended, with this result; its key is no more.
    Ended(i32),
}

enum State {
    /// One that ends with one completion.
    Single {
        waker: Option<Waker>,
        result: Option<i32>,
    },
    Receive(Receive),
    /// Its socket was dropped, and is closed when the operation ends: until then its number
    /// must not be another's.
    Orphan(#[expect(dead_code, reason = "kept open")] Rc<OwnedFd>),
}

/// A receive. What has arrived is read in this order: `first`, `ahead`, `end`.
#[derive(Default)]
struct Receive {
    /// Who reads. While nobody does no buffer of the ring is kept, since others need them.
    waker: Option<Waker>,
    first: Option<(u16, usize)>,
    ahead: Vec<u8>,
    /// The result with which it ended.
    end: Option<i32>,
    is_cancelled: bool,
}

/// The operations of a ring, by the keys that the kernel returns.
#[derive(Default)]
pub struct Operations(Slab<State>);

impl Operations {
    /// A place for a receive that is about to be submitted.
    pub fn begin_receive(&mut self) -> usize {
        self.0.insert(State::Receive(Receive::default()))
    }

    /// A place for another operation that is about to be submitted.
    pub fn begin_single(&mut self) -> usize {
        self.0.insert(State::Single {
            waker: None,
            result: None,
        })
    }

    /// Takes note of a completion. Says whether its operation should be cancelled: it takes
    /// more than may wait.
    pub fn complete(&mut self, key: u64, completion: Completion, buffers: &mut Buffers) -> bool {
        let Some(key) = usize::try_from(key)
            .ok()
            .filter(|key| self.0.contains(*key))
        else {
            return false;
        };
        match &mut self.0[key] {
            State::Single { waker, result } => {
                *result = Some(completion.result);
                waker.take().into_iter().for_each(Waker::wake);
                false
            }
            State::Receive(receive) => receive.complete(completion, buffers),
            State::Orphan(_) => {
                if let Some(index) = cqueue::buffer_select(completion.flags) {
                    buffers.give(index);
                }
                if !cqueue::more(completion.flags) {
                    self.0.remove(key);
                }
                false
            }
        }
    }

    /// Takes the result of an operation that is no receive; its key is no more.
    pub fn poll_single(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<i32> {
        let State::Single { waker, result } = &mut self.0[key] else {
            unreachable!("keys are kept by who has begun the operation");
        };
        if let Some(result) = *result {
            self.0.remove(key);
            return Poll::Ready(result);
        }
        keep(waker, cx);
        Poll::Pending
    }

    /// Takes what a receive has yielded.
    pub fn poll_receive(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<Received> {
        let receive = self.receive(key);
        if let Some((index, count)) = receive.first.take() {
            return Poll::Ready(Received::Buffer { index, count });
        }
        if !receive.ahead.is_empty() {
            return Poll::Ready(Received::Ahead(std::mem::take(&mut receive.ahead)));
        }
        if let Some(result) = receive.end {
            self.0.remove(key);
            return Poll::Ready(Received::Ended(result));
        }
        keep(&mut receive.waker, cx);
        Poll::Pending
    }

    /// Waits until a receive has yielded something, or has ended.
    pub fn poll_arrival(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<()> {
        let receive = self.receive(key);
        if receive.has_bytes() || receive.end.is_some() {
            return Poll::Ready(());
        }
        keep(&mut receive.waker, cx);
        Poll::Pending
    }

    /// Waits until the kernel will take no more from the socket.
    pub fn poll_end(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<()> {
        let receive = self.receive(key);
        if receive.end.is_some() {
            return Poll::Ready(());
        }
        keep(&mut receive.waker, cx);
        Poll::Pending
    }

    /// Whether a receive has bytes that were not taken.
    pub fn has_bytes(&mut self, key: usize) -> bool {
        self.receive(key).has_bytes()
    }

    fn receive(&mut self, key: usize) -> &mut Receive {
        match &mut self.0[key] {
            State::Receive(receive) => receive,
            _ => unreachable!("keys are kept by who has begun the operation"),
        }
    }

    /// Nobody will take what an operation yields. `socket` is kept until it ends. Says whether
    /// it is to be cancelled.
    pub fn abandon(&mut self, key: usize, socket: Rc<OwnedFd>, buffers: &mut Buffers) -> bool {
        let is_over = match &self.0[key] {
            State::Single { result, .. } => result.is_some(),
            State::Receive(receive) => {
                if let Some((index, _)) = receive.first {
                    buffers.give(index);
                }
                receive.end.is_some()
            }
            State::Orphan(_) => unreachable!("it is abandoned once"),
        };
        if is_over {
            self.0.remove(key);
        } else {
            self.0[key] = State::Orphan(socket);
        }
        !is_over
    }

    /// Whether the kernel has none of them any more.
    pub fn are_over(&self) -> bool {
        self.0.iter().all(|(_, state)| match state {
            State::Single { result, .. } => result.is_some(),
            State::Receive(receive) => receive.end.is_some(),
            State::Orphan(_) => false,
        })
    }
}

impl Receive {
    fn has_bytes(&self) -> bool {
        self.first.is_some() || !self.ahead.is_empty()
    }

    fn complete(&mut self, completion: Completion, buffers: &mut Buffers) -> bool {
        let reader = self.waker.take();
        if let Some(index) = cqueue::buffer_select(completion.flags) {
            let count = usize::try_from(completion.result).unwrap_or(0);
            if reader.is_some() && !self.has_bytes() && count > 0 {
                self.first = Some((index, count));
            } else {
                self.ahead.extend_from_slice(buffers.bytes(index, count));
                buffers.give(index);
            }
        }
        if !cqueue::more(completion.flags) {
            // Bytes may be the last that a receive yields, though not of the stream.
            let is_news = completion.result <= 0;
            self.end = Some(if is_news {
                completion.result
            } else {
                -libc::ECANCELED
            });
        }
        reader.into_iter().for_each(Waker::wake);
        let is_too_much = self.ahead.len() > AHEAD_BYTES_MAX && self.end.is_none();
        is_too_much && !std::mem::replace(&mut self.is_cancelled, true)
    }
}

fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
