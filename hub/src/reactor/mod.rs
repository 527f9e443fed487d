//! One reactor thread: what its connections share, its lanes, and the tasks
//! that ring bells at the end of a turn and look after deadlines.

pub mod completion;
pub mod connections;
pub mod hangup;
pub mod inspect;
pub mod phases;
pub mod ping;
pub mod route_changes;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slotway_net::{LocalPeers, Stream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock;
use crate::config::Deadlines;
use crate::http::date::DateLine;
use crate::http::head::HeadLimits;
use crate::lanes::lane::{Lane, Violation};
use crate::lanes::queue::{Order, WaitRoom};
use crate::limits::{
    IDLE_GRACE, LINGER_STOP_TIME, LOOKOUT_PAUSE, READ_BUFFER_BYTES, SPARE_BUFFER_BYTES_MAX,
    SPARE_BUFFER_COUNT_MAX, SWEEP_INTERVAL, WATCH_INTERVAL,
};
use crate::reactor::hangup::Lookout;
use crate::reactor::phases::PhaseRecorder;
use crate::reactor::route_changes::RouteChanges;
use crate::routing::registration::RouteSpec;
use crate::routing::session::{Session, SessionState};
use crate::routing::table::RouteTable;
use crate::shared::Shared;
use crate::shared::counters::Counters;
use crate::shared::message::ControlMessage;
use connections::ConnectionState;

/// See the module.
pub struct Reactor {
    /// Which reactor, and so which lane of every session.
    pub index: u32,
    /// What all threads of the hub share.
    pub shared: Arc<Shared>,
    /// The Date line of the current second.
    pub date: RefCell<DateLine>,
    /// Where requests' time went, if that is asked for.
    pub phases: Option<RefCell<PhaseRecorder>>,
    /// How long clients are waited for.
    pub deadlines: Deadlines,
    /// Bounds of a request's head.
    pub head_limits: HeadLimits,
    /// Whether requests take the times of their phases.
    pub takes_times: bool,
    routes: RefCell<Arc<RouteTable>>,
    routes_version: Cell<u64>,
    lanes: RefCell<Vec<Option<Rc<Lane>>>>,
    /// Sessions in the table that this reactor has let go of.
    closed: RefCell<HashSet<u64>>,
    lane_tasks: RefCell<Vec<JoinHandle<()>>>,
    marked: RefCell<Vec<Rc<Lane>>>,
    ringer_waker: RefCell<Option<Waker>>,
    sweeper: Notify,
    sweeper_idle: Cell<bool>,
    connections: RefCell<HashMap<u64, Rc<ConnectionState>>>,
    next_connection: Cell<u64>,
    connection_began: Notify,
    connection_ended: Notify,
    /// Buffers that no answer needs now; an idle connection has none.
    spare_buffers: RefCell<Vec<Vec<u8>>>,
    /// Requests that wait for a slot.
    pub wait_room: Rc<WaitRoom>,
    /// Requests that wait for a place among the bodies that stream.
    pub stream_room: Rc<WaitRoom>,
    /// Which clients leave while a worker has their request.
    pub lookout: Lookout,
    /// What the system knows of clients on this host, if it may be asked.
    pub local_peers: Option<LocalPeers>,
    stopping: Cell<bool>,
    /// Told when the hub stops.
    pub stops: Notify,
    /// Wakes clients of event streams.
    pub route_changes: RouteChanges,
}

impl Reactor {
    /// A reactor without connections or lanes.
    pub fn new(index: u32, shared: Arc<Shared>) -> io::Result<Rc<Self>> {
        let lookout = Lookout::new()?;
        let local_peers = LocalPeers::new();
        if let Err(error) = &local_peers
            && index == 0
        {
            tracing::warn!(
                "the users of local clients cannot be learnt ({error}): any local user may use \
                 /internal/ over TCP; --internal socket keeps others out"
            );
        }
        let local_peers = local_peers.ok();
        let phases = shared
            .config
            .instrumentation
            .then(|| RefCell::new(PhaseRecorder::new(index)));
        let wait_room = WaitRoom::new(shared.config.queue, Order::OldestFirst);
        let stream_room = WaitRoom::new(shared.config.queue, Order::OldestAndNewest);
        let takes_times = phases.is_some() || shared.config.server_timing;
        Ok(Rc::new(Self {
            index,
            takes_times,
            deadlines: shared.config.deadlines(),
            head_limits: shared.config.head_limits(),
            shared,
            date: RefCell::default(),
            phases,
            routes: RefCell::default(),
            routes_version: Cell::new(0),
            lanes: RefCell::default(),
            closed: RefCell::default(),
            lane_tasks: RefCell::default(),
            marked: RefCell::default(),
            ringer_waker: RefCell::default(),
            sweeper: Notify::new(),
            sweeper_idle: Cell::new(true),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            connection_began: Notify::new(),
            connection_ended: Notify::new(),
            spare_buffers: RefCell::default(),
            wait_room,
            stream_room,
            lookout,
            local_peers,
            stopping: Cell::new(false),
            stops: Notify::new(),
            route_changes: RouteChanges::default(),
        }))
    }

