//! A client's socket that this process holds: the hub that handed it over counts it, and those of
//! later sessions, until it is dropped.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use slotway_shm_proto::packet;
use slotway_shm_proto::upgrade::{HandOver, Sockets};

use super::Session;
use super::live::LiveSessions;
use super::meter::Meter;
use super::sockets::{Handed, Held, NotUpgraded};

/// How long to wait before saying again what the hub did not read.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A client's socket lives for as long as this does, as far as the hub knows.
struct HeldSocket {
    number: u64,
    session: Weak<Session>,
    sessions: LiveSessions,
    worker: Arc<Meter>,
}

impl HeldSocket {
    fn new(session: &Arc<Session>, sessions: &LiveSessions) -> Self {
        let worker = Arc::clone(&session.meter);
        Self {
            number: worker.sockets.enter(),
            session: Arc::downgrade(session),
            sessions: sessions.clone(),
            worker,
        }
    }

    /// By which number a hub counts it, if it does: the one that handed it over, and one that was told
    /// of it when the session began.
    fn counted_by(&self, session: &Arc<Session>) -> Option<usize> {
        if std::ptr::eq(Arc::as_ptr(session), self.session.as_ptr()) {
            return Some(HANDED);
        }
        let is_told = session.sockets.has_been_told_of(self.number);
        is_told.then_some(BROUGHT)
    }
}

/// Places among the ends that a hub is told of.
const HANDED: usize = 0;
const BROUGHT: usize = 1;

impl Drop for HeldSocket {
    fn drop(&mut self) {
        // Under the lock by which a new session is told of those that live.
        let counting = self.worker.sockets.leave(|| {
            let sessions = self.sessions.all().into_iter();
            let counting =
                sessions.filter_map(|session| Some((self.counted_by(&session)?, session)));
            counting.collect::<Vec<_>>()
        });
        for (place, session) in &counting {
            session.sockets.untold[*place].fetch_add(1, Ordering::AcqRel);
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
    let untold = &session.sockets.untold;
    let [handed, brought] = [HANDED, BROUGHT].map(|place| untold[place].swap(0, Ordering::AcqRel));
    if handed + brought == 0 {
        return true;
    }
    let message = Sockets::Released { handed, brought }.to_packet();
    let sent = packet::send_now(&session.connection, &message, &[]);
    let is_full = sent.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    if is_full {
        untold[HANDED].fetch_add(handed, Ordering::AcqRel);
        untold[BROUGHT].fetch_add(brought, Ordering::AcqRel);
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
    // The hub counts it from here on, also if it was lost on the way, since this process has no
    // descriptor left for it, or if nobody waits for it any more.
    let held = message
        .has_socket
        .then(|| Box::new(HeldSocket::new(session, sessions)) as Held);
    if message.has_socket && socket.is_none() {
        tracing::error!(
            "a client's upgraded connection was lost: this process has as many files open as it may"
        );
    }
    let handed = held.zip(socket).map(|(held, socket)| Handed {
        socket,
        first_bytes: message.first_bytes.to_vec(),
        held,
    });
    session
        .sockets
        .settle(message.slot, || handed.ok_or(NotUpgraded));
}

/// Tells the hub of a new session how many sockets of earlier ones live on.
pub(crate) fn tell_held(session: &Session) {
    session
        .meter
        .sockets
        .begin_session(&session.sockets, |count| {
            // On a new connection there is room for it: it fails only if the session is over.
            let message = Sockets::Held(count).to_packet();
            let _ = packet::send_now(&session.connection, &message, &[]);
        });
}
