//! A receiving thread: takes submissions from every lane, runs handlers, rings
//! the hub, sleeps when there is nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use slotway_shm_proto::doorbell::{SleepEpoch, Wake, wait_futex};
use slotway_shm_proto::layout::{PING_ROUTE_INDEX, RequestHead};
use slotway_shm_proto::ring::{Entry, SubmissionKind};

use super::affinity::Affinity;
use crate::exchange::request::TakenRequest;
use crate::exchange::ticket::{Published, Ticket};
use crate::handler::route::Route;
use crate::handler::runtime::Spawner;
use crate::handler::scratch::HandlerScratch;
use crate::limits::{
    LANE_BURST_COUNT, LATE_BELL_TIME, SLEEP_TIME_MAX, UNRUNG_COUNT_MAX, UNRUNG_TIME_MAX,
};
use crate::session::body_pool::CollectedBody;
use crate::session::stream;
use crate::session::transfer::{self, Step};
use crate::session::{Session, SlotKey};

/// What a receiving thread works with.
pub(crate) struct Receiver<S> {
    pub session: Arc<Session>,
    pub routes: Arc<Vec<Route<S>>>,
    pub state: Arc<S>,
    pub thread_index: u32,
    pub thread_count: u32,
    pub follows_hub: bool,
    /// How long to look for work before sleeping.
    pub spin: Duration,
    pub spawner: Spawner,
}

/// What the thread keeps between requests.
struct Scratch {
    handler: HandlerScratch,
    affinity: Affinity,
}

/// Responses given and not rung for yet.
#[derive(Default)]
struct Unrung {
    /// Bit per lane.
    lanes: u64,
    count: u32,
    since: Option<Instant>,
}

const _: () = assert!(
    slotway_shm_proto::limits::LANE_COUNT_MAX <= 64,
    "a bit per lane"
);

