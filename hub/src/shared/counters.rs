//! How often each named failure has happened.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters: each by its name, with what it counts.
macro_rules! counters {
    ($($name:ident: $what:literal,)+) => {
        /// How often each named failure has happened.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $what] pub $name: AtomicU64,)+
        }

        impl Counters {
            /// Each by its name, with what it counts.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &AtomicU64)> {
                [$((stringify!($name), $what, &self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    queued: "requests that had to wait for a slot or a worker",
    queue_full: "503: every slot was in use, and so was the queue",
    queue_timed_out: "503: no slot came free in time",
    no_worker: "503: no worker was there, and none came in time",
    client_left: "requests whose clients left",
    rerouted: "requests given to another worker",
    timed_out: "504: the worker did not respond in time",
    worker_gone: "502: the worker went with the request",
    bad_response: "502: the worker's response was not valid",
    slow_clients: "clients ended for being slow while others waited",
    both_silent: "408: a client had paused in its body, and neither it nor its handler went on",
    streams_refused: "503: too many responses were streaming",
    events_lost: "events that clients were too slow for",
    proxy_refused: "connections closed for a PROXY header that is missing, malformed or not allowed",
    violations: "sessions ended since their worker broke the protocol",
    lost_wakes: "wake-ups of the hub that were lost; a bug",
}

impl Counters {
    /// Counts one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
