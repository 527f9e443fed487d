//! How a session begins: a worker says hello or registers at the attach socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Pid;
use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::doorbell::{Ringer, new_eventfd};
use slotway_shm_proto::limits::THREAD_COUNT_MAX;
use slotway_shm_proto::message::{FromHub, Hello, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::HubRegions;
use slotway_shm_proto::registration::NotRegistered;
use tokio::task::JoinHandle;

use super::{Attached, Sessions, region_label};
use crate::control::attach;
use crate::control::error::ControlError;
use crate::control::events;
use crate::control::register;
use crate::routing::registration::Registration;
use crate::routing::session::{OpenLanes, Session, SessionState};
use crate::routing::table::check_conflicts;
use crate::shared::Shared;
use crate::shared::id::new_id;
use crate::shared::message::{ControlMessage, Greeting, Opening};

/// Why a worker gets no session.
enum NotAttached {
    Refused(Refusal),
    /// What it registers is at fault.
    Registration(ControlError),
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
        let registration = register::read(document).map_err(NotAttached::Registration)?;
        check_conflicts(&self.shared.routes.current(), &registration)
            .map_err(|conflict| NotAttached::Registration(conflict.into()))?;
        let worker_id = new_id().map_err(|_| Refusal::NoResources)?;
        Ok(self.open(registration, worker_id, thread_count, socket, peer)?)
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
            tracing::error!(worker = name, "cannot create a session: {error}");
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
            open_lanes: OpenLanes::new(geometry.lane_count()),
        });
        let end_watch = self.watch(&session, watched, peer.pid);
        if !is_instance {
            self.replace(&session.name);
        }
        self.attached.push(Attached {
            session: Arc::clone(&session),
            state: SessionState::Live,
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
        let waits = self.handover.attached(&session.worker_id);
        super::tell(waits);
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