    /// The current routes, for as long as no `await` comes between.
    #[inline]
    pub fn with_routes<R>(self: &Rc<Self>, look: impl FnOnce(&RouteTable) -> R) -> R {
        if self.routes_version.get() != self.shared.routes.version() {
            self.reconcile();
        }
        look(&self.routes.borrow())
    }

    /// This reactor's lane of a session, unless it has ended.
    #[inline]
    pub fn lane(&self, session: &Session) -> Option<Rc<Lane>> {
        let lanes = self.lanes.borrow();
        let lane = lanes.get(session.index)?.as_ref()?;
        (lane.session.id == session.id && !lane.is_over()).then(|| Rc::clone(lane))
    }

    /// Notes that a lane has something new; its bells are rung at the end of
    /// the turn.
    #[inline]
    pub fn mark(&self, lane: &Rc<Lane>) {
        if !lane.marked.replace(true) {
            self.marked.borrow_mut().push(Rc::clone(lane));
            // Wakes a task, which so runs after all that are ready now.
            if let Some(waker) = self.ringer_waker.borrow_mut().take() {
                waker.wake();
            }
        }
        if self.sweeper_idle.get() {
            self.sweeper_idle.set(false);
            self.sweeper.notify_one();
        }
    }

    /// Rings each marked lane once a turn; never ends.
    pub async fn ring_marked_lanes(self: Rc<Self>) {
        let mut batch = Vec::new();
        loop {
            poll_fn(|cx| {
                if self.marked.borrow().is_empty() {
                    *self.ringer_waker.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            std::mem::swap(&mut batch, &mut *self.marked.borrow_mut());
            for lane in &batch {
                lane.marked.set(false);
                lane.stay_awake();
                lane.ring_bells();
            }
            // A worker that was woken on this core has often taken its turn
            // before the ring returned: then it need not ring back.
            for lane in batch.drain(..) {
                self.take_completions(&lane);
            }
        }
    }

    /// Looks after deadlines and wakes that got lost, while requests are in
    /// flight; never ends.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            let lanes: Vec<_> = self.lanes.borrow().iter().flatten().cloned().collect();
            for lane in &lanes {
                self.after_drain_step(lane);
            }
            if lanes.iter().all(|lane| lane.used_count() == 0) {
                // The lanes' memory must not wait for the next request.
                drop(lanes);
                self.sweeper_idle.set(true);
                self.sweeper.notified().await;
                continue;
            }
            let now_ms = clock::coarse_ms();
            let earliest = lanes.iter().filter_map(|lane| lane.expire(now_ms)).min();
            for lane in &lanes {
                if !lane.is_over() && lane.is_hanging(now_ms) {
                    self.shared
                        .tell_control(ControlMessage::TooManyUnanswered(lane.session.id));
                }
                self.make_room_for_streams(lane, now_ms);
                if lane.rescue_lost_wake(now_ms) {
                    Counters::add(&self.shared.counters.lost_wakes);
                    tracing::error!(worker = lane.session.name, "a wake of the hub got lost");
                    self.take_completions(lane);
                }
            }
            drop(lanes);
            let wait = earliest.map_or(SWEEP_INTERVAL, |ms| {
                Duration::from_millis(ms.saturating_sub(now_ms).max(1))
            });
            tokio::time::sleep(wait.min(SWEEP_INTERVAL)).await;
        }
    }

    /// Ends a client that is slow when others wait for its place.
    fn make_room_for_streams(&self, lane: &Lane, now_ms: u64) {
        let streams = lane.streams();
        streams.sample(now_ms);
        if self.stream_room.count_for(&lane.session.routes) > 0 {
            streams.make_room(now_ms);
        }
    }

    fn take_completions(self: &Rc<Self>, lane: &Rc<Lane>) {
        if let Err(violation) = completion::take(self, lane) {
            self.report_violation(lane, violation);
        }
    }

    /// A worker broke the protocol on a lane.
    pub fn report_violation(&self, lane: &Lane, violation: Violation) {
        lane.end();
        self.shared
            .tell_control(ControlMessage::Violation(lane.session.id, violation));
    }

    /// A lane's bell cannot be waited on, for want of descriptors or memory here.
    pub fn report_no_resources(&self, lane: &Lane) {
        lane.end();
        self.shared
            .tell_control(ControlMessage::NoResources(lane.session.id));
    }

    /// Takes the current table: opens lanes of new sessions, ends those of
    /// sessions that are over, lets go of those that have drained.
    pub fn reconcile(self: &Rc<Self>) {
        let version = self.shared.routes.version();
        let table = self.shared.routes.current();
        self.routes_version.set(version);
        self.closed
            .borrow_mut()
            .retain(|id| table.sessions.iter().any(|s| s.id == *id));
        for (session, state) in table.sessions.iter().zip(&table.states) {
            let is_closed = self.closed.borrow().contains(&session.id);
            match (self.lane_of(session), *state) {
                _ if is_closed => {}
                (None, SessionState::Ended) => self.let_go(session),
                (None, _) => self.open_lane(session),
                (Some(_), SessionState::Live) => {}
                (Some(lane), SessionState::Draining)
                    if lane.used_count() > 0 && !lane.is_over() => {}
                (Some(lane), _) => {
                    // What it answered before it went still counts; that the
                    // rest may be broken no longer matters.
                    let _ = lane.drain();
                    lane.end();
                    self.lanes.borrow_mut()[session.index] = None;
                    self.let_go(session);
                }
            }
        }
        *self.routes.borrow_mut() = table;
        self.wait_room.grant_all();
        self.stream_room.grant_all();
        let table = self.routes.borrow();
        self.route_changes
            .update(|route| self.live_workers(&table, route));
    }

    /// Ids of the sessions that serve a route on this reactor.
    pub fn live_workers(&self, table: &RouteTable, route: &RouteSpec) -> Vec<u64> {
        let sessions = table.targets_of(route).iter().map(|target| &target.session);
        let is_live = |session: &&Arc<Session>| {
            session.state() == SessionState::Live && self.lane(session).is_some()
        };
        sessions.filter(is_live).map(|session| session.id).collect()
    }

    /// Its lanes.
    pub fn open_lanes(&self) -> Vec<Rc<Lane>> {
        self.lanes.borrow().iter().flatten().cloned().collect()
    }

    /// Its lanes of workers that take requests.
    pub fn live_lanes(&self) -> Vec<Rc<Lane>> {
        let lanes = self.lanes.borrow();
        let is_live =
            |lane: &&Rc<Lane>| !lane.is_over() && lane.session.state() == SessionState::Live;
        lanes.iter().flatten().filter(is_live).cloned().collect()
    }

    fn lane_of(&self, session: &Session) -> Option<Rc<Lane>> {
        let lanes = self.lanes.borrow();
        let lane = lanes.get(session.index)?.as_ref()?;
        (lane.session.id == session.id).then(|| Rc::clone(lane))
    }

    fn open_lane(self: &Rc<Self>, session: &Arc<Session>) {
        let timeout_ms = self.shared.config.timeout_ms();
        let lane = Rc::new(Lane::new(
            Arc::clone(session),
            self.index,
            timeout_ms,
            [Rc::clone(&self.wait_room), Rc::clone(&self.stream_room)],
        ));
        {
            let mut lanes = self.lanes.borrow_mut();
            if lanes.len() <= session.index {
                lanes.resize_with(session.index + 1, || None);
            }
            debug_assert!(
                lanes[session.index].is_none(),
                "indexes are re-used after all let go"
            );
            lanes[session.index] = Some(Rc::clone(&lane));
        }
        let task = tokio::task::spawn_local(completion::run(Rc::clone(self), lane));
        let mut tasks = self.lane_tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// This reactor holds nothing of the session any more, and will not again.
    fn let_go(&self, session: &Session) {
        self.closed.borrow_mut().insert(session.id);
        if session.close_lane() {
            self.shared
                .tell_control(ControlMessage::LanesClosed(session.id));
        }
    }

    /// A lane that drains has fewer requests; perhaps it was the last.
    pub fn after_drain_step(self: &Rc<Self>, lane: &Lane) {
        if lane.session.state() == SessionState::Draining && lane.used_count() == 0 {
            self.reconcile();
        }
    }

    /// Whether the hub stops: no further request on any connection.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Begins to stop: connections end after their request.
    pub fn begin_stop(&self) {
        self.stopping.set(true);
        self.stops.notify_waiters();
        let deadline_ms = clock::coarse_ms() + LINGER_STOP_TIME.as_millis() as u64;
        for connection in self.connections.borrow().values() {
            connection.hasten(deadline_ms);
        }
    }

    /// Returns when all connections have ended, or at the limit, which ends
    /// them too. Those that are idle end a little later, since their clients may be
    /// about to send.
    pub async fn finish_stop(&self, limit: Duration) {
        let grace = IDLE_GRACE.min(limit);
        // Whether some are left is seen below.
        let _ = tokio::time::timeout(grace, self.all_connections_ended()).await;
        for connection in self.connections.borrow().values() {
            connection.end_idle();
        }
        let limit = limit.saturating_sub(grace);
        if tokio::time::timeout(limit, self.all_connections_ended())
            .await
            .is_err()
        {
            let left = self.connections.borrow().len();
            tracing::warn!(
                connections = left,
                "drain limit reached: closing what is left"
            );
            for connection in self.connections.borrow().values() {
                connection.close();
            }
            // Operations on sockets that have been shut down end by themselves.
            let _ =
                tokio::time::timeout(Duration::from_secs(1), self.all_connections_ended()).await;
        }
    }

    /// Ends every lane and waits for the tasks that read their bells.
    pub async fn close_all_lanes(&self) {
        let lanes: Vec<_> = self.lanes.borrow_mut().drain(..).flatten().collect();
        for lane in &lanes {
            lane.end();
        }
        let tasks = std::mem::take(&mut *self.lane_tasks.borrow_mut());
        for task in tasks {
            // Only a panic is an error here, and it has been reported.
            let _ = task.await;
        }
    }

    async fn all_connections_ended(&self) {
        while !self.connections.borrow().is_empty() {
            self.connection_ended.notified().await;
        }
    }

    /// Enters a connection into the list of those that a stop looks at.
    pub fn add_connection(&self, stream: Rc<Stream>) -> (u64, Rc<ConnectionState>) {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        let state = Rc::new(ConnectionState::new(id, stream));
        self.connections.borrow_mut().insert(id, Rc::clone(&state));
        self.connection_began.notify_one();
        (id, state)
    }

    /// Looks over the connections for passed deadlines; never ends.
    pub async fn watch(self: Rc<Self>) {
        loop {
            let now_ms = clock::coarse_ms();
            for connection in self.connections.borrow().values() {
                connection.check(now_ms, &self.deadlines);
            }
            if self.connections.borrow().is_empty() {
                self.connection_began.notified().await;
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// Looks which requests take long, and tells connections that their clients have
    /// hung up; never ends.
    pub async fn look_out(self: Rc<Self>) {
        let find = |id| self.connections.borrow().get(&id).cloned();
        loop {
            let result = tokio::select! {
                result = self.lookout.tick() => result,
                result = self.lookout.listen(&find) => result,
            };
            if let Err(error) = result {
                tracing::warn!(
                    %error,
                    "clients that leave are noticed only when they are answered; trying again"
                );
            }
            tokio::time::sleep(LOOKOUT_PAUSE).await;
        }
    }

    /// An empty buffer for an answer.
    #[inline]
    pub fn take_buffer(&self) -> Vec<u8> {
        let spare = self.spare_buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Takes a buffer back.
    #[inline]
    pub fn keep_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare_buffers.borrow_mut();
        if spare.len() < SPARE_BUFFER_COUNT_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Takes a connection off the list.
    pub fn remove_connection(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        self.shared.admission.leave();
        self.connection_ended.notify_one();
    }
}
