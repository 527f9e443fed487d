//! Merging what the threads of a run say.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use slotway_net::monotonic_ns;

use crate::load::message::{Message, Times};
use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Length, Observer, Plan, Stop};
use crate::load::recorder::Interval;
use crate::load::steps::steps;
use crate::load::streams::{StreamTally, Streams};
use crate::schedule::Rate;

/// Gathers intervals until every thread has ended.
pub struct Collector<'a> {
    plan: &'a Plan,
    times: Times,
    outcome: Outcome,
    /// Intervals of each thread that have not been merged yet.
    pending: Vec<VecDeque<(u64, Box<Interval>)>>,
    is_done: Vec<bool>,
    merged_until_ns: u64,
    last_response_ns: u64,
    /// Of event streams.
    tallies: Vec<StreamTally>,
}

impl<'a> Collector<'a> {
    /// Nothing yet.
    pub fn new(plan: &'a Plan, times: Times) -> Self {
        let mut outcome = Outcome::new();
        outcome.began += plan.warmup;
        outcome.streams = plan.follows_streams.then(Streams::default);
        Self {
            plan,
            times,
            outcome,
            pending: vec![VecDeque::new(); plan.thread_count],
            is_done: vec![false; plan.thread_count],
            merged_until_ns: times.measure_ns,
            last_response_ns: times.measure_ns,
            tallies: Vec::new(),
        }
    }

    /// Listens to the threads to their end.
    pub fn collect(
        mut self,
        stop: &Stop,
        messages: &Receiver<(usize, Message)>,
        observer: &mut impl Observer,
    ) -> Outcome {
        while let Ok((thread, message)) = messages.recv() {
            match message {
                Message::Ready(_) => {}
                Message::Interval { until_ns, interval } => {
                    self.pending[thread].push_back((until_ns, interval));
                    self.merge_pending(observer);
                }
                Message::Done {
                    unsent_count,
                    last_response_ns,
                    usage,
                    groups,
                    tallies,
                } => {
                    self.tallies.extend(tallies);
                    self.outcome.total.groups.merge(&groups);
                    self.is_done[thread] = true;
                    self.outcome.unsent_count += unsent_count;
                    self.outcome.cpu += Duration::from_nanos(usage.cpu_ns);
                    self.outcome.busy += Duration::from_nanos(usage.busy_ns);
                    self.last_response_ns = self.last_response_ns.max(last_response_ns);
                    self.merge_pending(observer);
                }
            }
        }
        self.finish(stop)
    }

    /// Merges intervals for as long as every thread that still runs has one.
    fn merge_pending(&mut self, observer: &mut impl Observer) {
        loop {
            let is_complete = (0..self.pending.len())
                .all(|thread| self.is_done[thread] || !self.pending[thread].is_empty());
            if !is_complete {
                return;
            }
            let mut fronts = self.pending.iter_mut().filter_map(VecDeque::pop_front);
            let Some((mut until_ns, mut interval)) = fronts.next() else {
                return;
            };
            for (other_until_ns, other) in fronts {
                until_ns = until_ns.max(other_until_ns);
                interval.merge(&other);
            }
            let until_ns = until_ns.max(self.merged_until_ns);
            let point = Point {
                from_seconds: self.seconds_measured(self.merged_until_ns),
                seconds: (until_ns - self.merged_until_ns) as f64 / 1e9,
                response_count: interval.response_count,
                error_count: interval.errors.count(),
                p50_ns: interval.latency.value_at_quantile(0.5),
                p99_ns: interval.latency.value_at_quantile(0.99),
                max_ns: interval.latency.max(),
                steps: steps(&interval.latency),
            };
            self.merged_until_ns = until_ns;
            self.outcome.total.merge(&interval);
            // The last interval of a run is a stub of the last responses.
            let is_stub = point.seconds * 1e9 < self.times.interval_ns as f64 / 2.0;
            // Nor do those count in which only late responses came.
            let planned = self.times.end_ns.saturating_sub(self.times.measure_ns) as f64 / 1e9;
            let is_behind = point.from_seconds + point.seconds / 2.0 > planned;
            if !(is_stub || is_behind) || self.outcome.points.is_empty() {
                self.outcome.points.push(point.clone());
            }
            self.outcome.elapsed =
                Duration::from_nanos(until_ns.min(self.times.end_ns) - self.times.measure_ns);
            observer.interval(&point, &interval, &self.outcome);
        }
    }

    fn seconds_measured(&self, at_ns: u64) -> f64 {
        at_ns.saturating_sub(self.times.measure_ns) as f64 / 1e9
    }

    fn finish(self, stop: &Stop) -> Outcome {
        let Self {
            plan,
            times,
            mut outcome,
            last_response_ns,
            tallies,
            ..
        } = self;
        let end_ns = match plan.length {
            Length::Count(_) if !stop.is_requested() => last_response_ns,
            Length::Time(_) if !stop.is_requested() => times.end_ns,
            _ => times.end_ns.min(monotonic_ns()),
        };
        outcome.thread_count = plan.thread_count;
        outcome.streams = plan.follows_streams.then(|| Streams::of(tallies));
        outcome.elapsed = Duration::from_nanos(end_ns.saturating_sub(times.measure_ns));
        outcome.asked_rate = plan.rate.as_ref().map(Rate::mean);
        if stop.is_requested() {
            outcome.partial = Some("ended by a signal".to_owned());
        }
        outcome
    }
}
