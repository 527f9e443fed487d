//! Registrations that wait for their worker, and the workers that have come.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::json;
use slotway_shm_proto::Method;
use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::doorbell::{Ringer, new_eventfd};
use slotway_shm_proto::limits::THREAD_COUNT_MAX;
use slotway_shm_proto::message::{FromHub, Goodbye, Hello, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::HubRegions;
use slotway_shm_proto::registration::NotRegistered;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::ControlMessage;
use super::attach::{self, Greeting, Opening};
use super::events;
use super::register::{self, Registration};
use crate::handover::ExpectedWorker;
use crate::limits::{RESERVATION_COUNT_MAX, RESERVATION_TIME};
use crate::local_answer::LocalAnswer;
use crate::route::{RouteTable, check_conflicts};
use crate::routing::pattern::Pattern;
use crate::session::{Life, RouteSpec, Session, SessionState};
use crate::shared::Shared;
use crate::shared::id::new_id;

/// Why a worker gets no session.
enum NotAttached {
    Refused(Refusal),
    /// What it registers is at fault.
    Document(LocalAnswer),
}

impl From<Refusal> for NotAttached {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

struct Reservation {
    registration: Registration,
    made: Instant,
}

struct Attached {
    session: Arc<Session>,
    /// The connection that is the session.
    socket: OwnedFd,
    watcher: JoinHandle<()>,
    /// How a session that drains ends.
    drain: Option<Drain>,
}

/// The end of a session that finishes what it has.
#[derive(Clone, Copy)]
struct Drain {
    /// When it ends whatever it still has.
    deadline: Instant,
    /// What the worker is told then.
    goodbye: Goodbye,
}

impl Attached {
    fn is_live(&self) -> bool {
        self.session.state() == SessionState::Live
    }

    fn drain(&mut self, limit: Duration, goodbye: Goodbye) {
        self.session.set_state(SessionState::Draining);
        let deadline = Instant::now() + limit;
        self.drain = Some(Drain { deadline, goodbye });
    }
}

/// See the module.
pub struct Sessions {
    shared: Arc<Shared>,
    attach_path: String,
    reservations: HashMap<String, Reservation>,
    /// Expired ids are remembered a while, for a better refusal.
    expired: Vec<String>,
    attached: Vec<Attached>,
    /// Ended, but some reactor still holds a lane: their indexes are taken.
    closing: Vec<Arc<Session>>,
    next_id: u64,
    /// Another hub is about to take over.
    is_handing_over: bool,
    /// Ids of workers that another hub has handed over, and who waits for them.
    expected: HashSet<String>,
    all_here: Option<oneshot::Sender<()>>,
}

impl Sessions {
    /// None yet.
    pub fn new(shared: Arc<Shared>, attach_path: String) -> Self {
        Self {
            shared,
            attach_path,
            reservations: HashMap::new(),
            expired: Vec::new(),
            attached: Vec::new(),
            closing: Vec::new(),
            next_id: 1,
            is_handing_over: false,
            expected: HashSet::new(),
            all_here: None,
        }
    }

    /// `GET /health`.
    pub fn health(&self) -> LocalAnswer {
        let live = |attached: &&Attached| attached.session.state() == SessionState::Live;
        let workers: Vec<_> = self
            .attached
            .iter()
            .filter(live)
            .map(|attached| {
                json!({
                    "name": attached.session.name,
                    "worker_id": attached.session.worker_id,
                    "route_count": attached.session.routes.len(),
                    "transport": "shm",
                })
            })
            .collect();
        let is_ready = !self.is_stopping();
        let status = if is_ready { 200 } else { 503 };
        LocalAnswer::json(status, &json!({ "ok": is_ready, "workers": workers }))
    }

    /// The sessions of all workers that are here.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.attached.iter().map(|attached| &attached.session);
        sessions.cloned().collect()
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// `POST /internal/register`: reserves, so that a worker can attach.
    pub fn register(&mut self, body: &[u8]) -> LocalAnswer {
        let registration = match register::read(body) {
            Ok(registration) => registration,
            Err(answer) => return answer,
        };
        let table = self.shared.routes.current();
        if let Err(conflict) = check_conflicts(&table, &registration) {
            return LocalAnswer::error(409, conflict.to_string());
        }
        if self.is_handing_over {
            return LocalAnswer::error(503, "a new hub is taking over; register there")
                .with("Retry-After", "1");
        }
        if self.reservations.len() >= RESERVATION_COUNT_MAX {
            return LocalAnswer::error(503, "too many registrations wait for their worker")
                .with("Retry-After", "1");
        }
        let worker_id = match new_id() {
            Ok(worker_id) => worker_id,
            Err(error) => {
                return LocalAnswer::error(503, format!("no id can be made: {error}"))
                    .with("Retry-After", "1");
            }
        };
        let answer = json!({
            "worker_id": worker_id,
            "shm_name": region_label(&registration.name),
            "attach": self.attach_path,
        });
        let reservation = Reservation {
            registration,
            made: Instant::now(),
        };
        self.reservations.insert(worker_id, reservation);
        LocalAnswer::json(200, &answer)
    }

    /// A worker says hello or registers: it gets a session.
    pub fn attach(&mut self, greeting: Greeting) {
        let Greeting {
            opening,
            socket,
            peer,
        } = greeting;
        let result = match opening {
            Opening::Hello(hello) => self.attach_reserved(&hello, &socket, peer),
            Opening::Register {
                document,
                thread_count,
            } => self.attach_new(&document, thread_count, &socket, peer),
        };
        match result {
            Ok(()) => {}
            Err(NotAttached::Refused(refusal)) => attach::refuse(&socket, refusal),
            Err(NotAttached::Document(answer)) => {
                let status = answer.status;
                let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
                tracing::warn!("registration refused with {status}: {text}");
                // In vain if the peer has left.
                let _ = packet::send(&socket, &NotRegistered { status, text }.to_packet(), &[]);
            }
        }
    }

    /// A worker that has registered over HTTP: its reservation becomes a session.
    fn attach_reserved(
        &mut self,
        hello: &Hello,
        socket: &OwnedFd,
        peer: PeerCredentials,
    ) -> Result<(), NotAttached> {
        self.check_opening(hello.thread_count)?;
        self.expire();
        let worker_id = String::from_utf8_lossy(&hello.worker_id).into_owned();
        let Some(reservation) = self.reservations.remove(&worker_id) else {
            let expired = self.expired.contains(&worker_id);
            let unknown = Refusal::UnknownWorkerId;
            return Err(if expired { Refusal::Expired } else { unknown }.into());
        };
        let registration = reservation.registration;
        check_conflicts(&self.shared.routes.current(), &registration).map_err(|conflict| {
            tracing::warn!(worker = registration.name, "{conflict}");
            Refusal::RouteConflict
        })?;
        Ok(self.open(registration, worker_id, hello.thread_count, socket, peer)?)
    }

    /// A worker that registers and attaches in one go.
    fn attach_new(
        &mut self,
        document: &[u8],
        thread_count: u32,
        socket: &OwnedFd,
        peer: PeerCredentials,
    ) -> Result<(), NotAttached> {
        self.check_opening(thread_count)?;
        let registration = register::read(document).map_err(NotAttached::Document)?;
        check_conflicts(&self.shared.routes.current(), &registration).map_err(|conflict| {
            NotAttached::Document(LocalAnswer::error(409, conflict.to_string()))
        })?;
        let worker_id = new_id().map_err(|_| Refusal::NoResources)?;
        Ok(self.open(registration, worker_id, thread_count, socket, peer)?)
    }

    /// Whether a worker of so many threads may attach now.
    fn check_opening(&self, thread_count: u32) -> Result<(), Refusal> {
        if self.is_stopping() || self.is_handing_over {
            return Err(Refusal::Stopping);
        }
        if !(1..=THREAD_COUNT_MAX).contains(&thread_count) {
            return Err(Refusal::ThreadCount);
        }
        Ok(())
    }

    /// Whether another session of this process and user may be: one must not use up what
    /// the others need.
    fn check_count(&self, peer: PeerCredentials) -> Result<(), Refusal> {
        let limits = &self.shared.session_limits;
        let (mut of_process, mut of_user) = (0, 0);
        for attached in &self.attached {
            let other = attached.session.peer;
            of_process += u32::from(other.pid.is_some() && other.pid == peer.pid);
            of_user += u32::from(other.uid == peer.uid);
        }
        let all = (self.attached.len() + self.closing.len()) as u32;
        if all < limits.all && of_user < limits.per_user && of_process < limits.per_process {
            return Ok(());
        }
        tracing::warn!(
            of_process,
            of_user,
            all,
            "a worker is refused: the limit of open files allows {limits}"
        );
        Err(Refusal::TooMany)
    }

    /// Makes a session and hands it over.
    fn open(
        &mut self,
        registration: Registration,
        worker_id: String,
        thread_count: u32,
        socket: &OwnedFd,
        peer: PeerCredentials,
    ) -> Result<(), Refusal> {
        self.check_count(peer)?;
        let Registration {
            name,
            is_instance,
            routes,
            options,
        } = registration;

        let no_resources = |error: &dyn std::fmt::Display| {
            tracing::error!(worker = name, "cannot make a session: {error}");
            Refusal::NoResources
        };
        let geometry = self.shared.geometry;
        let regions = HubRegions::create(&region_label(&name), &geometry)
            .map_err(|error| no_resources(&error))?;
        let eventfds = (0..geometry.lane_count())
            .map(|_| new_eventfd())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| no_resources(&error))?;
        let greeted = socket;
        let socket = greeted.try_clone().map_err(|error| no_resources(&error))?;
        let watched = socket.try_clone().map_err(|error| no_resources(&error))?;
        let fds: Vec<BorrowedFd<'_>> = regions
            .fds
            .iter()
            .chain(&eventfds)
            .map(AsFd::as_fd)
            .collect();
        packet::send(greeted, &FromHub::Welcome(geometry).to_packet(), &fds)
            .map_err(|error| no_resources(&error))?;

        let id = self.next_id;
        self.next_id += 1;
        let session = Arc::new(Session {
            id,
            index: self.free_index(),
            worker_id,
            name,
            peer,
            routes,
            options,
            geometry,
            regions,
            eventfds,
            ringers: (0..thread_count).map(|_| Ringer::default()).collect(),
            alive_at_ms: 0.into(),
            life: Life::new(geometry.lane_count()),
        });
        let end_watch = self.watch(&session, watched, peer.pid);
        if !is_instance {
            self.replace(&session.name);
        }
        self.attached.push(Attached {
            session: Arc::clone(&session),
            socket,
            watcher: end_watch,
            drain: None,
        });
        self.publish();
        tracing::info!(
            worker = session.name,
            worker_id = session.worker_id,
            routes = session.routes.len(),
            threads = session.ringers.len(),
            "attached"
        );
        self.is_here(&session.worker_id);
        Ok(())
    }

    /// Listens to a session's connection until it ends.
    fn watch(&self, session: &Session, socket: OwnedFd, pid: Option<Pid>) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        let (id, worker) = (session.id, session.name.clone());
        tokio::spawn(async move {
            let _guard = GoneOnPanic {
                shared: Arc::clone(&shared),
                id,
            };
            // Once more changes nothing, and would fill the queue.
            let is_told = AtomicBool::new(false);
            let leaving = || {
                if !is_told.swap(true, Ordering::Relaxed) {
                    shared.tell_control(ControlMessage::WorkerLeaves(id));
                }
            };
            let refused = AtomicU64::new(0);
            let emit = |document: &[u8]| {
                events::emit_over_session(&shared, &worker, &refused, document);
            };
            let how = attach::watch_session(socket, pid, leaving, emit).await;
            shared.tell_control(ControlMessage::WorkerGone(id, how));
        })
    }

    /// An upgrade begins. What workers there are, with new ids.
    pub fn begin_handover(&mut self) -> io::Result<Vec<ExpectedWorker>> {
        self.is_handing_over = true;
        let live = self.attached.iter().filter(|attached| attached.is_live());
        live.map(|attached| {
            let session = &attached.session;
            let routes = session.routes.iter().zip(&session.options);
            let routes = routes.map(|(route, options)| {
                (
                    route.method.as_str().to_owned(),
                    route.path.as_str().to_owned(),
                    *options,
                )
            });
            Ok(ExpectedWorker {
                worker_id: new_id()?,
                name: session.name.clone(),
                routes: routes.collect(),
                session_id: session.id,
            })
        })
        .collect()
    }

    /// Tells workers where they are expected. One that has gone since is missed there.
    pub fn tell_moving(&mut self, workers: &[ExpectedWorker]) {
        for worker in workers {
            let is_it = |attached: &&Attached| attached.session.id == worker.session_id;
            let Some(attached) = self.attached.iter().find(is_it) else {
                continue;
            };
            if let Ok(worker_id) = worker.worker_id.as_bytes().try_into() {
                let moving = FromHub::Moving(worker_id).to_packet();
                // In vain if the worker does not read: it is missed over there.
                let _ = packet::send(&attached.socket, &moving, &[]);
            }
        }
    }

    /// The upgrade failed.
    pub fn end_handover(&mut self) {
        self.is_handing_over = false;
    }

    /// Workers of another hub will attach here. What is returned tells when all have.
    pub fn expect(&mut self, workers: Vec<ExpectedWorker>) -> oneshot::Receiver<()> {
        for worker in workers {
            let mut registration = Registration {
                name: worker.name,
                // They do not replace each other, whatever they did before.
                is_instance: true,
                routes: Vec::new(),
                options: Vec::new(),
            };
            for (method, path, options) in worker.routes {
                if let Some(method) = Method::from_token(method.as_bytes())
                    && let Ok(path) = Pattern::parse(&path)
                {
                    registration.routes.push(RouteSpec { method, path });
                    registration.options.push(options);
                }
            }
            self.expected.insert(worker.worker_id.clone());
            let made = Instant::now();
            let reservation = Reservation { registration, made };
            self.reservations.insert(worker.worker_id, reservation);
        }
        let (all_here, are_all_here) = oneshot::channel();
        self.all_here = Some(all_here);
        self.is_here("");
        are_all_here
    }

    fn is_here(&mut self, worker_id: &str) {
        self.expected.remove(worker_id);
        if self.expected.is_empty()
            && let Some(all_here) = self.all_here.take()
        {
            let _ = all_here.send(());
        }
    }

    /// Workers of a name finish what they have.
    fn replace(&mut self, name: &str) {
        let limit = self.drain_limit();
        for older in &mut self.attached {
            if older.session.name == name && older.session.state() == SessionState::Live {
                older.drain(limit, Goodbye::Replaced);
                tracing::info!(
                    worker = name,
                    "replaced: the older one finishes what it has"
                );
            }
        }
    }

    /// A worker finishes what it has, and goes.
    pub fn leave(&mut self, id: u64) {
        let limit = self.drain_limit();
        let mut attached = self.attached.iter_mut();
        let leaving = attached.find(|attached| attached.session.id == id);
        if let Some(attached) = leaving
            && attached.session.state() == SessionState::Live
        {
            tracing::info!(
                worker = attached.session.name,
                "leaving: it finishes what it has"
            );
            attached.drain(limit, Goodbye::Left);
            self.publish();
        }
    }

    /// How long a worker may take to finish what it has.
    fn drain_limit(&self) -> Duration {
        Duration::from_secs(self.shared.config.drain_timeout)
    }

    /// The lowest index that no session has.
    fn free_index(&self) -> usize {
        let taken: Vec<_> = self
            .attached
            .iter()
            .map(|attached| attached.session.index)
            .chain(self.closing.iter().map(|session| session.index))
            .collect();
        // Of one index more than are taken, one is free.
        (0..=taken.len())
            .find(|index| !taken.contains(index))
            .expect("more indexes than sessions")
    }

    /// A worker's connection or process ended.
    pub fn worker_gone(&mut self, id: u64, how: &str) {
        if let Some(attached) = self.take(id) {
            tracing::info!(worker = attached.session.name, "gone: {how}");
            self.end(attached);
        }
    }

    /// A worker is put out.
    pub fn evict(&mut self, id: u64, goodbye: Goodbye, why: &str) {
        if let Some(attached) = self.take(id) {
            tracing::error!(worker = attached.session.name, "evicted: {why}");
            say_goodbye(&attached, goodbye);
            self.end(attached);
        }
    }

    /// The reactors have let go of a session: after an end, or once it drained.
    pub fn lanes_closed(&mut self, id: u64) {
        self.closing.retain(|session| session.id != id);
        if let Some(attached) = self.take(id) {
            tracing::info!(worker = attached.session.name, "drained");
            let goodbye = attached
                .drain
                .map_or(Goodbye::Replaced, |drain| drain.goodbye);
            say_goodbye(&attached, goodbye);
            attached.session.set_state(SessionState::Ended);
            attached.watcher.abort();
        }
        // The table held the session, and with it its memory, until now.
        self.publish();
    }

    fn take(&mut self, id: u64) -> Option<Attached> {
        let place = self
            .attached
            .iter()
            .position(|attached| attached.session.id == id)?;
        Some(self.attached.remove(place))
    }

    fn end(&mut self, attached: Attached) {
        attached.watcher.abort();
        attached.session.set_state(SessionState::Ended);
        self.closing.push(attached.session);
        self.publish();
    }

    /// Makes the new table visible, in one step.
    fn publish(&self) {
        let attached = self.attached.iter().map(|attached| &attached.session);
        let sessions = attached.chain(&self.closing).cloned().collect();
        self.shared.routes.publish(RouteTable::build(sessions));
        self.shared.wake_reactors();
    }

    /// Whether time alone can change something.
    pub fn has_timers(&self) -> bool {
        !self.reservations.is_empty()
            || self
                .attached
                .iter()
                .any(|attached| attached.drain.is_some())
    }

    /// Drops what has waited too long.
    pub fn expire(&mut self) {
        let expired: Vec<_> = self
            .reservations
            .iter()
            .filter(|(_, reservation)| reservation.made.elapsed() >= RESERVATION_TIME)
            .map(|(worker_id, _)| worker_id.clone())
            .collect();
        for worker_id in expired {
            let reservation = self.reservations.remove(&worker_id);
            let name = reservation.map(|reservation| reservation.registration.name);
            tracing::warn!(worker = name, "registered, but did not attach in time");
            self.expired.push(worker_id);
        }
        let forget = self.expired.len().saturating_sub(RESERVATION_COUNT_MAX);
        self.expired.drain(..forget);

        let now = Instant::now();
        let overdue: Vec<_> = self
            .attached
            .iter()
            .filter_map(|attached| Some((attached.session.id, attached.drain?)))
            .filter(|(_, drain)| drain.deadline <= now)
            .collect();
        for (id, drain) in overdue {
            self.evict(id, drain.goodbye, "it did not finish what it had in time");
        }
    }

    /// Says goodbye to every worker: the hub stops.
    pub fn stop(&mut self) {
        for attached in std::mem::take(&mut self.attached) {
            say_goodbye(&attached, Goodbye::Stopping);
            self.end(attached);
        }
    }
}

/// A worker that nobody listens to any more is gone.
struct GoneOnPanic {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for GoneOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let gone = ControlMessage::WorkerGone(self.id, "listening to it panicked");
            self.shared.tell_control(gone);
        }
    }
}

fn say_goodbye(attached: &Attached, goodbye: Goodbye) {
    // In vain if the worker does not read; the close that follows says enough.
    let _ = packet::send(
        &attached.socket,
        &FromHub::Goodbye(goodbye).to_packet(),
        &[],
    );
}

/// What shows in `/proc/PID/maps`. Names may have any visible character, but a
/// memfd's label ends at 249 bytes.
fn region_label(name: &str) -> String {
    format!("slotway-{name}")
}
