//! The lanes of one reactor: one of each session, which of them have something new, and
//! the requests that wait for a slot of theirs.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::live::Live;
use crate::lanes::exchange::Exchange;
use crate::lanes::lane::Lane;
use crate::lanes::queue::{Order, RouteQueues};
use crate::lanes::streams::LaneLimits;
use crate::lanes::violation::Violation;
use crate::metrics::recorder::Recorder;
use crate::routing::session::{Session, SessionState};
use crate::routing::table::{RouteTable, Target};
use crate::shared::Shared;
use crate::shared::message::ControlMessage;

/// The lanes of one reactor.
pub struct Lanes {
    /// Which reactor, and so which lane of every session.
    pub index: u32,
    /// What all threads of the hub share.
    pub shared: Arc<Shared>,
    /// What this reactor counts.
    pub recorder: Rc<Recorder>,
    /// What can change while the hub serves, as this reactor has it.
    settings: RefCell<Arc<Live>>,
    /// Requests that wait for a slot.
    pub queue: Rc<RouteQueues>,
    /// Requests that wait for a place among the bodies that stream.
    pub stream_queue: Rc<RouteQueues>,
    /// Requests that wait for others of their route to be done (`concurrency`).
    pub turn_queue: Rc<RouteQueues>,
    /// Told when a lane that drains has nothing in flight any more.
    pub drained: Notify,
    /// By the sessions' indexes.
    open: RefCell<Vec<Option<Rc<Lane>>>>,
    /// Sessions in the table that this reactor has let go of.
    closed: RefCell<HashSet<u64>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    marked: RefCell<Vec<Rc<Lane>>>,
    ringer_waker: RefCell<Option<Waker>>,
    sweeper: Notify,
    is_sweeper_idle: Cell<bool>,
}

impl Lanes {
    /// None yet.
    pub fn new(index: u32, shared: Arc<Shared>) -> Self {
        let queue = RouteQueues::new(Order::OldestFirst);
        let stream_queue = RouteQueues::new(Order::OldestAndNewest);
        let turn_queue = RouteQueues::new(Order::OldestFirst);
        let settings = RefCell::new(Arc::clone(&shared.live.borrow()));
        let metrics = Arc::clone(&shared.metrics[index as usize]);
        Self {
            index,
            settings,
            shared,
            recorder: Rc::new(Recorder::new(metrics)),
            queue,
            stream_queue,
            turn_queue,
            drained: Notify::new(),
            open: RefCell::default(),
            closed: RefCell::default(),
            tasks: RefCell::default(),
            marked: RefCell::default(),
            ringer_waker: RefCell::default(),
            sweeper: Notify::new(),
            is_sweeper_idle: Cell::new(true),
        }
    }

