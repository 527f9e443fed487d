//! How often each named failure has happened.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often each named failure has happened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that had to wait for a slot.
    pub queued: AtomicU64,
    /// 503: every slot of the route's workers was in use, and so was its queue.
    pub queue_full: AtomicU64,
    /// 503: no slot came free before the deadline.
    pub queue_timed_out: AtomicU64,
    /// 503: no worker of the route was there, and none came in time.
    pub no_worker: AtomicU64,
    /// Requests given up since their clients had left.
    pub client_left: AtomicU64,
    /// Requests given to another worker, since theirs went before it began.
    pub rerouted: AtomicU64,
    /// 504: the worker did not answer in time.
    pub timed_out: AtomicU64,
    /// 502: the worker went away with the request.
    pub worker_gone: AtomicU64,
    /// 502: the worker's response could not be sent to a client.
    pub bad_response: AtomicU64,
    /// Completions that waited though their bell should have been rung: 0.
    pub lost_wakes: AtomicU64,
    /// Events that a client of an event stream was too slow for.
    pub events_lost: AtomicU64,
    /// Clients ended since they were too slow for a slot that others waited for.
    pub slow_clients: AtomicU64,
    /// 503: too many responses of a worker were being streamed.
    pub streams_refused: AtomicU64,
    /// Connections closed since they did not begin with a PROXY header of somebody who may send one.
    pub proxy_refused: AtomicU64,
    /// Sessions ended because their worker broke the protocol.
    pub violations: AtomicU64,
}

impl Counters {
    /// Each by its name, with what it counts.
    pub fn all(&self) -> [(&'static str, &'static str, &AtomicU64); 15] {
        [
            (
                "queued",
                "requests that had to wait for a slot or a worker",
                &self.queued,
            ),
            (
                "queue_full",
                "503: every slot was in use, and so was the queue",
                &self.queue_full,
            ),
            (
                "queue_timed_out",
                "503: no slot came free in time",
                &self.queue_timed_out,
            ),
            (
                "no_worker",
                "503: no worker was there, and none came in time",
                &self.no_worker,
            ),
            (
                "client_left",
                "requests whose clients left",
                &self.client_left,
            ),
            (
                "rerouted",
                "requests given to another worker",
                &self.rerouted,
            ),
            (
                "timed_out",
                "504: the worker did not respond in time",
                &self.timed_out,
            ),
            (
                "worker_gone",
                "502: the worker went with the request",
                &self.worker_gone,
            ),
            (
                "bad_response",
                "502: the worker's response was not valid",
                &self.bad_response,
            ),
            (
                "slow_clients",
                "clients ended for being slow while others waited",
                &self.slow_clients,
            ),
            (
                "streams_refused",
                "503: too many responses were streaming",
                &self.streams_refused,
            ),
            (
                "events_lost",
                "events that clients were too slow for",
                &self.events_lost,
            ),
            (
                "proxy_refused",
                "connections closed for a PROXY header that is missing, malformed or not allowed",
                &self.proxy_refused,
            ),
            (
                "violations",
                "sessions ended since their worker broke the protocol",
                &self.violations,
            ),
            (
                "lost_wakes",
                "wake-ups of the hub that were lost; a bug",
                &self.lost_wakes,
            ),
        ]
    }

    /// Counts one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
