//! Client sockets that a worker is handed, after its 101: who waits for which, and how many of
//! them live, so that the hub can count them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slotway_shm_proto::packet;
use slotway_shm_proto::upgrade::{HandOver, Sockets};

use super::live::LiveSessions;
use super::meter::Meter;
use super::{Session, SlotKey};

/// How long to wait before saying again what the hub did not read.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

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
    pub held: HeldSocket,
}

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
#[derive(Debug, Default)]
pub(crate) struct SessionSockets {
    expected: Mutex<HashMap<SlotKey, Arc<Expected>>>,
    /// Sockets with a lower number were told to the hub when the session began.
    told_number: AtomicU64,
    /// Ends that the hub has yet to be told of.
    untold: AtomicU32,
    is_retrying: AtomicBool,
}

impl SessionSockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<SlotKey, Arc<Expected>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A 101 is about to be given: its client's socket is expected.
    pub fn expect(&self, key: SlotKey) -> Arc<Expected> {
        let expected = Arc::new(Expected::default());
        self.lock().insert(key, Arc::clone(&expected));
        expected
    }

    /// It was not given after all.
    pub fn forget(&self, key: SlotKey) {
        self.settle(key, || Err(NotUpgraded));
    }

    fn settle(&self, key: SlotKey, result: impl FnOnce() -> Result<Handed, NotUpgraded>) {
        let expected = self.lock().remove(&key);
        // The hub names none that is not expected.
        if let Some(expected) = expected {
            expected.settle(result());
        }
    }

    /// The session is over: no socket comes any more.
    pub fn end(&self) {
        for (_, expected) in std::mem::take(&mut *self.lock()) {
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

    /// Tells the hub of a new session how many of earlier ones live on.
    pub fn tell_held(&self, session: &Session) {
        let living = self.lock();
        // Under the lock: of one that ends now, the hub is told either this or its end.
        session
            .sockets
            .told_number
            .store(living.next_number, Ordering::Relaxed);
        if living.count > 0 {
            let message = Sockets::Held(living.count).to_packet();
            // Fails only if the session is over.
            let _ = packet::send(&session.connection, &message, &[]);
        }
    }
}

/// A client's socket lives for as long as this does, as far as the hub knows.
pub(crate) struct HeldSocket {
    number: u64,
    session: Weak<Session>,
    sessions: LiveSessions,
    worker: Arc<Meter>,
}

impl HeldSocket {
    fn new(session: &Arc<Session>, sessions: &LiveSessions) -> Self {
        let worker = Arc::clone(&session.meter);
        let mut living = worker.sockets.lock();
        let number = living.next_number;
        living.next_number += 1;
        living.count += 1;
        drop(living);
        Self {
            number,
            session: Arc::downgrade(session),
            sessions: sessions.clone(),
            worker,
        }
    }

    /// Whether a hub counts it: the one that handed it over, and one that was told of it when the
    /// session began.
    fn is_counted_by(&self, session: &Arc<Session>) -> bool {
        self.number < session.sockets.told_number.load(Ordering::Relaxed)
            || std::ptr::eq(Arc::as_ptr(session), self.session.as_ptr())
    }
}

impl Drop for HeldSocket {
    fn drop(&mut self) {
        let sessions = self.sessions.all();
        let mut living = self.worker.sockets.lock();
        living.count -= 1;
        let counting = sessions
            .iter()
            .filter(|session| self.is_counted_by(session));
        let counting: Vec<_> = counting.collect();
        drop(living);
        for session in counting {
            session.sockets.untold.fetch_add(1, Ordering::AcqRel);
            tell_ends(session);
        }
    }
}

impl std::fmt::Debug for HeldSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldSocket")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Tells the hub of the sockets that have ended; what it does not read now, later.
fn tell_ends(session: &Arc<Session>) {
    if say_ends(session) || session.sockets.is_retrying.swap(true, Ordering::AcqRel) {
        return;
    }
    let shared = Arc::downgrade(session);
    let retry = move || {
        while let Some(session) = shared.upgrade() {
            session.sockets.is_retrying.store(false, Ordering::Release);
            if session.has_ended() || say_ends(&session) {
                return;
            }
            session.sockets.is_retrying.store(true, Ordering::Release);
            drop(session);
            std::thread::sleep(RETRY_PAUSE);
        }
    };
    let thread = std::thread::Builder::new().name("slotway-sockets".to_owned());
    if thread.spawn(retry).is_err() {
        // The next end tells of these as well.
        session.sockets.is_retrying.store(false, Ordering::Release);
    }
}

/// False: the hub does not read just now.
fn say_ends(session: &Session) -> bool {
    let count = session.sockets.untold.swap(0, Ordering::AcqRel);
    if count == 0 {
        return true;
    }
    let message = Sockets::Released(count).to_packet();
    let sent = packet::send_now(&session.connection, &message, &[]);
    let is_full = sent.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    if is_full {
        session.sockets.untold.fetch_add(count, Ordering::AcqRel);
    }
    !is_full
}

/// The hub has said what becomes of a connection.
pub(crate) fn handed_over(
    session: &Arc<Session>,
    sessions: &LiveSessions,
    message: &HandOver<'_>,
    socket: Option<OwnedFd>,
) {
    let key = SlotKey {
        lane_index: message.slot.lane_index,
        slot_index: message.slot.slot_index,
        generation: message.slot.generation,
    };
    // From here on it is counted, also if nobody waits for it any more.
    let handed = socket.map(|socket| Handed {
        socket,
        first_bytes: message.first_bytes.to_vec(),
        held: HeldSocket::new(session, sessions),
    });
    session.sockets.settle(key, || handed.ok_or(NotUpgraded));
}
