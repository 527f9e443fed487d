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
    /// It is to end.
    is_cancelled: bool,
}

/// The operations of a ring, by the keys that the kernel returns.
#[derive(Default)]
pub struct Operations {
    all: Slab<State>,
    /// Receives that were given a buffer since the last [`Operations::reclaim`].
    given: Vec<usize>,
}

impl Operations {
    /// A place for a receive that is about to be submitted.
    pub fn begin_receive(&mut self) -> usize {
        self.all.insert(State::Receive(Receive::default()))
    }

    /// A place for another operation that is about to be submitted.
    pub fn begin_single(&mut self) -> usize {
        self.all.insert(State::Single {
            waker: None,
            result: None,
        })
    }

    /// Takes note of a completion. Says whether its operation should be cancelled: it takes
    /// more than may wait.
    pub fn complete(&mut self, key: u64, completion: Completion, buffers: &mut Buffers) -> bool {
        let Some(key) = usize::try_from(key)
            .ok()
            .filter(|key| self.all.contains(*key))
        else {
            return false;
        };
        match &mut self.all[key] {
            State::Single { waker, result } => {
                *result = Some(completion.result);
                waker.take().into_iter().for_each(Waker::wake);
                false
            }
            State::Receive(receive) => {
                let must_end = receive.complete(completion, buffers);
                if receive.first.is_some() {
                    self.given.push(key);
                }
                must_end
            }
            State::Orphan(_) => {
                if let Some(index) = cqueue::buffer_select(completion.flags) {
                    buffers.give(index);
                }
                let goes_on = cqueue::more(completion.flags);
                if !goes_on {
                    self.all.remove(key);
                }
                // The cancellation came when the kernel was about to receive, and found nothing.
                goes_on
            }
        }
    }

    /// Every task has had its turn. A buffer whose reader has not taken it goes back, since who
    /// waits for something else meanwhile must not keep it from the others.
    pub fn reclaim(&mut self, buffers: &mut Buffers) {
        while let Some(key) = self.given.pop() {
            if let Some(State::Receive(receive)) = self.all.get_mut(key)
                && let Some((index, count)) = receive.first.take()
            {
                let bytes = buffers.bytes(index, count);
                receive.ahead.splice(..0, bytes.iter().copied());
                buffers.give(index);
            }
        }
    }

    /// An operation that could not be submitted.
    pub fn forget(&mut self, key: usize) {
        self.all.remove(key);
    }

    /// A receive is to end, whenever the kernel gets to it.
    pub fn must_end(&mut self, key: usize) {
        self.receive(key).is_cancelled = true;
    }

    /// Takes the result of an operation that is no receive; its key is no more.
    pub fn poll_single(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<i32> {
        let State::Single { waker, result } = &mut self.all[key] else {
            unreachable!("keys are kept by who has begun the operation");
        };
        if let Some(result) = *result {
            self.all.remove(key);
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
            self.all.remove(key);
            return Poll::Ready(Received::Ended(result));
        }
        keep(&mut receive.waker, cx);
        Poll::Pending
    }

    /// Waits until a receive has yielded something, or has ended. Says whether it is over and
    /// has nothing to say: it was cancelled, and its key is no more.
    pub fn poll_arrival(&mut self, key: usize, cx: &mut Context<'_>) -> Poll<bool> {
        let receive = self.receive(key);
        if receive.has_bytes() {
            return Poll::Ready(false);
        }
        match receive.end {
            Some(result) if [-libc::ECANCELED, -libc::EINTR].contains(&result) => {
                self.all.remove(key);
                Poll::Ready(true)
            }
            Some(_) => Poll::Ready(false),
            None => {
                keep(&mut receive.waker, cx);
                Poll::Pending
            }
        }
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
        match &mut self.all[key] {
            State::Receive(receive) => receive,
            _ => unreachable!("keys are kept by who has begun the operation"),
        }
    }

    /// Nobody will take what an operation yields. `socket` is kept until it ends. Says whether
    /// it is to be cancelled.
    pub fn abandon(&mut self, key: usize, socket: Rc<OwnedFd>, buffers: &mut Buffers) -> bool {
        let is_over = match &self.all[key] {
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
            self.all.remove(key);
        } else {
            self.all[key] = State::Orphan(socket);
        }
        !is_over
    }

    /// Buffers that readers have been given and have not taken.
    #[cfg(test)]
    pub fn held_buffers(&self) -> usize {
        let holds =
            |state: &State| matches!(state, State::Receive(receive) if receive.first.is_some());
        self.all.iter().filter(|(_, state)| holds(state)).count()
    }

    /// Whether the kernel has none of them any more.
    pub fn are_over(&self) -> bool {
        self.all.iter().all(|(_, state)| match state {
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
        // A cancellation that came when the kernel was about to receive has found nothing: what
        // then arrives asks for it again.
        self.is_cancelled |= self.ahead.len() > AHEAD_BYTES_MAX;
        self.is_cancelled && self.end.is_none()
    }
}

fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
