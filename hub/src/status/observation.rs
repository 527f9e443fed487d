//! All that is known of the hub at one moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::process::Pid;
use tokio::sync::oneshot;

use super::incidents::{Cause, Incident};
use crate::clock;
use crate::lanes::queue::QueueLoad;
use crate::lanes::slot::SlotLoad;
use crate::limits::REACTOR_ANSWER_TIME;
use crate::metrics::histogram::Durations;
use crate::metrics::recorder::{Phase, ReactorMetrics, RouteTotals};
use crate::metrics::route::{RouteId, RouteLabel};
use crate::routing::session::{Session, SessionState};
use crate::shared::Shared;
use crate::shared::inspection::{Inspection, ReactorLoad};

/// What does not change while the hub runs.
#[derive(Debug)]
pub struct HubFacts {
    /// Where workers attach.
    pub attach: String,
    /// What moves its bytes.
    pub engine: String,
    /// Where it listens, as URLs.
    pub urls: Vec<String>,
    /// Where it is operated, as URLs.
    pub operations_urls: Vec<String>,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
}

/// What the control thread knows.
#[derive(Clone, Debug)]
pub struct ControlView {
    /// Why the hub does not take requests, if it does not.
    pub not_ready: Option<String>,
    /// Workers that are attached.
    pub sessions: Vec<(Arc<Session>, SessionState)>,
    /// Every route that has been counted.
    pub labels: Vec<(RouteId, RouteLabel)>,
    /// The last incidents, newest first.
    pub incidents: Vec<Incident>,
    /// How sessions have ended.
    pub ends: Vec<(Cause, u64)>,
}

/// A worker that is attached.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its session.
    pub session: Arc<Session>,
    /// Whether it takes requests.
    pub state: SessionState,
    /// Its slots, of all reactors.
    pub slots: SlotLoad,
}

impl WorkerView {
    /// Its process.
    pub fn pid(&self) -> Option<i32> {
        self.session.peer.pid.map(Pid::as_raw_pid)
    }
}

/// A route that has been counted.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Where.
    pub id: RouteId,
    /// Its pattern and method.
    pub label: RouteLabel,
    /// What has been counted.
    pub totals: RouteTotals,
    /// Names of the workers that serve it, each once.
    pub workers: Vec<String>,
    /// Clients of it stay, and are pushed events.
    pub is_event_stream: bool,
    /// What waits for it.
    pub queue: QueueView,
}

/// Requests that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueView {
    /// How many.
    pub waiting: u64,
    /// How long the one has waited that has waited longest.
    pub oldest_ms: u64,
}

impl QueueView {
    /// Adds others that wait.
    fn add(&mut self, load: &QueueLoad, now_ms: u64) {
        self.waiting += load.waiting;
        let age_ms = now_ms.saturating_sub(load.oldest_since_ms);
        self.oldest_ms = self.oldest_ms.max(age_ms);
    }
}

/// Requests that wait, by their routes.
#[derive(Debug, Default)]
pub struct Queues {
    /// All of them.
    pub all: QueueView,
    by_route: HashMap<RouteLabel, QueueView>,
}

impl Queues {
    /// Of all reactors, added up.
    pub fn of(loads: &[ReactorLoad]) -> Self {
        let now_ms = clock::coarse_ms();
        let mut queues = Self::default();
        let queue_loads = loads
            .iter()
            .flat_map(|load| load.queues.iter().chain(&load.stream_queues));
        for load in queue_loads {
            queues.all.add(load, now_ms);
            let label = RouteLabel {
                route: load.route.label(),
                method: load.route.method.as_str(),
            };
            queues.by_route.entry(label).or_default().add(load, now_ms);
        }
        queues
    }

    /// Of one route.
    pub fn of_route(&self, label: &RouteLabel) -> QueueView {
        self.by_route.get(label).copied().unwrap_or_default()
    }
}

/// Counters of all reactors, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read from clients.
    pub received_bytes: u64,
    /// Bytes sent to clients.
    pub sent_bytes: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Bells of workers rung.
    pub wakes: u64,
    /// Event streams begun.
    pub event_streams: u64,
}

impl Traffic {
    fn of(reactors: &[Arc<ReactorMetrics>]) -> Self {
        let mut all = Self::default();
        for reactor in reactors {
            all.received_bytes += reactor.received_bytes.get();
            all.sent_bytes += reactor.sent_bytes.get();
            all.connections += reactor.connections.get();
            all.wakes += reactor.wakes.get();
            all.event_streams += reactor.event_streams.get();
        }
        all
    }
}

/// All that is known at one moment.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What does not change.
    pub facts: Arc<HubFacts>,
    /// What the control thread knows.
    pub control: ControlView,
    /// Workers that are attached.
    pub workers: Vec<WorkerView>,
    /// Slots that a worker has for requests, on all reactors.
    pub slot_count: u64,
    /// Routes that have been counted.
    pub routes: Vec<RouteView>,
    /// Where requests' time went, in the order of [`Phase::ALL`].
    pub phases: [Durations; Phase::ALL.len()],
    /// Counters.
    pub traffic: Traffic,
    /// Requests that wait, for whatever route.
    pub queue: QueueView,
    /// Client connections.
    pub connections: u64,
    /// Those of them that have a request.
    pub busy_connections: u64,
    /// The most there may be.
    pub connections_max: u64,
    /// Clients of event streams.
    pub event_stream_clients: u64,
    /// Reactors that did not answer.
    pub silent_reactors: u64,
    /// Faults counted: name, what it counts, and how often.
    pub faults: Vec<(&'static str, &'static str, u64)>,
}

