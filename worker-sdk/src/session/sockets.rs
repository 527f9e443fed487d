//! Client sockets that a worker is handed, after its 101: who waits for which, and how many of
//! them live, so that the hub can count them.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::slot_key::SlotKey;

/// The hub did not hand the client's connection over: the client had left, the response was not
/// valid, or the session with the hub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's connection did not come over: it has left, or the hub has")]
pub struct NotUpgraded;

/// A client's socket, and what it has sent already.
#[derive(Debug)]
pub(crate) struct Handed {
    pub socket: OwnedFd,
    pub first_bytes: Vec<u8>,
    /// Goes when the socket does.
    pub held: Held,
}

/// What has the hub count a socket until it is dropped.
pub(crate) type Held = Box<dyn fmt::Debug + Send + Sync>;

/// Where a socket will come.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Coming,
    Awaited(Waker),
    Here(Result<Handed, NotUpgraded>),
    Taken,
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None comes.
    pub fn refused() -> Self {
        Self(Mutex::new(State::Here(Err(NotUpgraded))))
    }

    fn settle(&self, result: Result<Handed, NotUpgraded>) {
        let before = std::mem::replace(&mut *self.lock(), State::Here(result));
        if let State::Awaited(waker) = before {
            waker.wake();
        }
    }

    /// Ready once.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Handed, NotUpgraded>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Coming | State::Awaited(_) => {
                *state = State::Awaited(cx.waker().clone());
                Poll::Pending
            }
            State::Here(result) => Poll::Ready(result),
            State::Taken => Poll::Ready(Err(NotUpgraded)),
        }
    }
}

/// The sockets of one session.
#[derive(Debug)]
pub(crate) struct SessionSockets {
    /// None once the session is over.
    expected: Mutex<Option<HashMap<SlotKey, Arc<Expected>>>>,
    /// Sockets with a lower number were told to the hub when the session began.
    told_number: AtomicU64,
    /// Ends that the hub has yet to be told of: of sockets that it handed over, and of others.
    pub untold: [AtomicU32; 2],
    /// Somebody tries to tell it.
    pub is_retrying: AtomicBool,
}

impl Default for SessionSockets {
    fn default() -> Self {
        Self {
            expected: Mutex::new(Some(HashMap::new())),
            told_number: AtomicU64::new(0),
            untold: [AtomicU32::new(0), AtomicU32::new(0)],
            is_retrying: AtomicBool::new(false),
        }
    }
}

impl SessionSockets {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<SlotKey, Arc<Expected>>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A 101 is about to be given: its client's socket is expected.
    pub fn expect(&self, key: SlotKey) -> Arc<Expected> {
        let Some(expecting) = &mut *self.lock() else {
            return Arc::new(Expected::refused());
        };
        let expected = Arc::new(Expected::default());
        expecting.insert(key, Arc::clone(&expected));
        expected
    }

    /// It was not given after all.
    pub fn forget(&self, key: SlotKey) {
        self.settle(key, || Err(NotUpgraded));
    }

    /// The hub has said what becomes of a connection.
    pub fn settle(&self, key: SlotKey, result: impl FnOnce() -> Result<Handed, NotUpgraded>) {
        let expected = self
            .lock()
            .as_mut()
            .and_then(|expecting| expecting.remove(&key));
        // The hub says so of some that were not upgraded as well.
        if let Some(expected) = expected {
            expected.settle(result());
        }
    }

    /// Whether the hub was told of a socket when the session began.
    pub fn has_been_told_of(&self, number: u64) -> bool {
        number < self.told_number.load(Ordering::Relaxed)
    }

    /// The session is over: no socket comes any more.
    pub fn end(&self) {
        let expecting = self.lock().take();
        for (_, expected) in expecting.unwrap_or_default() {
            expected.settle(Err(NotUpgraded));
        }
    }
}

/// The sockets of a worker, over all its sessions.
#[derive(Debug, Default)]
pub(crate) struct WorkerSockets(Mutex<Living>);

#[derive(Debug, Default)]
struct Living {
    next_number: u64,
    count: u32,
}

impl WorkerSockets {
    fn lock(&self) -> MutexGuard<'_, Living> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many live.
    pub fn count(&self) -> u32 {
        self.lock().count
    }

    /// One more lives. Returns its number.
    pub fn enter(&self) -> u64 {
        let mut living = self.lock();
        living.count += 1;
        living.next_number += 1;
        living.next_number - 1
    }

    /// One has ended. What `look` finds holds at that moment.
    pub fn leave<T>(&self, look: impl FnOnce() -> T) -> T {
        let mut living = self.lock();
        living.count -= 1;
        look()
    }

    /// The hub of a new session is told by `tell` how many live, if any do. Of one that ends now it
    /// is told either this, or its end.
    pub fn begin_session(&self, session: &SessionSockets, tell: impl FnOnce(u32)) {
        let living = self.lock();
        session
            .told_number
            .store(living.next_number, Ordering::Relaxed);
        if living.count > 0 {
            tell(living.count);
        }
    }
}
