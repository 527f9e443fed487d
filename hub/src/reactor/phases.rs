//! Where requests' time goes (`--instrumentation`): one histogram per phase and
//! reactor, logged every few seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use slotway_net::monotonic_ns;

use crate::limits::PHASE_LOG_INTERVAL;

/// Moments of one request, nanoseconds on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// The head was whole.
    pub arrived_ns: u64,
    /// The slot was submitted.
    pub submitted_ns: u64,
    /// A worker thread took it.
    pub taken_ns: u64,
    /// The handler had answered.
    pub responded_ns: u64,
    /// The connection's task saw the response.
    pub seen_ns: u64,
    /// The response was written to the socket.
    pub written_ns: u64,
}

impl Moments {
    /// How long each phase took, in nanoseconds, in the order of time. A worker's moments are
    /// claims: a later "earlier" one makes 0.
    pub fn phases(&self) -> [u64; 5] {
        let moments = [
            self.arrived_ns,
            self.submitted_ns,
            self.taken_ns,
            self.responded_ns,
            self.seen_ns,
            self.written_ns,
        ];
        std::array::from_fn(|index| moments[index + 1].saturating_sub(moments[index]))
    }

    /// Appends a Server-Timing field (W3C Server Timing), in milliseconds. It
    /// has to be sent before the response is, so its `write` ends now: it is the
    /// time from the handler's response to the head's encoding.
    pub fn append_server_timing(&self, out: &mut Vec<u8>) {
        let steps = [
            ("parse", self.arrived_ns, self.submitted_ns),
            ("queue", self.submitted_ns, self.taken_ns),
            ("worker", self.taken_ns, self.responded_ns),
            ("write", self.responded_ns, monotonic_ns()),
        ];
        out.extend_from_slice(b"Server-Timing: ");
        for (index, (name, from, to)) in steps.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let milliseconds = to.saturating_sub(from) as f64 / 1e6;
            write!(out, "{separator}{name};dur={milliseconds:.4}").expect("a Vec takes everything");
        }
        out.extend_from_slice(b"\r\n");
    }
}

const PHASES: [&str; 5] = ["parse", "queue", "worker", "return", "write"];

/// Histograms of one reactor.
#[derive(Debug)]
pub struct PhaseRecorder {
    reactor_index: u32,
    histograms: [Histogram<u64>; 5],
    last_log: Instant,
}

impl PhaseRecorder {
    /// Empty ones.
    pub fn new(reactor_index: u32) -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, 100_000_000_000, 2).expect("constant, legal bounds");
        Self {
            reactor_index,
            histograms: std::array::from_fn(|_| histogram()),
            last_log: Instant::now(),
        }
    }

    /// Notes one request, and logs when it is time to.
    pub fn record(&mut self, moments: &Moments) {
        for (histogram, ns) in self.histograms.iter_mut().zip(moments.phases()) {
            histogram.saturating_record(ns);
        }
        if self.last_log.elapsed() >= PHASE_LOG_INTERVAL {
            self.log();
        }
    }

    fn log(&mut self) {
        let microseconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        let phases: Vec<_> = PHASES
            .iter()
            .zip(&self.histograms)
            .map(|(name, histogram)| {
                format!(
                    "{name} {:.1}/{:.1}",
                    microseconds(histogram.value_at_quantile(0.5)),
                    microseconds(histogram.value_at_quantile(0.99))
                )
            })
            .collect();
        tracing::info!(
            reactor = self.reactor_index,
            requests = self.histograms[0].len(),
            "phases p50/p99 in µs: {}",
            phases.join(", ")
        );
        for histogram in &mut self.histograms {
            histogram.reset();
        }
        self.last_log = Instant::now();
    }
}
