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

    /// Whether a hub counts it: the one that handed it over, and one that was told of it when the
    /// session began.
    fn is_counted_by(&self, session: &Arc<Session>) -> bool {
        session.sockets.has_been_told_of(self.number)
            || std::ptr::eq(Arc::as_ptr(session), self.session.as_ptr())
    }
}

impl Drop for HeldSocket {
    fn drop(&mut self) {
        let mut counting = self.sessions.all();
        self.worker
            .sockets
            .leave(|| counting.retain(|session| self.is_counted_by(session)));
        for session in &counting {
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
    // From here on it is counted, also if nobody waits for it any more.
    let handed = socket.map(|socket| Handed {
        socket,
        first_bytes: message.first_bytes.to_vec(),
        held: Box::new(HeldSocket::new(session, sessions)) as Held,
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
            // Fails only if the session is over.
            let message = Sockets::Held(count).to_packet();
            let _ = packet::send(&session.connection, &message, &[]);
        });
}
