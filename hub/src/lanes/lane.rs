//! One reactor's half of a session: its rings, its slots, its bells. Lives on
//! the reactor's thread alone, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use slotway_shm_proto::claim::CANCELLED;
use slotway_shm_proto::geometry::{LaneOffsets, SlotOffsets};
use slotway_shm_proto::layout::{RequestWords, ResponseWords};
use slotway_shm_proto::ring::{
    CompletionConsumer, RingError, SubmissionKind, SubmissionOut, SubmissionProducer,
};
use slotway_shm_proto::tagged::{load_tagged, store_tagged};
use tokio::sync::Notify;

use crate::clock;
use crate::lanes::lost_wakes::LostWakes;
use crate::lanes::phase::Phase;
use crate::lanes::queue::RouteQueues;
use crate::lanes::slot::{EntryEffect, Event, Kept, SlotLoad, SlotTable};
use crate::lanes::streams::{LaneLimits, StreamHabit, Streams};
use crate::lanes::violation::Violation;
use crate::limits::QUARANTINE_DIVISOR;
use crate::metrics::recorder::Recorder;
use crate::routing::session::{Session, SessionState};

/// One reactor's half of a session.
pub struct Lane {
    /// The session it belongs to.
    pub session: Arc<Session>,
    pub(super) lane_index: u32,
    limits: LaneLimits,
    /// The longest time that any of its routes has.
    pub timeout_ms: Cell<u64>,
    /// Told of each slot that comes free.
    queue: Rc<RouteQueues>,
    /// Told of each place among the streams that comes free.
    stream_queue: Rc<RouteQueues>,
    /// Bodies that stream.
    streams: Rc<Streams>,
    /// For each route, what its responses usually do. A service with routes of its own below
    /// one of the hub's has no such habit.
    habits: Vec<Option<StreamHabit>>,
    pub(super) offsets: LaneOffsets,
    pub(super) inner: RefCell<Inner>,
    over: Cell<bool>,
    /// The session's, as the reactor's route table has it.
    state: Cell<SessionState>,
    /// Completions taken since somebody asked.
    signs_of_life: Cell<u32>,
    /// Told when the lane ends.
    pub ended: Notify,
    /// In the reactor's list of lanes to ring at the end of the turn.
    pub marked: Cell<bool>,
    /// The worker has been told that the reactor sleeps for this lane.
    pub(super) asleep: Cell<bool>,
    lost_wakes: LostWakes,
    pub(super) recorder: Rc<Recorder>,
}

pub(super) struct Inner {
    submissions: SubmissionProducer,
    completions: CompletionConsumer,
    slots: SlotTable,
    pub(super) unrung_count: u32,
    /// Quarantined slots to look at once the head has been published.
    look_later: Vec<u32>,
}

impl Lane {
    /// The lane of a session that this reactor serves.
    pub fn new(
        session: Arc<Session>,
        lane_index: u32,
        timeout_ms: u64,
        limits: LaneLimits,
        [queue, stream_queue]: [Rc<RouteQueues>; 2],
        recorder: Rc<Recorder>,
    ) -> Self {
        let inner = Inner {
            submissions: SubmissionProducer::default(),
            completions: CompletionConsumer::default(),
            slots: SlotTable::new(session.geometry.slot_count()),
            unrung_count: 0,
            look_later: Vec::new(),
        };
        Self {
            lane_index,
            offsets: session.geometry.lane(lane_index),
            streams: Streams::new(limits.requests),
            limits,
            habits: session
                .options
                .iter()
                .map(|options| (!options.raw_params).then(StreamHabit::default))
                .collect(),
            session,
            timeout_ms: Cell::new(timeout_ms),
            queue,
            stream_queue,
            ended: Notify::new(),
            inner: RefCell::new(inner),
            over: Cell::new(false),
            state: Cell::new(SessionState::Live),
            signs_of_life: Cell::new(0),
            marked: Cell::new(false),
            asleep: Cell::new(false),
            lost_wakes: LostWakes::default(),
            recorder,
        }
    }

