//! Histograms of one thread over one interval. Nanoseconds, three significant
//! digits, constant memory however many values.

use hdrhistogram::Histogram;

use crate::limits::{HISTOGRAM_DIGITS, LATENCY_NS_MAX};
use crate::load::connection::Seen;
use crate::load::errors::Errors;
use crate::load::groups::{Groups, new_group};
use crate::load::server_timing::Phases;
use crate::load::statuses::Statuses;

/// What happened in an interval, on one thread or, merged, on all.
#[derive(Clone, Debug)]
pub struct Interval {
    /// From the intended time (open loop) or from sending (closed loop) to the
    /// response's end.
    pub latency: Histogram<u64>,
    /// From sending to the response's end; empty in a closed loop, where it is
    /// the same.
    pub service: Histogram<u64>,
    /// How late the generator itself was: in an open loop to send a request
    /// that a connection was free for, in a closed loop to run when it asked to.
    pub lag: Histogram<u64>,
    /// Server-Timing, if the server sends it.
    pub phases: Option<Box<[Histogram<u64>; 4]>>,
    /// Right responses: in an open loop to requests that were due in the time
    /// measured, in a closed loop those that came in that time.
    pub response_count: u64,
    /// Requests that were due and had no response when the run ended. Their
    /// latencies are the times they had waited, so at least that.
    pub waited_count: u64,
    /// Wrong and missing responses.
    pub errors: Errors,
    /// Statuses of the responses whose latencies or errors were counted.
    pub statuses: Statuses,
    /// Bytes of those responses, heads and bodies.
    pub received_bytes: u64,
    /// How long connecting took, of every connection of the run.
    pub connect: Histogram<u64>,
    /// Latencies told apart; only of a whole run.
    pub groups: Groups,
}

/// An empty histogram of times in nanoseconds.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, HISTOGRAM_DIGITS).expect("constant, legal bounds")
}

impl Default for Interval {
    fn default() -> Self {
        Self::new()
    }
}

impl Interval {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            latency: new_histogram(),
            service: new_histogram(),
            lag: new_histogram(),
            phases: None,
            response_count: 0,
            waited_count: 0,
            errors: Errors::default(),
            statuses: Statuses::default(),
            received_bytes: 0,
            connect: new_group(),
            groups: Groups::default(),
        }
    }

    /// Notes what the server told of a request.
    pub fn record_phases(&mut self, phases: &Phases) {
        let histograms = self
            .phases
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| new_histogram())));
        for (histogram, phase) in histograms.iter_mut().zip(phases) {
            if let Some(nanoseconds) = phase {
                histogram.saturating_record(*nanoseconds);
            }
        }
    }

    /// Notes what a whole response was.
    pub fn note(&mut self, seen: Seen) {
        self.statuses.add(seen.status, 1);
        self.received_bytes += seen.bytes;
    }

    /// Adds what another thread, or a later interval, has.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.lag, &other.lag),
        ];
        for (histogram, more) in pairs {
            histogram.add(more).expect("the same bounds");
        }
        if let Some(more) = &other.phases {
            let phases = self
                .phases
                .get_or_insert_with(|| Box::new(std::array::from_fn(|_| new_histogram())));
            for (histogram, more) in phases.iter_mut().zip(more.iter()) {
                histogram.add(more).expect("the same bounds");
            }
        }
        self.response_count += other.response_count;
        self.waited_count += other.waited_count;
        self.errors.merge(&other.errors);
        self.statuses.merge(&other.statuses);
        self.received_bytes += other.received_bytes;
        self.groups.merge(&other.groups);
        self.connect
            .add(&other.connect)
            .expect("it grows as it must");
    }
}
