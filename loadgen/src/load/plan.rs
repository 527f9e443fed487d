//! What a run is to do, when it ends, and who sees it while it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slotway_net::Engine;

use super::outcome::{Outcome, Point};
use super::recorder::Interval;
use crate::limits::{
    CONNECTION_COUNT_DEFAULT, DURATION_SECONDS_DEFAULT, TIMEOUT_SECONDS_DEFAULT,
    WARMUP_SECONDS_DEFAULT,
};
use crate::schedule::Rate;
use crate::workload::Workload;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to ask.
    pub workload: Arc<Workload>,
    /// What moves the bytes.
    pub engine: Engine,
    /// Threads; each has its share of the connections and of the rate.
    pub thread_count: usize,
    /// Connections in all; at least one for each thread.
    pub connection_count: usize,
    /// Requests per second of an open loop; `None` is a closed loop.
    pub rate: Option<Rate>,
    /// Connections opened per second, in all.
    pub connect_rate: Option<f64>,
    /// Requests after which a connection is replaced.
    pub requests_per_connection: Option<u64>,
    /// Time before measuring.
    pub warmup: Duration,
    /// When measuring ends.
    pub length: Length,
    /// A request that takes longer is an error.
    pub timeout: Duration,
    /// Threads never sleep: less lag, a core each.
    pub spin: bool,
    /// Connections follow event streams: what is counted are events, and latencies are their
    /// delays, where they say when they were sent. There is no rate.
    pub follows_streams: bool,
}

impl Plan {
    /// A closed loop with the defaults of the command line, on one thread.
    pub fn new(workload: Workload, engine: Engine) -> Self {
        Self {
            workload: Arc::new(workload),
            engine,
            thread_count: 1,
            connection_count: CONNECTION_COUNT_DEFAULT,
            rate: None,
            connect_rate: None,
            requests_per_connection: None,
            warmup: Duration::from_secs_f64(WARMUP_SECONDS_DEFAULT),
            length: Length::Time(Duration::from_secs_f64(DURATION_SECONDS_DEFAULT)),
            timeout: Duration::from_secs_f64(TIMEOUT_SECONDS_DEFAULT),
            spin: false,
            follows_streams: false,
        }
    }
}

/// When measuring ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// After a time.
    Time(Duration),
    /// After so many requests.
    Count(u64),
}

/// Ends a run early.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
}

impl Stop {
    /// Asks for the end.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

/// Sees a run while it goes on.
pub trait Observer {
    /// The connections are open, and the load begins.
    fn started(&mut self, _plan: &Plan) {}

    /// An interval of the time measured is over.
    fn interval(&mut self, _point: &Point, _interval: &Interval, _so_far: &Outcome) {}
}

impl Observer for () {}
