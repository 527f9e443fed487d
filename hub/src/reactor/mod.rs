//! One reactor: a thread of the hub with its own listeners, connections and lanes, so that
//! nothing on a request's way is shared between threads.
//!
//! [`lanes`] are the workers' slots that this reactor fills, [`completion`] takes what they
//! answer, [`connections`] knows until when each client is waited for (with [`deadline`],
//! [`activity`] and [`hangup`], which notices clients that leave), [`buffers`] are spare
//! ones, [`ping`] finds workers that stand still, [`route_changes`] wakes clients of event
//! streams, [`turn`]s bound the requests of a route, [`phases`] is where requests' time goes, and [`inspect`] tells what the reactor has to do.

pub mod activity;
pub mod buffers;
pub mod completion;
pub mod connections;
pub mod deadline;
pub mod hangup;
mod inspect;
pub mod lanes;
pub mod phases;
pub mod ping;
pub mod route_changes;
pub mod turn;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slotway_net::LocalPeers;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::access_log::fields::Field;
use crate::access_log::producer::AccessLog;
use crate::config::deadlines::Deadlines;
use crate::http::date::DateLine;
use crate::http::head::HeadLimits;
use crate::limits::PHASE_SAMPLE_DIVISOR;
use crate::routing::registration::RouteSpec;
use crate::routing::table::RouteTable;
use crate::shared::Shared;
use crate::shared::id::random_seed;
use crate::shared::inspection::Inspection;
use crate::shared::vital::vital;
use buffers::Buffers;
use connections::Connections;
use hangup::HangupWatch;
use lanes::Lanes;
use phases::PhaseRecorder;
use route_changes::RouteChanges;

/// What the connections of one reactor share.
pub struct Reactor {
    /// What all threads of the hub share.
    pub shared: Arc<Shared>,
    /// The Date line of the current second.
    pub date: RefCell<DateLine>,
    /// Where requests' time went, if that is asked for.
    pub phases: Option<RefCell<PhaseRecorder>>,
    /// Bounds of a request's head.
    pub head_limits: HeadLimits,
    /// Whether every request takes the times of its phases.
    measures_all: bool,
    /// Requests until the next that does.
    until_measured: Cell<u32>,
    /// Its lanes.
    pub lanes: Rc<Lanes>,
    /// Its clients.
    pub connections: Rc<Connections>,
    /// Which clients leave while a worker has their request.
    pub hangups: Rc<HangupWatch>,
    /// Buffers for responses.
    pub buffers: Buffers,
    /// For small texts between two awaits.
    pub scratch: RefCell<Vec<u8>>,
    /// What the system knows of clients on this host, if it may be asked.
    pub local_peers: Option<LocalPeers>,
    /// Told when the hub stops.
    pub stops: Notify,
    /// Wakes clients of event streams.
    pub route_changes: RouteChanges,
    /// For what must be unlike all others.
    pub random: RefCell<fastrand::Rng>,
    /// Its end of the access log.
    pub access_log: Option<AccessLog>,
    /// Whether requests have ids or traces.
    pub identifies: bool,
    routes: RefCell<Arc<RouteTable>>,
    routes_version: Cell<u64>,
    is_stopping: Cell<bool>,
}

impl Reactor {
    /// A reactor without connections or lanes.
    pub fn new(
        index: u32,
        shared: Arc<Shared>,
        access_log: Option<AccessLog>,
    ) -> io::Result<Rc<Self>> {
        let local_peers = LocalPeers::new();
        if let Err(error) = &local_peers {
            tracing::warn!(
                "the kernel does not tell the users of local clients ({error}): any local user may use \
                 /internal/ over TCP; --internal socket keeps others out"
            );
        }
        let phases = shared
            .config
            .instrumentation
            .then(|| RefCell::new(PhaseRecorder::new(index)));
        Ok(Rc::new(Self {
            measures_all: phases.is_some()
                || shared.config.server_timing
                || access_log
                    .as_ref()
                    .is_some_and(|log| log.fields.has(Field::Phases)),
            until_measured: Cell::new(0),
            head_limits: shared.config.head_limits(),
            lanes: Rc::new(Lanes::new(index, Arc::clone(&shared))),
            connections: Rc::default(),
            hangups: Rc::new(HangupWatch::new()?),
            buffers: Buffers::default(),
            scratch: RefCell::default(),
            local_peers: local_peers.ok(),
            stops: Notify::new(),
            route_changes: RouteChanges::default(),
            date: RefCell::default(),
            phases,
            random: RefCell::new(fastrand::Rng::with_seed(random_seed()?)),
            access_log,
            identifies: shared.config.logs.request_id || shared.config.logs.trace_context,
            routes: RefCell::default(),
            routes_version: Cell::new(0),
            is_stopping: Cell::new(false),
            shared,
        }))
    }

