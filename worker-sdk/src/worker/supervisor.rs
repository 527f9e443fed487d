//! Keeps a worker attached to its hub: one thread that connects, hears what becomes of
//! the sessions, and connects again. Whatever blocks (registering, attaching, a
//! session's connection) has a thread of its own and sends a message.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver as Inbox, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use slotway_shm_proto::api::RegisterRequest;
use slotway_shm_proto::doorbell::nudge_futex;
use slotway_shm_proto::message::{Goodbye, Leaving, WORKER_ID_BYTES};
use slotway_shm_proto::packet;

use super::lifetime::{Duty, Lifetime};
use super::message::Message;
use super::report::Report;
use crate::error::RunError;
use crate::hub::attach::{self, Attachment, News};
use crate::hub::register::{self, Reservation};
use crate::serve::receiver::Receiver;
use crate::serve::serving::Serving;
use crate::session::live::LiveSessions;
use crate::session::{Session, held_socket};

/// The thread that keeps a worker attached.
pub(crate) struct Supervisor<S> {
    serving: Serving<S>,
    inbox: Inbox<Message>,
    sender: Sender<Message>,
    connections: Vec<Connection>,
    /// Where the latest session attached.
    attach_path: PathBuf,
    report: Report,
    /// What it is to do next.
    life: Lifetime,
    /// When to connect again.
    again_at: Option<Instant>,
}

impl<S: Send + Sync + 'static> Supervisor<S> {
    pub fn new(serving: Serving<S>) -> (Self, Sender<Message>) {
        let (sender, inbox) = channel();
        let supervisor = Self {
            report: Report::new(&serving.name),
            serving,
            inbox,
            sender: sender.clone(),
            connections: Vec::new(),
            attach_path: PathBuf::new(),
            life: Lifetime::new(),
            again_at: None,
        };
        (supervisor, sender)
    }

    /// Returns when the worker has been told to stop and has, or with an error that
    /// trying again cannot mend.
    pub fn run(mut self) -> Result<(), RunError> {
        self.connect();
        loop {
            let message = match self.again_at {
                None => self.inbox.recv().expect("this has a sender as well"),
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    match self.inbox.recv_timeout(wait) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => {
                            self.again_at = None;
                            self.connect();
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => {
                            unreachable!("this has a sender as well")
                        }
                    }
                }
            };
            let duty = match message {
                Message::Connected(result) => self.connected(result),
                Message::Moved(result) => self.moved(result),
                Message::News(_, News::Moving(worker_id)) => {
                    self.move_to(worker_id);
                    Duty::Nothing
                }
                Message::News(id, News::Ended(goodbye)) => self.session_ended(id, goodbye),
                Message::Stop => self.life.stop(),
                Message::Leave => Duty::LeaveAll,
                Message::Abort => Duty::End(Ok(())),
            };
            let end = self.perform(duty);
            if let Some(end) = end {
                drop(self.serving.sessions.change(std::mem::take));
                return end;
            }
        }
    }

    fn connect(&self) {
        let hub = self.serving.hub.clone();
        let document = RegisterRequest {
            returns: self.report.has_attached(),
            ..(*self.serving.registration).clone()
        };
        let (count, limit) = (self.serving.thread_count, self.serving.connect_timeout);
        let socket = self.serving.attach.clone();
        self.in_background(Message::Connected, move || {
            let document = serde_json::to_vec(&document).expect("strings serialise");
            let attached = attach::register_and_attach(&socket, &document, count, limit)?;
            if let Some(attachment) = attached {
                return Ok(attachment);
            }
            let reservation = register::register(&hub, &document)?;
            attach::attach(&reservation, &socket, count, limit)
        });
    }

    fn move_to(&mut self, worker_id: [u8; WORKER_ID_BYTES]) {
        self.life.moving();
        let reservation = Reservation {
            worker_id,
            attach: self.attach_path.clone(),
        };
        let (count, limit) = (self.serving.thread_count, self.serving.connect_timeout);
        let socket = self.serving.attach.clone();
        self.in_background(Message::Moved, move || {
            attach::attach(&reservation, &socket, count, limit)
        });
    }

    /// An attachment that comes too late is dropped with its message, which ends it.
    fn in_background(
        &self,
        message: fn(Result<Attachment, RunError>) -> Message,
        attach: impl FnOnce() -> Result<Attachment, RunError> + Send + 'static,
    ) {
        let sender = self.sender.clone();
        let thread = std::thread::Builder::new().name("slotway-connect".to_owned());
        let spawned = thread.spawn(move || {
            let _ = sender.send(message(attach()));
        });
        if let Err(error) = spawned {
            let _ = self.sender.send(message(Err(RunError::Threads(error))));
        }
    }

    /// Does what is owed; `Some` is the worker's end.
    fn perform(&mut self, duty: Duty) -> Option<Result<(), RunError>> {
        match duty {
            Duty::Nothing => {}
            Duty::LeaveAll => self.leave_all(),
            Duty::Reconnect { why, after } => {
                self.report.trouble(&why);
                self.again_at = Some(Instant::now() + after);
            }
            Duty::End(end) => return Some(end),
        }
        None
    }

    fn connected(&mut self, result: Result<Attachment, RunError>) -> Duty {
        if self.life.is_ending() {
            return Duty::End(Ok(()));
        }
        let hides_paths = result.as_ref().is_ok_and(|attached| attached.hides_paths);
        let result = result.and_then(|attachment| self.start(attachment));
        match &result {
            Ok(()) => {
                let (hub, route_count) = (self.serving.hub.url_of(""), self.serving.routes.len());
                self.report.attached(&hub, &self.attach_path, route_count);
                if hides_paths {
                    self.report.paths_are_hidden();
                }
            }
            Err(RunError::Ended(Goodbye::Replaced)) => self.report.replaced(),
            Err(_) => {}
        }
        self.life.connected(result)
    }

    fn moved(&mut self, result: Result<Attachment, RunError>) -> Duty {
        let result = result.and_then(|attachment| self.start(attachment));
        match &result {
            Ok(()) => {
                tracing::info!("attached to the new hub; the older session finishes its requests");
            }
            Err(error) => tracing::warn!("cannot attach to the new hub: {error}"),
        }
        self.life.moved(result.is_ok())
    }

    fn session_ended(&mut self, id: u64, goodbye: Option<Goodbye>) -> Duty {
        self.connections
            .retain(|connection| connection.session.id != id);
        let is_it = |session: &mut Arc<Session>| session.id == id;
        let ended = self
            .serving
            .sessions
            .change(|sessions| sessions.extract_if(.., is_it).collect::<Vec<_>>());
        drop(ended);
        if goodbye == Some(Goodbye::Replaced) {
            self.report.replaced();
        }
        self.life.session_ended(goodbye)
    }

    fn leave_all(&self) {
        let told = self.connections.iter().map(Connection::leave);
        // All of them, also if the first is not told.
        if !told.fold(true, |all, is_told| all & is_told) {
            // Sending has waited long already.
            let _ = self.sender.send(Message::Leave);
        }
    }

    /// Starts the threads of a session.
    fn start(&mut self, attachment: Attachment) -> Result<(), RunError> {
        let Attachment {
            geometry,
            regions,
            eventfds,
            socket,
            path,
            ..
        } = attachment;
        let serving = &self.serving;
        let session = Arc::new(Session::new(
            geometry,
            regions,
            eventfds,
            socket,
            serving.collected_bytes_max,
            Arc::clone(&serving.meter),
        ));
        let connection = Connection {
            session: Arc::clone(&session),
            is_leaving: Cell::new(false),
        };
        let mut threads = Vec::new();
        for thread_index in 0..serving.thread_count {
            let receiver = Receiver {
                session: Arc::clone(&session),
                routes: Arc::clone(&serving.routes),
                state: Arc::clone(&serving.state),
                thread_index,
                thread_count: serving.thread_count,
                follows_hub: serving.follows_hub,
                spin: serving.spin,
                spawner: serving.spawner.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("slotway-{thread_index}"))
                .spawn(move || receiver.run());
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    end(&session, threads);
                    return Err(RunError::Threads(error));
                }
            }
        }
        let (shared, sender) = (Arc::clone(&session), self.sender.clone());
        let sessions = self.serving.sessions.clone();
        let watcher = std::thread::Builder::new()
            .name("slotway-session".to_owned())
            .spawn(move || watch(&shared, &sessions, threads, &sender));
        if let Err(error) = watcher {
            // Threads that cannot be watched are ended by the flag alone.
            session.ended.store(true, Ordering::Release);
            return Err(RunError::Threads(error));
        }
        self.serving.meter.attached();
        let entered = Arc::clone(&session);
        self.serving
            .sessions
            .change(|sessions| sessions.push(entered));
        held_socket::tell_held(&session);
        self.connections.push(connection);
        self.attach_path = path;
        Ok(())
    }
}