impl Observation {
    /// Routes that have a worker or have had a request, by their patterns, and behind them the
    /// groups of requests without a route.
    pub fn shown_routes(&self) -> Vec<&RouteView> {
        let is_shown = |route: &&RouteView| !route.workers.is_empty() || route.totals.count() > 0;
        let mut routes: Vec<_> = self.routes.iter().filter(is_shown).collect();
        routes.sort_by_key(|route| (route.id.is_of_a_group(), &route.label.route));
        routes
    }

    /// Puts together what the control thread and the reactors know with what has been counted.
    pub fn new(
        shared: &Shared,
        facts: Arc<HubFacts>,
        control: ControlView,
        loads: &[ReactorLoad],
    ) -> Self {
        let reactor_count = shared.metrics.len();
        let workers = workers(&control.sessions, loads);
        let queues = Queues::of(loads);
        let traffic = Traffic::of(&shared.metrics);
        let mut phases = Phase::ALL.map(|_| Durations::default());
        for (phase, durations) in Phase::ALL.into_iter().zip(&mut phases) {
            for reactor in &shared.metrics {
                reactor.add_phase_to(phase, durations);
            }
        }
        let routes = routes(shared, &control, &queues);
        Self {
            facts,
            workers,
            slot_count: u64::from(shared.config.slots) * reactor_count as u64,
            routes,
            phases,
            traffic,
            queue: queues.all,
            connections: loads.iter().map(|load| load.connections).sum(),
            busy_connections: loads.iter().map(|load| load.busy_connections).sum(),
            connections_max: shared.admission.count_max(),
            event_stream_clients: shared.streams.client_count() as u64,
            silent_reactors: (reactor_count - loads.len()) as u64,
            faults: faults(shared),
            control,
        }
    }
}

/// Faults that have been counted: name, what it is, how often.
pub fn faults(shared: &Shared) -> Vec<(&'static str, &'static str, u64)> {
    let counters = shared.counters.all();
    let counters = counters.map(|(name, what, count)| (name, what, count.load(Ordering::Relaxed)));
    let log = shared.access_log.as_ref();
    let what = "requests that have no line in the access log";
    let lost = log.map(|log| ("access_log_lost", what, log.lost()));
    counters.chain(lost).collect()
}

/// What each reactor has to do, of those that answer in time.
pub async fn ask_reactors(shared: &Shared) -> Vec<ReactorLoad> {
    let mut answers = Vec::new();
    for reactor in &shared.inspections {
        let (question, answer) = oneshot::channel();
        if reactor.send(Inspection::Load(question)).is_ok() {
            answers.push(answer);
        }
    }
    let until = tokio::time::Instant::now() + REACTOR_ANSWER_TIME;
    let mut loads = Vec::new();
    for answer in answers {
        if let Ok(Ok(load)) = tokio::time::timeout_at(until, answer).await {
            loads.push(load);
        }
    }
    loads
}

/// The slots of each session, of all reactors.
pub fn slots_of(loads: &[ReactorLoad]) -> HashMap<u64, SlotLoad> {
    let mut slots: HashMap<u64, SlotLoad> = HashMap::new();
    for (session_id, load) in loads.iter().flat_map(|load| &load.lanes) {
        let all = slots.entry(*session_id).or_default();
        all.used += load.used;
        all.open_streams += load.open_streams;
        all.quarantined += load.quarantined;
    }
    slots
}

fn workers(sessions: &[(Arc<Session>, SessionState)], loads: &[ReactorLoad]) -> Vec<WorkerView> {
    let slots = slots_of(loads);
    let view = |(session, state): &(Arc<Session>, SessionState)| WorkerView {
        session: Arc::clone(session),
        state: *state,
        slots: slots.get(&session.id).copied().unwrap_or_default(),
    };
    sessions.iter().map(view).collect()
}

fn routes(shared: &Shared, control: &ControlView, queues: &Queues) -> Vec<RouteView> {
    let mut routes: Vec<RouteView> = control
        .labels
        .iter()
        .map(|(id, label)| {
            let mut totals = RouteTotals::default();
            for reactor in &shared.metrics {
                reactor.add_route_to(*id, &mut totals);
            }
            RouteView {
                id: *id,
                label: label.clone(),
                totals,
                workers: Vec::new(),
                is_event_stream: false,
                queue: queues.of_route(label),
            }
        })
        .collect();
    for (session, state) in &control.sessions {
        if *state != SessionState::Live {
            continue;
        }
        for (index, id) in session.route_ids.iter().enumerate() {
            // Ids count the labels.
            let view = &mut routes[id.index()];
            if !view.workers.contains(&session.name) {
                view.workers.push(session.name.clone());
            }
            view.is_event_stream |= session.options[index].is_sse;
        }
    }
    routes
}
