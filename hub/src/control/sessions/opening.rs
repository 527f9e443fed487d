//! How a session begins: a worker says hello or registers at the attach socket.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use rustix::process::Pid;
use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::doorbell::{Ringer, new_eventfd};
use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::limits::THREAD_COUNT_MAX;
use slotway_shm_proto::message::{FromHub, Goodbye, Hello, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::HubRegions;
use slotway_shm_proto::registration::NotRegistered;
use slotway_shm_proto::upgrade::Sockets;
use tokio::task::JoinHandle;

use super::{Attached, Sessions, region_label};
use crate::clock;
use crate::control::attach::{self, Said, Unexpected};
use crate::control::error::ControlError;
use crate::control::events;
use crate::control::register;
use crate::routing::conflict::check_conflicts;
use crate::routing::handed_files::HandedFiles;
use crate::routing::registration::{Registration, RouteSpec};
use crate::routing::session::{OpenLanes, Session, SessionState};
use crate::routing::upgrades::Upgrades;
use crate::shared::Shared;
use crate::shared::attach_policy::Grant;
use crate::shared::id::new_id;
use crate::shared::message::{ControlMessage, Greeting, Opening};

/// Why a worker gets no session.
enum NotAttached {
    Refused(Refusal),
    /// What it registers is at fault.
    Registration(ControlError),
    /// A worker of its name is there that started later.
    Outdated,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asking<'a> {
    socket: &'a Arc<OwnedFd>,
    peer: PeerCredentials,
    grant: &'a Grant,
}

/// What a session is made of.
struct Parts {
    regions: HubRegions,
    eventfds: Vec<Arc<OwnedFd>>,
}

impl From<Refusal> for NotAttached {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Sessions {
    /// A worker says hello or registers: it gets a session.
    pub fn attach(&mut self, greeting: Greeting) {
        let Greeting {
            opening,
            socket,
            peer,
            turn: _turn,
        } = greeting;
        let socket = Arc::new(socket);
        // The rules may have changed since it came.
        let grant = self.shared.attach_policy.borrow().grant(&socket, peer);
        let Some(grant) = grant else {
            return attach::refuse_user(&socket, peer);
        };
        let from = Asking {
            socket: &socket,
            peer,
            grant: &grant,
        };
        let result = match opening {
            Opening::Hello(hello) => self.attach_reserved(&hello, from),
            Opening::Register {
                document,
                thread_count,
            } => self.attach_new(&document, thread_count, from),
        };
        match result {
            Ok(()) => {}
            Err(NotAttached::Refused(refusal)) => attach::refuse(&socket, refusal),
            Err(NotAttached::Outdated) => {
                // In vain if the peer has left.
                let goodbye = FromHub::Goodbye(Goodbye::Replaced).to_packet();
                let _ = packet::send_last(&socket, &goodbye);
            }
            Err(NotAttached::Registration(error)) => {
                let reply = error.to_reply();
                let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
                let status = reply.status;
                tracing::warn!("registration refused with {status}: {text}");
                // In vain if the peer has left.
                let _ = packet::send_last(&socket, &NotRegistered { status, text }.to_packet());
            }
        }
    }

    /// A worker that has registered over HTTP: its reservation becomes a session.
    fn attach_reserved(&mut self, hello: &Hello, from: Asking<'_>) -> Result<(), NotAttached> {
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
        self.check_allowed(&registration, from)?;
        self.check_age(&registration)?;
        Ok(self.open(registration, worker_id, hello.thread_count, from)?)
    }

    /// A worker that registers and attaches in one go.
    fn attach_new(
        &mut self,
        document: &[u8],
        thread_count: u32,
        from: Asking<'_>,
    ) -> Result<(), NotAttached> {
        self.check_opening(thread_count)?;
        let registration = register::read(document, &self.shared.config.own_paths)
            .map_err(NotAttached::Registration)?;
        check_conflicts(&self.shared.routes.current(), &registration)
            .map_err(|conflict| NotAttached::Registration(conflict.into()))?;
        self.check_allowed(&registration, from)?;
        self.check_age(&registration)?;
        let worker_id = new_id().map_err(|_| Refusal::NoResources)?;
        Ok(self.open(registration, worker_id, thread_count, from)?)
    }

    /// Whether the worker's user may have it register so. Beside the rules: another user's
    /// worker is neither replaced, nor joined.
    fn check_allowed(
        &self,
        registration: &Registration,
        from: Asking<'_>,
    ) -> Result<(), NotAttached> {
        let refused = |why| NotAttached::Registration(ControlError::NotAllowed(why));
        from.grant
            .check(&registration.name, &registration.routes)
            .map_err(refused)?;
        if matches!(from.grant, Grant::Own) {
            return Ok(());
        }
        let is_others = |session: &Session| session.peer.uid != from.peer.uid;
        let name = &registration.name;
        let is_taken = |attached: &&Attached| {
            attached.is_live() && attached.session.name == *name && is_others(&attached.session)
        };
        if let Some(other) = self.attached.iter().find(is_taken) {
            return Err(refused(format!(
                "the worker {name:?} runs as user {}, and this one as user {}: choose another name",
                other.session.peer.uid, from.peer.uid
            )));
        }
        // Those that another hub hands over are as good as here.
        let own: HashSet<&RouteSpec> = registration.routes.iter().collect();
        for expected in self.reservations.values() {
            let is_others = expected.uid.is_some_and(|uid| uid != from.peer.uid);
            let other = &expected.registration;
            let shares = |route| own.contains(route);
            if is_others && (other.name == *name || other.routes.iter().any(shares)) {
                return Err(refused(format!(
                    "the worker {:?} of another user is expected, with this name or one of these routes",
                    other.name
                )));
            }
        }
        let table = self.shared.routes.current();
        for route in &registration.routes {
            let targets = table.targets_of(route).iter();
            if let Some(other) = targets
                .map(|target| &target.session)
                .find(|other| is_others(other))
            {
                return Err(refused(format!(
                    "{route} is served by the worker {:?} of user {}; this one runs as user {}",
                    other.name, other.peer.uid, from.peer.uid
                )));
            }
        }
        Ok(())
    }

    /// Whether no worker of the name is there that started later: one that lost its hub and
    /// comes back must not replace its successor. One that has just started replaces anyhow,
    /// whatever the clocks say.
    fn check_age(&self, registration: &Registration) -> Result<(), NotAttached> {
        let may_be_outdated = registration.returns && !registration.is_instance;
        let Some(started_ms) = registration.started_ms.filter(|_| may_be_outdated) else {
            return Ok(());
        };
        let name = &registration.name;
        let is_newer = |attached: &Attached| {
            let session = &attached.session;
            attached.is_live()
                && session.name == *name
                && session.started_ms.is_some_and(|other| other > started_ms)
        };
        if self.attached.iter().any(is_newer) {
            tracing::info!(
                worker = name,
                "an older worker of this name came back, and was told that it has been replaced"
            );
            return Err(NotAttached::Outdated);
        }
        Ok(())
    }

    /// Whether a worker of so many threads may attach now.
    fn check_opening(&self, thread_count: u32) -> Result<(), Refusal> {
        if self.is_stopping() || self.handover.is_giving() {
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
        let (mut of_process, mut of_user, mut of_others) = (0, 0, 0);
        let is_own = |uid| uid == 0 || uid == rustix::process::geteuid().as_raw();
        for attached in &self.attached {
            let other = attached.session.peer;
            of_others += u32::from(!is_own(other.uid));
            of_process += u32::from(other.pid.is_some() && other.pid == peer.pid);
            of_user += u32::from(other.uid == peer.uid);
        }
        let all = (self.attached.len() + self.closing.len()) as u32;
        // However many other users there are, some places are for the hub's own and root.
        let has_place = is_own(peer.uid) || of_others < limits.per_user;
        let is_within = of_user < limits.per_user && of_process < limits.per_process;
        if all < limits.all && is_within && has_place {
            return Ok(());
        }
        tracing::warn!(
            of_process,
            of_user,
            all,
            "a worker was refused: the limit of open files allows {limits}"
        );
        Err(Refusal::TooMany)
    }

    /// Makes a session and hands it over.
    fn open(
        &mut self,
        registration: Registration,
        worker_id: String,
        thread_count: u32,
        Asking {
            socket,
            peer,
            grant,
        }: Asking<'_>,
    ) -> Result<(), Refusal> {
        self.check_count(peer)?;
        let Registration {
            name,
            is_instance,
            shares_routes,
            started_ms,
            version,
            upgrades,
            routes,
            options,
            ..
        } = registration;

        let parts = self.make(&name, &routes, socket).map_err(|error| {
            tracing::error!(worker = name, "cannot create a session: {error}");
            Refusal::NoResources
        })?;
        let Parts { regions, eventfds } = parts;
        let route_ids = self.count_routes(&routes);
        let id = self.next_id;
        self.next_id += 1;
        let session = Arc::new(Session {
            id,
            index: self.indexes.take(),
            worker_id,
            name,
            shares_routes,
            started_ms,
            attached_ms: clock::unix_ms(),
            version,
            peer,
            routes,
            options,
            route_ids,
            geometry: self.shared.geometry,
            regions,
            eventfds,
            ringers: (0..thread_count).map(|_| Ringer::default()).collect(),
            may_emit: grant.may_emit(),
            alive_at_ms: 0.into(),
            upgrades: Upgrades::new(upgrades.then(|| Arc::downgrade(socket))),
            files: HandedFiles::new(&self.shared.files, self.shared.own_file_count),
            open_lanes: OpenLanes::new(self.shared.geometry.lane_count()),
        });
        let watcher = self.watch(&session, Arc::clone(socket), peer.pid);
        self.enter(&session, is_instance, Arc::clone(socket), watcher);
        self.publish();
        tracing::info!(
            worker = session.name,
            worker_id = session.worker_id,
            routes = session.routes.len(),
            threads = session.ringers.len(),
            "attached"
        );
        let waits = self.handover.attached(&session.worker_id);
        super::tell(waits);
        Ok(())
    }

    /// The session takes requests from the next table on.
    fn enter(
        &mut self,
        session: &Arc<Session>,
        is_instance: bool,
        socket: Arc<OwnedFd>,
        watcher: JoinHandle<()>,
    ) {
        if !is_instance {
            self.replace(&session.name);
        }
        let is_other =
            |attached: &Attached| attached.is_live() && attached.session.name == session.name;
        let is_alone = !self.attached.iter().any(is_other);
        self.absences.came(session, is_alone);
        self.missing.retain(|name| *name != session.name);
        self.incidents
            .note(&session.name, "attached", &attached_text(session));
        self.attached.push(Attached {
            session: Arc::clone(session),
            state: SessionState::Live,
            socket,
            watcher,
            drain: None,
        });
    }

    /// Makes the memory and the bells of a session, and hands them to the worker.
    fn make(&self, name: &str, routes: &[RouteSpec], greeted: &OwnedFd) -> io::Result<Parts> {
        let geometry = self.shared.geometry;
        let mut regions =
            HubRegions::create(&region_label(name), &geometry).map_err(io::Error::other)?;
        let eventfds = (0..geometry.lane_count()).map(|_| new_eventfd().map(Arc::new));
        let eventfds = eventfds.collect::<Result<Vec<_>, _>>()?;
        // The worker has them then; the maps are all that is needed here.
        let files = regions.fds.take().into_iter().flatten();
        let files: Vec<OwnedFd> = files.collect();
        let bells = eventfds.iter().map(|eventfd| eventfd.as_fd());
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).chain(bells).collect();
        let own_paths = &self.shared.config.own_paths;
        let hidden = own_paths.shadowed(routes);
        if let Some(pattern) = hidden {
            tracing::info!(
                worker = name,
                "its route {pattern} does not get requests for /health, /events and /internal/: the \
                 hub answers them itself (--own-paths moves them)"
            );
        }
        let welcome = FromHub::Welcome {
            geometry,
            hides_paths: hidden.is_some(),
        };
        packet::send(greeted, &welcome.to_packet(), &fds)?;
        Ok(Parts { regions, eventfds })
    }

    /// Listens to a session's connection until it ends.
    fn watch(
        &self,
        session: &Arc<Session>,
        socket: Arc<OwnedFd>,
        pid: Option<Pid>,
    ) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        let (id, worker, may_emit) = (session.id, session.name.clone(), session.may_emit);
        let session = Arc::downgrade(session);
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
                events::emit_over_session(&shared, (&worker, may_emit), &refused, document);
            };
            let brought = AtomicBool::new(false);
            let heard = |said: Said<'_>| {
                match said {
                    Said::Leaving => leaving(),
                    Said::Emit(document) => emit(document),
                    Said::Sockets(Sockets::Held(count)) => {
                        if brought.swap(true, Ordering::Relaxed) {
                            return Err(Unexpected);
                        }
                        note_sockets(&shared, &session, Sockets::Held(count));
                    }
                    Said::Sockets(said) => note_sockets(&shared, &session, said),
                    Said::File(message, file) => return keep_file(&session, message, file),
                }
                Ok(())
            };
            let how = attach::watch_session(socket, pid, heard).await;
            shared.tell_control(ControlMessage::WorkerGone(id, how));
        })
    }
}

