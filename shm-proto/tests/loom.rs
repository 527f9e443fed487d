//! The ring and doorbell protocol under every interleaving that loom explores
//! (bounded by `LOOM_MAX_PREEMPTIONS`; see `just loom`).
//!
//! A wake that gets lost shows as a deadlock, which loom reports.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;
use slotway_shm_proto::atomic::{
    AtomicU32, AtomicU64, Ordering, OwnU32, OwnU64, OwnWords, PeerU32, PeerU64, PeerWords,
};
use slotway_shm_proto::claim::{give_up, take};
use slotway_shm_proto::doorbell::{Ringer, SleepEpoch};
use slotway_shm_proto::ring::{
    CompletionConsumer, CompletionKind, CompletionProducer, NoticeGate, SubmissionIn,
    SubmissionKind, SubmissionOut, SubmissionProducer,
};
use slotway_shm_proto::tagged::{load_tagged, store_tagged};

/// The words of one lane that a model needs, and a bell in each direction.
/// `Notify` keeps one ring for a sleeper that comes late, as a changed futex
/// word and an eventfd's counter do.
struct Lane {
    submission_tail: AtomicU32,
    submission_head: AtomicU32,
    submission_entries: Vec<AtomicU64>,
    completion_entries: Vec<AtomicU64>,
    completion_head: AtomicU32,
    sleep: AtomicU32,
    cursor: AtomicU64,
    bell: Notify,
}

impl Lane {
    fn new() -> Arc<Self> {
        let words = || (0..4).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            submission_tail: AtomicU32::new(0),
            submission_head: AtomicU32::new(0),
            submission_entries: words(),
            completion_entries: words(),
            completion_head: AtomicU32::new(0),
            sleep: AtomicU32::new(0),
            cursor: AtomicU64::new(0),
            bell: Notify::new(),
        })
    }

    fn submission_out(&self) -> SubmissionOut<'_> {
        SubmissionOut {
            tail: OwnU32::new(&self.submission_tail),
            entries: OwnWords::new(&self.submission_entries),
        }
    }

    fn submission_in(&self) -> SubmissionIn<'_> {
        SubmissionIn {
            tail: PeerU32::new(&self.submission_tail),
            head: OwnU32::new(&self.submission_head),
            entries: PeerWords::new(&self.submission_entries),
        }
    }

    fn ring_if_asleep(&self, ringer: &Ringer) {
        Ringer::after_publishing();
        if ringer.must_ring(PeerU32::new(&self.sleep)) {
            self.bell.notify();
        }
    }
}

#[test]
fn a_worker_that_sleeps_between_submissions_gets_every_one() {
    loom::model(|| {
        let lane = Lane::new();
        let hub = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                let (mut producer, ringer) = (SubmissionProducer::default(), Ringer::default());
                for slot_index in 0..2 {
                    producer.push(
                        lane.submission_out(),
                        SubmissionKind::Request,
                        slot_index,
                        1,
                    );
                    lane.ring_if_asleep(&ringer);
                }
            })
        };
        let sleep = SleepEpoch(OwnU32::new(&lane.sleep));
        let mut next = 0;
        while next < 2 {
            if let Some(entry) = lane.submission_in().claim() {
                assert_eq!(entry.unwrap().slot_index, next);
                next += 1;
                continue;
            }
            sleep.announce();
            if lane.submission_in().is_empty() {
                lane.bell.wait();
            }
            sleep.awake();
        }
        hub.join().unwrap();
    });
}

