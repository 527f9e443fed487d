//! The life of slots under random orders of everything that hub and worker do, on
//! real shared memory in one process, with the worker crashing at any step. A seed
//! names an order.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use slotway_shm_proto::claim;
use slotway_shm_proto::doorbell::Ringer;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::layout::{RequestHead, ResponseHead};
use slotway_shm_proto::region::WorkerRegions;
use slotway_shm_proto::ring::{
    CompletionKind, CompletionProducer, Entry, SubmissionIn, SubmissionKind,
};

use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::lane::Lane;
use crate::lanes::queue::{Order, RouteQueues};
use crate::lanes::slot::Event;
use crate::lanes::streams::LaneLimits;
use crate::metrics::recorder::Recorder;
use crate::routing::registration::RouteSpec;
use crate::routing::session::Session;

const SLOT_COUNT: u32 = 3;
const STEP_COUNT: u32 = 300;
const DEADLINE_MS: u64 = u64::MAX / 2;

/// The hub's side: a lane, and the requests that somebody waits for.
struct Hub {
    lane: Rc<Lane>,
    /// Each request's number travels as the length of its body.
    waiting: Vec<(u64, Exchange)>,
    next_number: u64,
    answered: BTreeSet<u64>,
}

/// The worker's side.
struct Worker {
    regions: WorkerRegions,
    geometry: Geometry,
    completions: CompletionProducer,
    /// Requests whose handlers run.
    running: HashMap<(u32, u32), u64>,
    ran: BTreeSet<u64>,
}

/// A lane with one route, and the worker's view of its memory.
pub fn lane_and_regions(route: RouteSpec, geometry: Geometry) -> (Rc<Lane>, WorkerRegions) {
    let mut session = Session::for_tests(0, "simulated", vec![route], geometry);
    session.ringers = vec![Ringer::default()];
    let fds = session.regions.fds.take().expect("nobody has taken them");
    let regions = WorkerRegions::map(&fds, &geometry).unwrap();
    let lane = Lane::new(
        Arc::new(session),
        0,
        1000,
        LaneLimits {
            requests: geometry.slot_count(),
            open_streams: 0,
        },
        [(); 2].map(|()| RouteQueues::new(Order::OldestFirst)),
        Rc::new(Recorder::new(Arc::default())),
    );
    (Rc::new(lane), regions)
}

/// What the worker takes from the lane.
pub fn submissions<'m>(regions: &'m WorkerRegions, geometry: &Geometry) -> SubmissionIn<'m> {
    let lane = geometry.lane(0);
    let word_count = geometry.ring_entry_count() as usize * 2;
    SubmissionIn {
        tail: regions.requests.u32_at(lane.submission_tail),
        head: regions.responses.u32_at(lane.submission_head),
        entries: regions
            .requests
            .words_at(lane.submission_entries, word_count),
    }
}

fn pair() -> (Hub, Worker) {
    let geometry = Geometry::new(1, SLOT_COUNT, 65_536).unwrap();
    let (lane, regions) = lane_and_regions(RouteSpec::for_tests("/"), geometry);
    let worker = Worker {
        regions,
        geometry,
        completions: CompletionProducer::default(),
        running: HashMap::new(),
        ran: BTreeSet::new(),
    };
    let hub = Hub {
        lane,
        waiting: Vec::new(),
        next_number: 1,
        answered: BTreeSet::new(),
    };
    (hub, worker)
}

impl Hub {
    fn step(&mut self, random: &mut Rng) {
        match random.u32(..10) {
            0..4 => self.ask(),
            4..8 => self.look(),
            // A client leaves: the slot must come back by itself.
            _ if !self.waiting.is_empty() => {
                let index = random.usize(..self.waiting.len());
                drop(self.waiting.swap_remove(index));
            }
            _ => {}
        }
    }

    fn ask(&mut self) {
        let Some(exchange) = Exchange::reserve(&self.lane) else {
            return;
        };
        let number = self.next_number;
        self.next_number += 1;
        exchange.write_head(&RequestHead {
            generation: exchange.generation(),
            body_bytes: number,
            ..RequestHead::default()
        });
        exchange.submit(DEADLINE_MS);
        self.waiting.push((number, exchange));
    }