/// A worker has said something of the sockets that it holds. Those that it brings along are this hub's
/// to show, and not to bound: it is their worker's word alone that there are any.
fn note_sockets(shared: &Shared, session: &Weak<Session>, said: Sockets) {
    let Some(session) = session.upgrade() else {
        return;
    };
    match said {
        Sockets::Held(count) => session.upgrades.bring(count),
        Sockets::Released { handed, brought } => {
            shared
                .admission
                .release(session.upgrades.release(handed, brought));
        }
    }
}

/// A worker has sent a file for a response. Without one, this hub had no descriptor left for it: who
/// waits for it says so.
fn keep_file(
    session: &Weak<Session>,
    message: FileBody,
    file: Option<OwnedFd>,
) -> Result<(), Unexpected> {
    let (Some(session), Some(file)) = (session.upgrade(), file) else {
        return Ok(());
    };
    let file = session.files.own(file).map_err(|_| Unexpected)?;
    let (slot, geometry) = (message.slot, &session.geometry);
    if slot.lane_index < geometry.lane_count() && slot.slot_index < geometry.slot_count() {
        session.files.put(message, file);
    }
    Ok(())
}

fn attached_text(session: &Session) -> String {
    let version = session.version.as_deref();
    let version = version.map_or(String::new(), |version| format!("version {version}, "));
    let routes = match session.routes.len() {
        1 => "1 route".to_owned(),
        count => format!("{count} routes"),
    };
    format!("{version}{routes}")
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