#[test]
fn a_hub_that_sleeps_gets_the_answers_of_two_worker_threads_with_one_shared_ringer() {
    loom::model(|| {
        let lane = Lane::new();
        let shared = Arc::new((CompletionProducer::default(), Ringer::default()));
        let workers: Vec<_> = (0..2)
            .map(|slot_index| {
                let (lane, shared) = (Arc::clone(&lane), Arc::clone(&shared));
                thread::spawn(move || {
                    let entries = OwnWords::new(&lane.completion_entries);
                    shared
                        .0
                        .push(entries, CompletionKind::Response, slot_index, 1);
                    lane.ring_if_asleep(&shared.1);
                })
            })
            .collect();
        let sleep = SleepEpoch(OwnU32::new(&lane.sleep));
        let entries = PeerWords::new(&lane.completion_entries);
        let mut consumer = CompletionConsumer::default();
        let mut seen = [false; 2];
        while seen != [true; 2] {
            if let Some(entry) = consumer.pop(entries) {
                let entry = entry.unwrap();
                assert!(!std::mem::replace(
                    &mut seen[entry.slot_index as usize],
                    true
                ));
                continue;
            }
            sleep.announce();
            if consumer.is_empty(entries) {
                lane.bell.wait();
            }
            sleep.awake();
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn two_worker_threads_never_claim_the_same_submission() {
    loom::model(|| {
        let lane = Lane::new();
        let mut producer = SubmissionProducer::default();
        producer.push(lane.submission_out(), SubmissionKind::Request, 0, 1);
        let other = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || lane.submission_in().claim().map(|e| e.unwrap().slot_index))
        };
        producer.push(lane.submission_out(), SubmissionKind::Request, 1, 1);
        let mine = lane.submission_in().claim().map(|e| e.unwrap().slot_index);
        let theirs = other.join().unwrap();
        assert!(mine.is_some() && theirs.is_some());
        assert_ne!(mine, theirs);
    });
}

#[test]
fn a_notice_that_the_gate_holds_back_leaves_no_change_unseen() {
    loom::model(|| {
        let lane = Lane::new();
        let sender = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                let (producer, mut gate) = (CompletionProducer::default(), NoticeGate::default());
                for value in 1..=3 {
                    store_tagged(OwnU64::new(&lane.cursor), 1, value);
                    if gate.must_send(PeerU32::new(&lane.completion_head), 2) {
                        let entries = OwnWords::new(&lane.completion_entries);
                        gate.sent(producer.push(entries, CompletionKind::Notice, 0, 1));
                    }
                }
            })
        };
        let mut consumer = CompletionConsumer::default();
        let mut seen = None;
        let mut drain = || {
            while let Some(entry) = consumer.pop(PeerWords::new(&lane.completion_entries)) {
                entry.unwrap();
                consumer.publish_head(OwnU32::new(&lane.completion_head));
                seen = load_tagged(PeerU64::new(&lane.cursor), 1);
            }
        };
        drain();
        sender.join().unwrap();
        drain();
        assert_eq!(seen, Some(3));
        // A look at the words that the model does not use.
        assert!(lane.submission_head.load(Ordering::Relaxed) == 0);
    });
}

#[test]
fn a_worker_notice_gate_and_claim_leave_no_change_unseen() {
    loom::model(|| {
        let lane = Lane::new();
        let hub = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                let (mut producer, mut gate) =
                    (SubmissionProducer::default(), NoticeGate::default());
                for value in 1..=3 {
                    store_tagged(OwnU64::new(&lane.cursor), 1, value);
                    if gate.must_send(PeerU32::new(&lane.submission_head), 2) {
                        let out = lane.submission_out();
                        gate.sent(producer.push(out, SubmissionKind::Notice, 0, 1));
                    }
                }
            })
        };
        let mut seen = None;
        let mut drain = || {
            while let Some(entry) = lane.submission_in().claim() {
                entry.unwrap();
                seen = load_tagged(PeerU64::new(&lane.cursor), 1);
            }
        };
        drain();
        hub.join().unwrap();
        drain();
        assert_eq!(seen, Some(3));
    });
}

#[test]
fn a_request_that_is_given_up_while_it_is_taken_never_runs_twice() {
    loom::model(|| {
        let words = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let worker = {
            let words = Arc::clone(&words);
            thread::spawn(move || take(OwnU64::new(&words.0), PeerU64::new(&words.1), 7))
        };
        let is_rerouted = give_up(OwnU64::new(&words.1), PeerU64::new(&words.0), 7);
        let runs_here = worker.join().unwrap();
        assert!(!(is_rerouted && runs_here), "it runs here and elsewhere");
    });
}
