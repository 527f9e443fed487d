//! What a worker counts, over all its sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sockets::WorkerSockets;
use crate::limits::THREAD_COUNT_BOUND;

/// What the requests of one receiving thread come to; on a line of cache of its own, since it
/// is touched for every request.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line {
    begun: AtomicU64,
    ended: AtomicU64,
    handler_ns: AtomicU64,
}

/// The numbers that a worker's threads add to.
#[derive(Debug)]
pub(crate) struct Meter {
    /// One for each receiving thread there may be.
    lines: [Line; THREAD_COUNT_BOUND as usize],
    failed: AtomicU64,
    lost_wakes: AtomicU64,
    attached: AtomicU64,
    /// Client sockets that it holds.
    pub sockets: WorkerSockets,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            lines: std::array::from_fn(|_| Line::default()),
            failed: AtomicU64::new(0),
            lost_wakes: AtomicU64::new(0),
            attached: AtomicU64::new(0),
            sockets: WorkerSockets::default(),
        }
    }
}

impl Meter {
    fn line(&self, thread_index: u32) -> &Line {
        &self.lines[thread_index as usize % self.lines.len()]
    }

    /// A handler begins with a request that this thread has received.
    #[inline]
    pub fn began(&self, thread_index: u32) {
        self.line(thread_index)
            .begun
            .fetch_add(1, Ordering::Relaxed);
    }

    /// It has given its response.
    #[inline]
    pub fn ended(&self, thread_index: u32, took: Duration) {
        let line = self.line(thread_index);
        line.ended.fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        line.handler_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// A handler panicked, or gave what is no response: the client got 500.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A wake-up of this worker was lost; returns how many were.
    pub fn lost_wake(&self) -> u64 {
        self.lost_wakes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A session with a hub has begun.
    pub fn attached(&self) {
        self.attached.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything, as it is now.
    pub fn read(&self, session_count: usize) -> WorkerMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // What has ended had begun: looked at in this order, none is in flight twice.
        let ended: u64 = self.lines.iter().map(|line| read(&line.ended)).sum();
        let begun: u64 = self.lines.iter().map(|line| read(&line.begun)).sum();
        let handler_ns = self.lines.iter().map(|line| read(&line.handler_ns)).sum();
        WorkerMetrics {
            requests: begun,
            in_flight: begun.saturating_sub(ended),
            handler_time: Duration::from_nanos(handler_ns),
            failed: read(&self.failed),
            lost_wakes: read(&self.lost_wakes),
            reconnects: read(&self.attached).saturating_sub(1),
            is_attached: session_count > 0,
            upgraded_connections: self.sockets.count(),
        }
    }
}

/// What a worker has counted so far, for those who export numbers of their own; see
/// [`RunningWorker::metrics`](crate::RunningWorker::metrics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Requests that handlers have begun with.
    pub requests: u64,
    /// Those of them whose handlers have not given their response yet.
    pub in_flight: u64,
    /// What the handlers of all others took together, from the beginning to the response.
    pub handler_time: Duration,
    /// Requests whose handlers panicked or gave what is no response; their clients got 500.
    pub failed: u64,
    /// Wake-ups of this worker that were lost and found later; not 0 is a bug.
    pub lost_wakes: u64,
    /// Sessions with a hub after the first: the worker lost its hub and came back, or moved to
    /// a new one.
    pub reconnects: u64,
    /// It is attached to a hub now.
    pub is_attached: bool,
    /// Connections of clients that it holds, such as those of WebSocket: those that it was handed and has
    /// not closed.
    pub upgraded_connections: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_what_has_begun_and_not_ended() {
        let meter = Meter::default();
        assert_eq!(meter.read(0), WorkerMetrics::default());
        for thread_index in 0..3 {
            meter.began(thread_index);
        }
        meter.ended(1, Duration::from_micros(5));
        meter.failed();
        meter.attached();
        meter.attached();
        let read = meter.read(1);
        assert_eq!((read.requests, read.in_flight, read.failed), (3, 2, 1));
        assert_eq!(read.handler_time, Duration::from_micros(5));
        assert_eq!((read.reconnects, read.is_attached), (1, true));
        assert_eq!(meter.lost_wake(), 1);
    }
}
