//! Registrations that wait for their worker, and the workers that have come. How a session
//! begins is [`opening`], how it ends [`ending`], and [`handover`] is where one hub replaces
//! another; [`turns`] notices workers that replace each other without end, and [`view`] is
//! what those see who operate the hub.

mod ending;
mod handover;
mod opening;
mod turns;
mod view;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use slotway_shm_proto::Method;
use slotway_shm_proto::api::RegisterResponse;
use slotway_shm_proto::message::{FromHub, Goodbye};
use slotway_shm_proto::packet;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::error::ControlError;
use super::feed;
use super::register;
use crate::clock;
use crate::config::live::Live;
use crate::limits::{ABSENT_ROUTE_COUNT_MAX, RESERVATION_COUNT_MAX, RESERVATION_TIME};
use crate::metrics::route::{RouteId, RouteIds};
use crate::routing::absence::Absences;
use crate::routing::concurrency::{Gate, Gates};
use crate::routing::conflict::check_conflicts;
use crate::routing::editor::TableEditor;
use crate::routing::limit_rules::LimitRules;
use crate::routing::limits::{Limits, RouteLimits};
use crate::routing::pattern::Pattern;
use crate::routing::registration::{ExpectedRoute, ExpectedWorker, Registration, RouteSpec};
use crate::routing::session::{Session, SessionState};
use crate::shared::id::new_id;
use crate::shared::{Shared, sabotage};
use crate::status::incidents::Incidents;
use handover::Handover;
use turns::Turns;

struct Reservation {
    registration: Registration,
    made: Instant,
    /// Of a worker that comes from another hub: its user.
    uid: Option<u32>,
}

struct Attached {
    session: Arc<Session>,
    state: SessionState,
    /// The connection that is the session.
    socket: Arc<OwnedFd>,
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
        self.state == SessionState::Live
    }

    fn drain(&mut self, limit: Duration, goodbye: Goodbye) {
        self.state = SessionState::Draining;
        let deadline = Instant::now() + limit;
        self.drain = Some(Drain { deadline, goodbye });
    }
}

/// All registrations and sessions of one hub.
pub struct Sessions {
    shared: Arc<Shared>,
    attach_path: String,
    reservations: HashMap<String, Reservation>,
    /// Expired ids are remembered a while, for a better refusal.
    expired: Vec<String>,
    attached: Vec<Attached>,
    /// Ended, but some reactor still holds a lane: their indexes are taken.
    closing: Vec<Arc<Session>>,
    /// Routes whose workers have gone.
    absences: Absences,
    /// Makes the next table.
    editor: TableEditor,
    /// Workers that must be there and have never been.
    missing: Vec<String>,
    turns: Turns,
    /// What has happened to workers.
    incidents: Incidents,
    /// How many requests of which route workers may have at a time.
    gates: Gates,
    /// Where the requests of each route are counted.
    route_ids: RouteIds<RouteSpec>,
    next_id: u64,
    indexes: Indexes,
    /// Whether another hub takes over from this one, or this one from another.
    handover: Handover<oneshot::Sender<()>>,
}

impl Sessions {
    /// None yet.
    pub fn new(shared: Arc<Shared>, attach_path: String) -> Self {
        let mut sessions = Self {
            absences: Absences::new(ABSENT_ROUTE_COUNT_MAX),
            editor: TableEditor::default(),
            missing: shared.config.expect_worker.clone(),
            turns: Turns::default(),
            incidents: Incidents::default(),
            gates: Gates::default(),
            route_ids: RouteIds::new(Arc::clone(&shared.route_labels)),
            shared,
            attach_path,
            reservations: HashMap::new(),
            expired: Vec::new(),
            attached: Vec::new(),
            closing: Vec::new(),
            next_id: 1,
            indexes: Indexes::default(),
            handover: Handover::Idle,
        };
        // Requests for workers that have never been are known from the first one on.
        sessions.publish();
        sessions
    }