    /// The current routes, for as long as no `await` comes between.
    #[inline]
    pub fn with_routes<R>(&self, look: impl FnOnce(&RouteTable) -> R) -> R {
        if self.routes_version.get() != self.shared.routes.version() {
            self.reconcile();
        }
        look(&self.routes.borrow())
    }

    /// Takes the current table, and what follows from it for the lanes.
    fn reconcile(&self) {
        let version = self.shared.routes.version();
        let table = self.shared.routes.current();
        self.routes_version.set(version);
        let settings_changed = self.lanes.take_settings();
        self.lanes.follow(&table, settings_changed, |lane| {
            tokio::task::spawn_local(completion::run(Rc::clone(&self.lanes), lane))
        });
        self.lanes.queue.grant_all();
        self.lanes.stream_queue.grant_all();
        self.lanes.turn_queue.grant_all();
        self.route_changes
            .update(|route| self.lanes.live_workers(table.targets_of(route)));
        *self.routes.borrow_mut() = table;
    }

    /// How long clients are waited for.
    #[inline]
    pub fn deadlines(&self) -> Deadlines {
        self.lanes.settings().deadlines
    }

    /// Ids of the sessions that serve a route on this reactor.
    pub fn live_workers(&self, route: &RouteSpec) -> Vec<u64> {
        self.with_routes(|table| self.lanes.live_workers(table.targets_of(route)))
    }

    /// Whether the next request takes the times of its phases: a share of all do.
    #[inline]
    pub fn must_measure(&self) -> bool {
        let left = self.until_measured.get();
        let is_next = left == 0;
        let next = if is_next { PHASE_SAMPLE_DIVISOR } else { left };
        self.until_measured.set(next - 1);
        is_next || self.measures_all || self.shared.tap.is_open()
    }

    /// Whether somebody looks at requests: the access log, or an operator.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.access_log.is_some() || self.shared.tap.is_open()
    }

    /// Whether the hub stops: no further request on any connection.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Whether clients had better go elsewhere: the hub stops, or will soon (`--shutdown-delay`).
    pub fn is_leaving(&self) -> bool {
        self.is_stopping() || self.shared.unready.load(Ordering::Relaxed)
    }

    /// Starts the tasks that serve the reactor's connections.
    pub fn start(&self, questions: mpsc::UnboundedReceiver<Inspection>) -> Vec<JoinHandle<()>> {
        let lanes = || Rc::clone(&self.lanes);
        let connections = || Rc::clone(&self.connections);
        let (own, watched) = (lanes(), connections());
        let watch = async move { watched.watch(|| own.settings().deadlines).await };
        let hangups = hangup::run(Rc::clone(&self.hangups), connections());
        let mut tasks = vec![
            self.spawn("ringing workers", completion::ring_marked(lanes())),
            self.spawn("giving turns", turn::follow(lanes())),
            self.spawn("looking after deadlines", completion::sweep(lanes())),
            self.spawn("watching connections", watch),
            self.spawn("noticing clients that leave", hangups),
            self.spawn(
                "inspecting slots",
                inspect::serve(lanes(), connections(), questions),
            ),
        ];
        if self.shared.config.ping.ms() > 0 {
            let interval = self.shared.config.ping.get();
            tasks.push(self.spawn("pinging workers", ping::run(lanes(), interval)));
        }
        tasks
    }

    /// A task that the hub cannot be without.
    pub fn spawn(
        &self,
        what: &'static str,
        task: impl Future<Output = ()> + 'static,
    ) -> JoinHandle<()> {
        tokio::task::spawn_local(vital(Arc::clone(&self.shared), what, task))
    }

    /// Follows the route table until the hub stops.
    pub async fn run(&self) {
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.reconcile_when_due().await;
        }
    }

    async fn reconcile_when_due(&self) {
        tokio::select! {
            () = self.shared.reactor_wakes[self.lanes.index as usize].notified() => {}
            () = self.lanes.drained.notified() => {}
        }
        self.reconcile();
    }

    /// Ends the connections, each after the request that it has, and then the lanes. No
    /// listener may be open any more: clients that come back at once must find the door
    /// closed, not be caught in it.
    pub async fn stop(&self) {
        self.is_stopping.set(true);
        self.stops.notify_waiters();
        self.connections.begin_stop();
        let limit = self.lanes.settings().drain_time;
        let finished = self.connections.finish_stop(limit);
        tokio::pin!(finished);
        loop {
            tokio::select! {
                () = &mut finished => return,
                // Workers may go meanwhile, and then nobody must wait for them.
                () = self.reconcile_when_due() => {}
            }
        }
    }
}