    /// What can change while the hub serves, for as long as no `await` comes between.
    #[inline]
    pub fn settings(&self) -> Ref<'_, Live> {
        Ref::map(self.settings.borrow(), |live| &**live)
    }

    /// Takes what has changed of that. Says whether anything has.
    pub fn take_settings(&self) -> bool {
        let new = Arc::clone(&self.shared.live.borrow());
        let is_new = !Arc::ptr_eq(&new, &self.settings.borrow());
        *self.settings.borrow_mut() = new;
        is_new
    }

    /// The lane of a session, unless it has ended.
    #[inline]
    pub fn of(&self, session: &Session) -> Option<Rc<Lane>> {
        self.even_ended(session).filter(|lane| !lane.is_over())
    }

    #[inline]
    fn even_ended(&self, session: &Session) -> Option<Rc<Lane>> {
        let open = self.open.borrow();
        let lane = open.get(session.index)?.as_ref()?;
        (lane.session.id == session.id).then(|| Rc::clone(lane))
    }

    /// All of them, ended ones included.
    pub fn all(&self) -> Vec<Rc<Lane>> {
        self.open.borrow().iter().flatten().cloned().collect()
    }

    /// Those of workers that take requests.
    pub fn live(&self) -> Vec<Rc<Lane>> {
        let mut lanes = self.all();
        lanes.retain(|lane| lane.is_live());
        lanes
    }

    /// Those that have something in flight. Of the others, those that drain are done.
    pub fn busy(&self) -> Vec<Rc<Lane>> {
        let open = self.open.borrow();
        let busy = open.iter().flatten().filter(|lane| {
            self.note_progress(lane);
            lane.used_count() > 0
        });
        busy.cloned().collect()
    }

    /// Ids of the sessions among `targets` that take requests on this reactor.
    pub fn live_workers(&self, targets: &[Target]) -> Vec<u64> {
        let sessions = targets.iter().map(|target| &target.session);
        let is_live = |session: &&Arc<Session>| self.of(session).is_some_and(|l| l.is_live());
        sessions.filter(is_live).map(|session| session.id).collect()
    }

    /// The lane with the fewest requests in flight among those that `is_eligible`, and the
    /// route's index there.
    #[inline]
    pub fn least_loaded(
        &self,
        targets: &[Target],
        is_eligible: impl Fn(&Lane, u32) -> bool,
    ) -> Option<(Rc<Lane>, u32)> {
        let lane_of = |target: &Target| {
            let lane = self.of(&target.session)?;
            let route_index = target.route_index;
            is_eligible(&lane, route_index).then_some((lane, route_index))
        };
        match targets {
            [only] => lane_of(only),
            _ => targets
                .iter()
                .filter_map(lane_of)
                .min_by_key(|(lane, _)| lane.request_count()),
        }
    }

    /// Hands a filled slot to its worker, whose bell is rung at the end of the turn.
    #[inline]
    pub fn submit(&self, exchange: &Exchange, deadline_ms: u64) {
        exchange.submit(deadline_ms);
        self.mark(exchange.lane());
    }

    /// Notes that a lane has something new; its bells are rung at the end of the turn.
    #[inline]
    pub fn mark(&self, lane: &Rc<Lane>) {
        if !lane.marked.replace(true) {
            self.marked.borrow_mut().push(Rc::clone(lane));
            // Wakes a task, which so runs after all that are ready now.
            if let Some(waker) = self.ringer_waker.borrow_mut().take() {
                waker.wake();
            }
        }
        if self.is_sweeper_idle.replace(false) {
            self.sweeper.notify_one();
        }
    }

    /// Waits until lanes are marked.
    pub(super) fn poll_marked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.marked.borrow().is_empty() {
            *self.ringer_waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Swaps the marked lanes for an empty list.
    pub(super) fn take_marked(&self, empty: &mut Vec<Rc<Lane>>) {
        std::mem::swap(empty, &mut *self.marked.borrow_mut());
    }

    /// Waits until a lane is marked; nothing has to be swept before.
    pub(super) async fn sweeper_needed(&self) {
        self.is_sweeper_idle.set(true);
        self.sweeper.notified().await;
    }

    /// Gives an answered slot back.
    #[inline]
    pub fn finish(&self, exchange: Exchange) {
        let lane = Rc::clone(exchange.lane());
        exchange.release();
        self.note_progress(&lane);
    }

    /// A lane has fewer requests than before; perhaps one that drains has had its last.
    #[inline]
    pub fn note_progress(&self, lane: &Lane) {
        if lane.state() == SessionState::Draining && lane.used_count() == 0 {
            self.drained.notify_one();
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

    /// Follows a table: opens lanes of new sessions, for each of which `start` starts the
    /// task that takes its completions, ends those of sessions that are over, and lets go
    /// of those that have drained. `settings_changed`: those that there are may have other
    /// limits.
    pub fn follow(
        &self,
        table: &RouteTable,
        settings_changed: bool,
        start: impl Fn(Rc<Lane>) -> JoinHandle<()>,
    ) {
        self.forget_closed(table);
        for (session, state) in &table.sessions {
            let is_closed = self.closed.borrow().contains(&session.id);
            match (self.even_ended(session), *state) {
                _ if is_closed => {}
                (None, SessionState::Ended) => self.let_go(session),
                (None, state) => {
                    let lane = self.open(session, state);
                    let mut tasks = self.tasks.borrow_mut();
                    if tasks.len() > 2 * table.sessions.len() {
                        tasks.retain(|task| !task.is_finished());
                    }
                    tasks.push(start(lane));
                }
                (Some(_), SessionState::Live) if !settings_changed => {}
                (Some(lane), SessionState::Live) => {
                    lane.timeout_ms.set(self.longest_timeout_ms(session));
                }
                (Some(lane), SessionState::Draining)
                    if lane.used_count() > 0 && !lane.is_over() =>
                {
                    lane.set_state(SessionState::Draining);
                }
                (Some(lane), state) => {
                    // What it answered before it went still counts; that the rest may be
                    // broken no longer matters.
                    let _ = lane.drain();
                    lane.set_state(state);
                    lane.end();
                    self.open.borrow_mut()[session.index] = None;
                    self.let_go(session);
                }
            }
        }
    }

    /// Sessions that the table has let go of as well.
    fn forget_closed(&self, table: &RouteTable) {
        let mut closed = self.closed.borrow_mut();
        if !closed.is_empty() {
            let ids = table.sessions.iter().map(|(session, _)| session.id);
            let ids: HashSet<u64> = ids.collect();
            closed.retain(|id| ids.contains(id));
        }
    }

    /// The longest time that any of a worker's routes has: handlers that may run for so long do not hang.
    fn longest_timeout_ms(&self, session: &Session) -> u64 {
        let settings = self.settings();
        let routes = session.routes.iter().zip(&session.options);
        let limits = routes.map(|(route, options)| settings.limits_of(route, options.limits));
        let times = limits.filter_map(|limits| limits.timeout_ms);
        times.fold(settings.limits.timeout_ms, u64::max)
    }

    fn open(&self, session: &Arc<Session>, state: SessionState) -> Rc<Lane> {
        let timeout_ms = self.longest_timeout_ms(session);
        let lane = Rc::new(Lane::new(
            Arc::clone(session),
            self.index,
            timeout_ms,
            LaneLimits {
                requests: self.shared.config.slots,
                open_streams: self.shared.config.streams,
            },
            [Rc::clone(&self.queue), Rc::clone(&self.stream_queue)],
            Rc::clone(&self.recorder),
        ));
        lane.set_state(state);
        let mut open = self.open.borrow_mut();
        if open.len() <= session.index {
            open.resize_with(session.index + 1, || None);
        }
        debug_assert!(
            open[session.index].is_none(),
            "indexes are re-used after all let go"
        );
        open[session.index] = Some(Rc::clone(&lane));
        lane
    }

    /// This reactor holds nothing of the session any more, and will not again.
    fn let_go(&self, session: &Session) {
        self.closed.borrow_mut().insert(session.id);
        if session.close_lane() {
            self.shared
                .tell_control(ControlMessage::LanesClosed(session.id));
        }
    }

    /// Ends every lane and waits for the tasks that read their bells.
    pub async fn close_all(&self) {
        let lanes: Vec<_> = self.open.borrow_mut().drain(..).flatten().collect();
        for lane in &lanes {
            lane.end();
        }
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks {
            // Only a panic is an error here, and it has been reported.
            let _ = task.await;
        }
    }
}
