//! What one receiving thread keeps between requests, and what it has learnt of its
//! handlers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use tokio_util::sync::ReusableBoxFuture;

use super::runtime::Spawner;
#[cfg(feature = "tokio")]
use crate::exchange::response::Response;

#[cfg(feature = "tokio")]
/// The memory of an async handler's future, re-used between requests.
pub(crate) type FutureCell = ReusableBoxFuture<'static, Response>;

/// What one receiving thread keeps between requests.
pub(crate) struct HandlerScratch {
    /// What handlers usually take on this thread.
    pub usual_ns: u32,
    /// By which thread and when the handler that runs was begun.
    pub begun: (u32, Instant),
    #[cfg(feature = "tokio")]
    pub future: Option<FutureCell>,
    #[cfg(feature = "tokio")]
    pub spawner: Spawner,
    /// Whether the runtime has as many threads as receive requests, or more: then
    /// handlers that block are better off there.
    #[cfg(feature = "tokio")]
    pub offloads: bool,
    /// The last handler went to the runtime at once, which learns what it takes.
    pub offloaded: bool,
}

impl HandlerScratch {
    #[cfg_attr(not(feature = "tokio"), expect(unused_variables))]
    pub fn new(spawner: &Spawner, receiver_count: u32) -> Self {
        Self {
            usual_ns: UNKNOWN_NS,
            begun: (0, Instant::now()),
            offloaded: false,
            #[cfg(feature = "tokio")]
            future: None,
            #[cfg(feature = "tokio")]
            spawner: spawner.clone(),
            #[cfg(feature = "tokio")]
            offloads: spawner.thread_count() >= receiver_count as usize,
        }
    }

    /// Learns from one run of a handler.
    pub fn learn(&mut self, took: Duration) {
        self.usual_ns = moving_average(self.usual_ns, took);
    }
}

/// What a handler takes that has not run yet: it counts as slow.
pub(crate) const UNKNOWN_NS: u32 = u32::MAX;

/// Learns from one run; returns the time now.
pub(crate) fn learn(usual_ns: &AtomicU32, started: Instant) -> Instant {
    let now = Instant::now();
    let usual = usual_ns.load(Ordering::Relaxed);
    let next = moving_average(usual, now - started);
    usual_ns.store(next, Ordering::Relaxed);
    now
}

/// An average over some eight runs; the first run stands alone.
fn moving_average(usual_ns: u32, took: Duration) -> u32 {
    let took_ns = u32::try_from(took.as_nanos()).unwrap_or(UNKNOWN_NS - 1);
    if usual_ns == UNKNOWN_NS {
        took_ns
    } else {
        usual_ns - usual_ns / 8 + took_ns / 8
    }
}

pub(crate) const PANICKED: &str = "the handler panicked";