    /// Takes a free slot for a request: its index, and which use of it this is.
    #[inline]
    pub(super) fn reserve(&self) -> Option<(u32, u32)> {
        let slots = &mut self.inner.borrow_mut().slots;
        if self.over.get() || slots.request_count() >= self.limits.requests {
            return None;
        }
        slots.reserve()
    }

    /// A slot's response has no known end: its request does not count among the others any
    /// more. False: there are as many such responses as may be.
    pub(super) fn begin_open_stream(&self, slot_index: u32) -> bool {
        let slots = &mut self.inner.borrow_mut().slots;
        slots.begin_open(slot_index, self.limits.open_streams)
    }

    /// Its session's state, as the reactor's route table has it.
    pub fn state(&self) -> SessionState {
        self.state.get()
    }

    /// The route table says so.
    pub fn set_state(&self, state: SessionState) {
        self.state.set(state);
    }

    /// Whether its worker takes requests.
    pub fn is_live(&self) -> bool {
        !self.over.get() && self.state.get() == SessionState::Live
    }

    /// The bodies that stream through it.
    pub fn streams(&self) -> &Rc<Streams> {
        &self.streams
    }

    /// What the responses of a route usually do; `None` for a ping's and a service's.
    #[inline]
    pub fn habit(&self, route_index: u32) -> Option<&StreamHabit> {
        self.habits.get(route_index as usize)?.as_ref()
    }

    /// A place among the streams is free.
    pub(super) fn stream_ended(&self) {
        self.stream_queue.slot_freed(&self.session.routes);
    }

    /// Requests that count against the bound of those, for choosing the least loaded worker.
    #[inline]
    pub fn request_count(&self) -> u32 {
        self.inner.borrow().slots.request_count()
    }

    /// Requests in any slot.
    #[inline]
    pub fn used_count(&self) -> u32 {
        self.inner.borrow().slots.used_count()
    }

    /// Whether the worker hangs: it is not done with so many of the requests
    /// that nobody waits for, a whole timeout after they were given up.
    pub fn is_hanging(&self, now_ms: u64) -> bool {
        let (requests, open_streams) = self.inner.borrow().slots.overdue_counts(now_ms);
        requests > self.limits.requests / QUARANTINE_DIVISOR
            || open_streams > self.limits.open_streams / QUARANTINE_DIVISOR
    }

    /// Completions taken since this was asked last.
    pub fn take_signs_of_life(&self) -> u32 {
        self.signs_of_life.take()
    }

    /// Whether the lane has ended: nobody will answer on it any more.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Ends the lane: every request in flight learns that nobody will answer.
    pub fn end(&self) {
        self.over.set(true);
        self.inner.borrow_mut().slots.wake_all();
        self.ended.notify_one();
    }

    /// Where a slot lies.
    #[inline]
    pub(super) fn slot_offsets(&self, slot_index: u32) -> SlotOffsets {
        self.session.geometry.slot(&self.offsets, slot_index)
    }