    fn look(&mut self) {
        self.lane.drain().expect("an honest worker");
        let mut cx = Context::from_waker(Waker::noop());
        let mut index = 0;
        while index < self.waiting.len() {
            let (number, exchange) = &self.waiting[index];
            match exchange.poll_outcome(&mut cx) {
                Poll::Ready(Outcome::Event(Event::Responded)) => {
                    let head = exchange.copy_head();
                    assert_eq!(head.generation, exchange.generation());
                    assert_eq!(head.body_bytes, *number, "another request's response");
                    assert!(self.answered.insert(*number), "answered twice");
                    self.waiting.swap_remove(index).1.release();
                }
                Poll::Ready(outcome) => panic!("{outcome:?}"),
                Poll::Pending => index += 1,
            }
        }
    }
}

impl Worker {
    fn step(&mut self, random: &mut Rng) {
        if random.bool() {
            self.receive();
        } else if let Some(key) = self.running.keys().min().copied() {
            self.respond(key);
        }
    }

    fn receive(&mut self) -> bool {
        let lane = self.geometry.lane(0);
        let (requests, responses) = (&self.regions.requests, &self.regions.responses);
        let ring = submissions(&self.regions, &self.geometry);
        let Some(entry) = ring.claim() else {
            return false;
        };
        let Entry {
            kind,
            slot_index,
            generation,
            ..
        } = entry.expect("an honest hub");
        if kind == SubmissionKind::Notice {
            return true;
        }
        let slot = self.geometry.slot(&lane, slot_index);
        let head: RequestHead = requests.copy_head(slot.request_head);
        let number = head.body_bytes;
        // The words as `RequestWords` and `ResponseWords` have them.
        let taken = responses.u64_at(slot.response_words);
        let cancelled = requests.u64_at(slot.request_words + 24);
        self.running.insert((slot_index, generation), number);
        if claim::take(taken, cancelled, generation) {
            assert!(self.ran.insert(number), "run twice");
        } else {
            self.respond((slot_index, generation));
        }
        true
    }

    fn respond(&mut self, key: (u32, u32)) {
        let number = self.running.remove(&key).expect("it runs");
        let (slot_index, generation) = key;
        let lane = self.geometry.lane(0);
        let slot = self.geometry.slot(&lane, slot_index);
        let responses = &self.regions.responses;
        responses.write_head(
            slot.response_head,
            &ResponseHead {
                generation,
                body_bytes: number,
                ..ResponseHead::default()
            },
        );
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        let entries = responses.words_at(lane.completion_entries, word_count);
        self.completions
            .push(entries, CompletionKind::Response, slot_index, generation);
    }
}

#[test]
fn whatever_the_order_every_request_is_answered_once_and_every_slot_comes_back() {
    for seed in 0..2000 {
        let mut random = Rng::with_seed(seed);
        let (mut hub, mut worker) = pair();
        for _ in 0..STEP_COUNT {
            if random.bool() {
                hub.step(&mut random);
            } else {
                worker.step(&mut random);
            }
        }
        while worker.receive() {}
        for key in worker.running.keys().copied().collect::<Vec<_>>() {
            worker.respond(key);
        }
        hub.look();
        assert!(hub.waiting.is_empty(), "seed {seed}: unanswered");
        assert_eq!(hub.lane.used_count(), 0, "seed {seed}: slots went astray");
        assert!(
            hub.answered.is_subset(&worker.ran),
            "seed {seed}: nobody ran it"
        );
    }
}

#[test]
fn wherever_the_worker_crashes_what_is_rerouted_was_never_run_and_never_will_be() {
    for seed in 0..2000 {
        let mut random = Rng::with_seed(seed);
        let (mut hub, mut worker) = pair();
        for _ in 0..random.u32(1..STEP_COUNT) {
            if random.bool() {
                hub.step(&mut random);
            } else {
                worker.step(&mut random);
            }
        }
        // The hub notices; a worker that is only put out may go on for a while.
        hub.look();
        hub.lane.end();
        let mut rerouted = BTreeSet::new();
        for (number, exchange) in hub.waiting.drain(..) {
            let mut cx = Context::from_waker(Waker::noop());
            let outcome = exchange.poll_outcome(&mut cx);
            assert_eq!(outcome, Poll::Ready(Outcome::WorkerGone), "seed {seed}");
            if random.bool() {
                worker.receive();
            }
            if exchange.give_up() {
                rerouted.insert(number);
            }
        }
        while worker.receive() {}
        let both: Vec<_> = rerouted.intersection(&worker.ran).collect();
        assert!(
            both.is_empty(),
            "seed {seed}: {both:?} ran here and elsewhere"
        );
    }
}