    fn is_unready(&self) -> bool {
        self.shared.unready.load(Ordering::Acquire)
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Reserves, so that a worker can attach.
    pub fn register(&mut self, body: &[u8]) -> Result<RegisterResponse, ControlError> {
        let registration = register::read(body, &self.shared.config.own_paths)?;
        check_conflicts(&self.shared.routes.current(), &registration)?;
        if self.handover.is_giving() {
            let why = "a new hub is taking over; register with it";
            return Err(ControlError::Unavailable(why.to_owned()));
        }
        if self.reservations.len() >= RESERVATION_COUNT_MAX {
            let why = "too many registrations are waiting for their worker";
            return Err(ControlError::Unavailable(why.to_owned()));
        }
        let worker_id = new_id()
            .map_err(|error| ControlError::Unavailable(format!("cannot create an id: {error}")))?;
        let response = RegisterResponse {
            worker_id: worker_id.clone(),
            shm_name: region_label(&registration.name),
            attach: self.attach_path.clone(),
        };
        let reservation = Reservation {
            registration,
            made: Instant::now(),
            uid: None,
        };
        self.reservations.insert(worker_id, reservation);
        Ok(response)
    }

    /// An upgrade begins. What workers there are, with new ids.
    pub fn begin_handover(&mut self) -> io::Result<Vec<ExpectedWorker>> {
        self.handover.give();
        let live = self.attached.iter().filter(|attached| attached.is_live());
        live.map(|attached| {
            let session = &attached.session;
            let routes = session.routes.iter().zip(&session.options);
            let routes = routes.map(|(route, options)| ExpectedRoute {
                method: route.method.as_str().to_owned(),
                host: route.host.as_deref().map(str::to_owned),
                path: route.path.as_str().to_owned(),
                options: *options,
            });
            Ok(ExpectedWorker {
                worker_id: new_id()?,
                name: session.name.clone(),
                shares_routes: session.shares_routes,
                started_ms: session.started_ms,
                version: session.version.clone(),
                upgrades: session.upgrades.takes_sockets(),
                uid: Some(session.peer.uid),
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
        self.handover.take_back();
    }

    /// Workers of another hub will attach here. What is returned tells when all have.
    pub fn expect(&mut self, workers: Vec<ExpectedWorker>) -> oneshot::Receiver<()> {
        let expected = workers.iter().map(|worker| worker.worker_id.clone());
        let expected = expected.collect();
        for worker in workers {
            let mut registration = Registration {
                name: worker.name,
                // They do not replace each other, whatever they did before.
                is_instance: true,
                shares_routes: worker.shares_routes,
                started_ms: worker.started_ms,
                version: worker.version,
                upgrades: worker.upgrades,
                returns: false,
                routes: Vec::new(),
                options: Vec::new(),
            };
            for route in worker.routes {
                if let Some(method) = Method::of_route(&route.method)
                    && let Ok(path) = Pattern::parse(&route.path)
                {
                    let host = route.host.map(Into::into);
                    registration.routes.push(RouteSpec { method, host, path });
                    registration.options.push(route.options);
                }
            }
            let Registration {
                name,
                routes,
                options,
                ..
            } = &registration;
            // Until it has come, and if it does not.
            let ids = self.count_routes(routes);
            let routes = routes.iter().zip(ids).zip(options);
            let routes = routes.map(|((route, id), options)| (route, id, options));
            self.absences.away(name, routes, clock::coarse_ms());
            let reservation = Reservation {
                registration,
                made: Instant::now(),
                uid: worker.uid,
            };
            self.reservations.insert(worker.worker_id, reservation);
        }
        let (all_here, are_all_here) = oneshot::channel();
        self.publish();
        let waits = self.handover.expect(expected, all_here);
        tell(waits);
        are_all_here
    }

    /// Where the requests of these routes are counted.
    fn count_routes(&mut self, routes: &[RouteSpec]) -> Vec<RouteId> {
        let enter = |route: &RouteSpec| {
            let id = self.route_ids.enter(route, route.method, || route.label());
            // Before any request can find it.
            for reactor in &self.shared.metrics {
                reactor.prepare(id);
            }
            id
        };
        routes.iter().map(enter).collect()
    }

    /// Makes the new table visible, in one step.
    pub fn publish(&mut self) {
        sabotage::pause("publish");
        let live = self.attached.iter().filter(|attached| attached.is_live());
        self.editor.serve(live.map(|attached| &attached.session));
        self.absences.forget_old(clock::coarse_ms());
        for route in self.absences.take_changed() {
            let absence = self.absences.get(&route);
            self.editor.set_absence(route, absence);
        }
        let mut rules = Rules {
            live: Arc::clone(&self.shared.live.borrow()),
            gates: &mut self.gates,
        };
        let mut table = self.editor.table(&mut rules);
        let attached = self.attached.iter();
        let attached = attached.map(|attached| (Arc::clone(&attached.session), attached.state));
        let closing = self.closing.iter();
        let closing = closing.map(|session| (Arc::clone(session), SessionState::Ended));
        table.sessions = attached.chain(closing).collect();
        table.missing.clone_from(&self.missing);
        self.shared.routes.publish(table);
        self.shared.wake_reactors();
        feed::tell_changed(&self.shared);
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
            tracing::warn!(worker = name, "it registered but did not attach in time");
            self.expired.push(worker_id);
        }
        let forget = self.expired.len().saturating_sub(RESERVATION_COUNT_MAX);
        self.expired.drain(..forget);

        self.evict_late();
    }
}

/// Dense numbers for sessions, each in use once.
#[derive(Debug, Default)]
struct Indexes {
    /// As many as have ever been in use at a time.
    count: usize,
    free: BinaryHeap<Reverse<usize>>,
}

impl Indexes {
    /// The lowest that is free.
    fn take(&mut self) -> usize {
        if let Some(Reverse(index)) = self.free.pop() {
            return index;
        }
        self.count += 1;
        self.count - 1
    }

    fn give_back(&mut self, index: usize) {
        self.free.push(Reverse(index));
    }
}

/// What routes may use, by the configuration and their workers.
struct Rules<'g> {
    live: Arc<Live>,
    gates: &'g mut Gates,
}

impl LimitRules for Rules<'_> {
    fn usual(&self) -> Limits {
        self.live.limits
    }

    fn of_route(&self, route: &RouteSpec, of_workers: RouteLimits) -> RouteLimits {
        self.live.limits_of(route, of_workers)
    }

    fn gate(&mut self, route: &RouteSpec, count_max: u32) -> Arc<Gate> {
        self.gates.gate(route, count_max)
    }
}

/// All expected workers are here. Who waits for them may have given up.
fn tell(waits: Option<oneshot::Sender<()>>) {
    if let Some(waits) = waits {
        let _ = waits.send(());
    }
}

/// What shows in `/proc/PID/maps`. Names may have any visible character, but a
/// memfd's label ends at 249 bytes.
fn region_label(name: &str) -> String {
    format!("slotway-{name}")
}