impl<S: Send + Sync + 'static> Receiver<S> {
    /// Serves until the session ends.
    pub fn run(self) {
        let _entered = self.spawner.enter();
        let mut scratch = Scratch {
            handler: HandlerScratch::new(&self.spawner, self.thread_count),
            affinity: Affinity::new(self.home_lane(), self.thread_index),
        };
        while !self.session.has_ended() {
            if !self.drain(&mut scratch) && !self.spin() {
                self.sleep();
                let usual_ns = scratch.handler.usual_ns;
                scratch.affinity.after_wake(&self.session, usual_ns);
            }
        }
    }

    /// The lane whose reactor this thread keeps close to: only where every
    /// lane has a thread, since a thread cannot be close to several.
    fn home_lane(&self) -> Option<u32> {
        let lane_count = self.session.geometry.lane_count();
        (self.follows_hub && self.thread_count >= lane_count)
            .then_some(self.thread_index % lane_count)
    }

    /// Serves some of what is there on every lane; says whether there was
    /// anything.
    fn drain(&self, scratch: &mut Scratch) -> bool {
        let lane_count = self.session.geometry.lane_count();
        let mut unrung = Unrung::default();
        let mut any = false;
        for offset in 0..lane_count {
            // Threads begin with different lanes, so as not to crowd on one.
            let lane_index = (self.thread_index + offset) % lane_count;
            for _ in 0..LANE_BURST_COUNT {
                let Some(entry) = self.session.submissions(lane_index).claim() else {
                    break;
                };
                any = true;
                match entry {
                    Ok(entry) => self.serve(lane_index, &entry, &mut unrung, scratch),
                    Err(error) => {
                        tracing::error!(%error, "the hub's submission ring is broken; reconnecting");
                        self.session.ended.store(true, Ordering::Release);
                        self.session.disconnect();
                        return true;
                    }
                }
                if self.session.has_ended() {
                    return true;
                }
            }
        }
        unrung.ring(&self.session);
        any
    }

    fn serve(
        &self,
        lane_index: u32,
        entry: &Entry<SubmissionKind>,
        unrung: &mut Unrung,
        scratch: &mut Scratch,
    ) {
        let key = SlotKey {
            lane_index,
            slot_index: entry.slot_index,
            generation: entry.generation,
        };
        if key.slot_index >= self.session.geometry.slot_count() {
            tracing::error!(
                slot = key.slot_index,
                "the hub submitted a slot that does not exist"
            );
            return;
        }
        let step = match entry.kind {
            SubmissionKind::Notice => transfer::advance(&self.session, key),
            SubmissionKind::Request => {
                let head: RequestHead = self
                    .session
                    .regions
                    .requests
                    .copy_head(self.session.offsets(key).request_head);
                if self.session.is_cancelled(key) {
                    Step::Abandoned
                } else if head.body_ring_bytes > 0 && self.reads_body(&head) {
                    stream::begin_in(&self.session, key, &head);
                    self.handle(key, head, None, unrung, scratch);
                    return;
                } else if head.body_ring_bytes > 0 {
                    transfer::collect(&self.session, key, head)
                } else {
                    self.handle(key, head, None, unrung, scratch);
                    return;
                }
            }
        };
        match step {
            Step::Nothing => {}
            Step::Collected(head, body) => self.handle(key, head, Some(body), unrung, scratch),
            Step::Abandoned => self.abandon(key, unrung),
            Step::NoRoom => self.refuse(key, unrung),
        }
    }

    /// Responds to a request whose body there is no memory for.
    fn refuse(&self, key: SlotKey, unrung: &mut Unrung) {
        if !self.session.take(key) {
            return self.abandon(key, unrung);
        }
        let ticket = Ticket::new(Arc::clone(&self.session), key, false);
        unrung.note(ticket.respond_no_room(), key.lane_index);
    }

    /// Gives the slot of a request back that nobody waits for.
    fn abandon(&self, key: SlotKey, unrung: &mut Unrung) {
        let ticket = Ticket::new(Arc::clone(&self.session), key, false);
        unrung.note(ticket.respond_abandoned(), key.lane_index);
    }

    fn reads_body(&self, head: &RequestHead) -> bool {
        self.route_of(head).is_some_and(Route::reads_body)
    }

    /// The registration has all routes once for each host.
    #[inline]
    fn route_of(&self, head: &RequestHead) -> Option<&Route<S>> {
        let index = head.route_index as usize;
        let count = self.routes.len();
        match self.routes.get(index) {
            None if count > 0 => self.routes.get(index % count),
            route => route,
        }
    }

    #[inline]
    fn handle(
        &self,
        key: SlotKey,
        head: RequestHead,
        collected: Option<CollectedBody>,
        unrung: &mut Unrung,
        scratch: &mut Scratch,
    ) {
        if !self.session.take(key) {
            stream::forget(&self.session, key);
            return self.abandon(key, unrung);
        }
        if head.route_index == PING_ROUTE_INDEX {
            let ticket = Ticket::new(Arc::clone(&self.session), key, false);
            unrung.note(ticket.respond_ping(), key.lane_index);
            return;
        }
        let Some(route) = self.route_of(&head) else {
            tracing::error!(
                route = head.route_index,
                "the hub named a route that does not exist"
            );
            let ticket = Ticket::new(Arc::clone(&self.session), key, false);
            unrung.note(ticket.respond_failed("no such route"), key.lane_index);
            return;
        };
        if unrung.count > 0 && route.is_slow() {
            unrung.ring(&self.session);
        }
        if route.is_async() {
            scratch.affinity.let_go(&self.session);
        }
        let started = Instant::now();
        self.session.meter.began(self.thread_index);
        scratch.handler.begun = (self.thread_index, started);
        let taken = TakenRequest {
            session: &self.session,
            key,
            head,
            pattern: Arc::clone(&route.pattern),
            collected,
        };
        let published = route.run(&self.state, taken, &mut scratch.handler);
        let now = if scratch.handler.offloaded {
            Instant::now()
        } else {
            route.learn(started)
        };
        scratch.handler.learn(now - started);
        if let Some(published) = published {
            self.session.meter.ended(self.thread_index, now - started);
            unrung.note(published, key.lane_index);
            let since = *unrung.since.get_or_insert(now);
            if unrung.count >= UNRUNG_COUNT_MAX || now - since > UNRUNG_TIME_MAX {
                unrung.ring(&self.session);
            }
        }
    }

    /// Looks for work for a while, if the worker is to. Says whether there is any.
    fn spin(&self) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < self.spin && !self.session.has_ended() {
            if self.has_work() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Sleeps until the hub rings this thread.
    fn sleep(&self) {
        let session = &*self.session;
        let line = session.geometry.thread_line(self.thread_index);
        let bell = session.regions.requests.u32_at(line);
        let epoch = SleepEpoch(session.regions.responses.u32_at(line));
        let seen = bell.load(slotway_shm_proto::atomic::Ordering::Acquire);
        epoch.announce();
        if !self.has_work()
            && !session.has_ended()
            && wait_futex(bell, seen, SLEEP_TIME_MAX) == Wake::TimedOut
            && self.has_work()
            // The hub rings at the end of its turn: give it that time.
            && wait_futex(bell, seen, LATE_BELL_TIME) == Wake::TimedOut
            && self.has_work()
        {
            let lost = session.meter.lost_wake();
            tracing::error!(lost, "a wake-up of this worker was lost");
        }
        epoch.awake();
    }

    fn has_work(&self) -> bool {
        (0..self.session.geometry.lane_count())
            .any(|lane_index| !self.session.submissions(lane_index).is_empty())
    }
}

impl Unrung {
    fn note(&mut self, published: Published, lane_index: u32) {
        if published == Published::Yes {
            self.lanes |= 1 << lane_index;
            self.count += 1;
        }
    }

    fn ring(&mut self, session: &Session) {
        while self.lanes != 0 {
            let lane_index = self.lanes.trailing_zeros();
            self.lanes &= self.lanes - 1;
            session.ring(lane_index);
        }
        *self = Self::default();
    }
}