    #[inline]
    fn ring(&self) -> SubmissionOut<'_> {
        let requests = &self.session.regions.requests;
        let word_count = self.session.geometry.ring_entry_count() as usize * 2;
        SubmissionOut {
            tail: requests.u32_at(self.offsets.submission_tail),
            entries: requests.words_at(self.offsets.submission_entries, word_count),
        }
    }

    fn completion_entries(&self) -> slotway_shm_proto::atomic::PeerWords<'_> {
        let word_count = self.session.geometry.ring_entry_count() as usize * 2;
        self.session
            .regions
            .responses
            .words_at(self.offsets.completion_entries, word_count)
    }

    /// Publishes a reserved slot's request. The bell is the reactor's to ring.
    #[inline]
    pub(super) fn submit(&self, slot_index: u32, generation: u32, deadline_ms: u64) {
        let inner = &mut *self.inner.borrow_mut();
        inner.slots.submitted(slot_index, deadline_ms);
        inner
            .submissions
            .push(self.ring(), SubmissionKind::Request, slot_index, generation);
        inner.unrung_count += 1;
    }

    /// Tells the worker that a word of the slot has changed, unless a notice
    /// is on its way. Says whether the bell must be rung.
    pub(super) fn notify(&self, slot_index: u32, generation: u32) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let head = self
            .session
            .regions
            .responses
            .u32_at(self.offsets.submission_head);
        let entry_count = self.session.geometry.ring_entry_count();
        if !inner.slots.notices(slot_index).must_send(head, entry_count) {
            return false;
        }
        let position =
            inner
                .submissions
                .push(self.ring(), SubmissionKind::Notice, slot_index, generation);
        inner.slots.notices(slot_index).sent(position);
        inner.unrung_count += 1;
        true
    }

    /// Takes every completion that is there. Returns how many.
    pub fn drain(&self) -> Result<u32, Violation> {
        let entries = self.completion_entries();
        let entry_count = self.session.geometry.ring_entry_count();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let mut count = 0;
        while let Some(entry) = inner.completions.pop(entries) {
            let entry = entry?;
            count += 1;
            if count > entry_count {
                // No honest worker has more to say than the ring holds; one
                // that goes on would keep this thread for itself.
                return Err(RingError::Overrun(count, entry_count).into());
            }
            match inner.slots.on_entry(entry)? {
                EntryEffect::Wake(Some(waker)) => waker.wake(),
                EntryEffect::LookForEnd => inner.look_later.push(entry.slot_index),
                EntryEffect::Freed { was_open } => {
                    self.forget_file(entry.slot_index);
                    self.slot_freed(was_open);
                }
                EntryEffect::Wake(None) | EntryEffect::Nothing => {}
            }
        }
        if count > 0 {
            self.signs_of_life
                .set(self.signs_of_life.get().saturating_add(count));
            let head = self
                .session
                .regions
                .requests
                .u32_at(self.offsets.completion_head);
            inner.completions.publish_head(head);
            // Only now, or a change behind the last look would send no notice.
            for index in 0..inner.look_later.len() {
                let slot_index = inner.look_later[index];
                self.end_quarantine_if_done(&mut inner.slots, slot_index);
            }
            inner.look_later.clear();
        }
        Ok(count)
    }

    /// Whether completions wait to be drained.
    pub fn has_completions(&self) -> bool {
        !self
            .inner
            .borrow()
            .completions
            .is_empty(self.completion_entries())
    }

    /// Whether completions have been waiting for long though the bell should have been
    /// rung for them. The caller takes them then.
    pub fn rescue_lost_wake(&self, now_ms: u64) -> bool {
        let head = self
            .has_completions()
            .then(|| self.inner.borrow().completions.head());
        self.lost_wakes.is_lost(head, now_ms)
    }

    /// See [`SlotTable::poll_event`]; `None` once the lane has ended and the
    /// slot was not answered before.
    #[inline]
    pub(super) fn poll_event(&self, slot_index: u32, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.inner.borrow_mut().slots.poll_event(slot_index, cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending if self.over.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What its slots are in.
    pub fn load(&self) -> SlotLoad {
        self.inner.borrow().slots.load()
    }

    /// Phase and generation of each slot.
    pub fn slot_states(&self) -> Vec<(Phase, u32)> {
        self.inner.borrow().slots.states()
    }

    pub(super) fn phase(&self, slot_index: u32) -> Phase {
        self.inner.borrow().slots.phase(slot_index)
    }

    pub(super) fn set_deadline(&self, slot_index: u32, deadline_ms: u64) {
        let slots = &mut self.inner.borrow_mut().slots;
        slots.set_deadline(slot_index, deadline_ms);
    }

    pub(super) fn keep(&self, slot_index: u32, kept: Option<Kept>) -> Option<Kept> {
        std::mem::replace(self.inner.borrow_mut().slots.kept(slot_index), kept)
    }

    #[inline]
    pub(super) fn release(&self, slot_index: u32) {
        let was_open = self.inner.borrow_mut().slots.release(slot_index);
        self.forget_file(slot_index);
        self.slot_freed(was_open);
    }

    /// A file that came for a slot and was not asked for goes.
    #[inline]
    fn forget_file(&self, slot_index: u32) {
        self.session.files.forget(self.lane_index, slot_index);
    }

    #[inline]
    pub(super) fn slot_freed(&self, was_open: bool) {
        // Nobody waits for a place of such a response.
        if !was_open {
            self.queue.slot_freed(&self.session.routes);
        }
    }

    /// Gives up on a slot that the worker may still write to: it is told, and
    /// the slot waits for its word. Says whether the bell must be rung.
    pub(super) fn abandon(&self, slot_index: u32, generation: u32) -> bool {
        let words = self.slot_offsets(slot_index).request_words;
        let cancelled = words + std::mem::offset_of!(RequestWords, cancelled) as u64;
        let cancelled = self.session.regions.requests.u64_at(cancelled);
        store_tagged(cancelled, generation, CANCELLED);
        let overdue_ms = clock::coarse_ms() + self.timeout_ms.get();
        let quarantine = |inner: &mut Inner| inner.slots.quarantine(slot_index, overdue_ms);
        quarantine(&mut self.inner.borrow_mut());
        let rings = self.notify(slot_index, generation);
        let slots = &mut self.inner.borrow_mut().slots;
        self.end_quarantine_if_done(slots, slot_index);
        rings
    }

    /// Frees a quarantined slot whose streamed response has come to its end: the
    /// worker writes nothing after that word.
    fn end_quarantine_if_done(&self, slots: &mut SlotTable, slot_index: u32) {
        let words = self.slot_offsets(slot_index).response_words;
        let end = words + std::mem::offset_of!(ResponseWords, body_end) as u64;
        let end = self.session.regions.responses.u64_at(end);
        if slots.awaits_end(slot_index) && load_tagged(end, slots.generation(slot_index)).is_some()
        {
            let was_open = slots.end_quarantine(slot_index);
            self.forget_file(slot_index);
            self.slot_freed(was_open);
        }
    }

    /// See [`SlotTable::expire`].
    pub fn expire(&self, now_ms: u64) -> Option<u64> {
        self.inner.borrow_mut().slots.expire(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotway_shm_proto::atomic::Ordering;
    use slotway_shm_proto::doorbell::{Ringer, SleepEpoch};

    use crate::lanes::exchange::Exchange;
    use crate::lanes::queue::Order;

    use crate::routing::registration::RouteSpec;

    use slotway_shm_proto::geometry::Geometry;
    use slotway_shm_proto::region::WorkerRegions;

    #[test]
    #[cfg_attr(
        miri,
        ignore = "futexes of another process's scope are foreign to Miri"
    )]
    fn a_thread_that_one_lane_has_woken_is_not_woken_by_another_in_a_second_thread_s_stead() {
        let geometry = Geometry::new(2, 4, 65_536).unwrap();
        let route = RouteSpec::for_tests("/");
        let mut session = Session::for_tests(0, "two threads", vec![route], geometry);
        session.ringers = vec![Ringer::default(), Ringer::default()];
        let fds = [0, 1].map(|index: usize| {
            session.regions.fds.as_ref().unwrap()[index]
                .try_clone()
                .unwrap()
        });
        let worker = WorkerRegions::map(&fds, &geometry).unwrap();
        let session = Arc::new(session);
        let bells = || {
            let bell = |index| worker.requests.u32_at(geometry.thread_line(index));
            [0, 1].map(|index| bell(index).load(Ordering::Relaxed))
        };
        for index in 0..2 {
            SleepEpoch(worker.responses.u32_at(geometry.thread_line(index))).announce();
        }
        let lanes = [0, 1].map(|lane_index| {
            let session = Arc::clone(&session);
            Rc::new(Lane::new(
                session,
                lane_index,
                1000,
                LaneLimits {
                    requests: 4,
                    open_streams: 0,
                },
                [(); 2].map(|()| RouteQueues::new(Order::OldestFirst)),
                Rc::new(Recorder::new(Arc::default())),
            ))
        });
        for (lane, rung) in lanes.iter().zip([[1, 0], [1, 1]]) {
            let exchange = Exchange::reserve(lane).unwrap();
            exchange.submit(1000);
            lane.ring_bells();
            assert_eq!(bells(), rung);
        }
    }
}