/// Ends the session when it goes, also when the worker is dropped half-way.
struct Connection {
    session: Arc<Session>,
    /// The hub has been told.
    is_leaving: Cell<bool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.disconnect();
    }
}

impl Connection {
    /// Tells the hub, once, that this worker wants to finish what it has and go. False:
    /// the hub does not read just now.
    fn leave(&self) -> bool {
        if self.is_leaving.get() {
            return true;
        }
        let sent = packet::send(&self.session.connection, &Leaving.to_packet(), &[]);
        let is_full = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            )
        };
        // Any other error is that the session has ended, which is told in its own way.
        let is_told = !sent.is_err_and(|error| is_full(&error));
        self.is_leaving.set(is_told);
        is_told
    }
}

fn watch(
    session: &Arc<Session>,
    sessions: &LiveSessions,
    threads: Vec<JoinHandle<()>>,
    sender: &Sender<Message>,
) {
    loop {
        let heard = attach::wait_for_news(&session.connection, |message, socket| {
            held_socket::handed_over(session, sessions, message, socket);
        });
        if let News::Ended(_) = heard {
            session.ended.store(true, Ordering::Release);
        }
        // Nobody listens when the worker was dropped.
        let _ = sender.send(Message::News(session.id, heard));
        if let News::Ended(_) = heard {
            return end(session, threads);
        }
    }
}

/// Ends the receiving threads: those that sleep are woken, those in a handler
/// end after it.
fn end(session: &Session, threads: Vec<JoinHandle<()>>) {
    session.ended.store(true, Ordering::Release);
    session.wake_all_handlers();
    session.sockets.end();
    for (thread_index, thread) in threads.into_iter().enumerate() {
        let line = session.geometry.thread_line(thread_index as u32);
        while !thread.is_finished() {
            // Again and again, for a thread may be just about to sleep.
            nudge_futex(session.regions.requests.u32_at(line));
            std::thread::sleep(Duration::from_millis(1));
        }
        // A handler's panic is caught; another has been printed by its thread.
        let _ = thread.join();
    }
}
