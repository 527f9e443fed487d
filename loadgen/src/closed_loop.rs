//! N connections that each send a request when the last was answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use crate::client::{Client, RequestError};
use crate::limits::{LATENCY_NS_MAX, PROGRESS_INTERVAL, RECONNECT_PAUSE, REQUEST_TIME_MAX};
use crate::target::Target;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask.
    pub target: Target,
    /// Connections.
    pub connection_count: usize,
    /// Time before measuring.
    pub warmup: Duration,
    /// Time measured.
    pub duration: Duration,
}

/// What came of it. Latencies are in nanoseconds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One latency per response with a status below 400.
    pub latencies: Histogram<u64>,
    /// Errors by kind: `connect`, `reset`, `timeout`, `malformed`, `status 503` …
    pub errors: BTreeMap<String, u64>,
    /// Time measured.
    pub elapsed: Duration,
}

/// How it goes; shown while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Time measured so far; `None` during the warm-up.
    pub measured: Option<Duration>,
    /// Time to measure in all.
    pub total: Duration,
    /// Requests per second since the last progress.
    pub rate: f64,
    /// Median so far, in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile so far, in nanoseconds.
    pub p99_ns: u64,
    /// Errors so far.
    pub error_count: u64,
}

impl Outcome {
    fn new() -> Self {
        let latencies =
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant, legal bounds");
        Self {
            latencies,
            errors: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Responses per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Errors of all kinds.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    fn error(&mut self, kind: impl Into<String>) {
        *self.errors.entry(kind.into()).or_default() += 1;
    }
}

struct Shared {
    request: Vec<u8>,
    target: Target,
    measure_from: Instant,
    end: Instant,
    outcome: RefCell<Outcome>,
}

/// Runs the plan on this thread.
pub fn run(plan: &Plan, mut show: impl FnMut(&Progress)) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measure_from = Instant::now() + plan.warmup;
    let shared = Rc::new(Shared {
        request: plan.target.get_request(),
        target: plan.target.clone(),
        measure_from,
        end: measure_from + plan.duration,
        outcome: RefCell::new(Outcome::new()),
    });
    let tasks = LocalSet::new();
    for _ in 0..plan.connection_count {
        tasks.spawn_local(connection(Rc::clone(&shared)));
    }
    runtime.block_on(tasks.run_until(show_progress(&shared, plan.duration, &mut show)));
    // Requests still in flight at the end are not measured.
    drop(tasks);
    let mut outcome = shared.outcome.borrow().clone();
    outcome.elapsed = plan.duration;
    Ok(outcome)
}

async fn show_progress(shared: &Shared, total: Duration, show: &mut impl FnMut(&Progress)) {
    let (mut seen, mut at) = (0, Instant::now());
    while Instant::now() < shared.end {
        let left = shared.end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(PROGRESS_INTERVAL)).await;
        let outcome = shared.outcome.borrow();
        let now = Instant::now();
        let count = outcome.latencies.len();
        show(&Progress {
            // A sample that is nearly all warm-up would show a rate of nothing.
            measured: now
                .checked_duration_since(shared.measure_from)
                .filter(|measured| *measured >= PROGRESS_INTERVAL / 2),
            total,
            rate: (count - seen) as f64 / (now - at).as_secs_f64(),
            p50_ns: outcome.latencies.value_at_quantile(0.5),
            p99_ns: outcome.latencies.value_at_quantile(0.99),
            error_count: outcome.error_count(),
        });
        (seen, at) = (count, now);
    }
}

async fn connection(shared: Rc<Shared>) {
    let mut client: Option<Client> = None;
    loop {
        let Some(connected) = &mut client else {
            if let Ok(connected) = Client::connect(&shared.target).await {
                client = Some(connected);
            } else {
                note_error(&shared, "connect");
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            continue;
        };
        let start = Instant::now();
        let exchange = connected.exchange(&shared.request);
        let result = tokio::time::timeout(REQUEST_TIME_MAX, exchange).await;
        let now = Instant::now();
        match result {
            Ok(Ok((status, reusable))) => {
                if status >= 400 {
                    note_error(&shared, format!("status {status}"));
                } else if start >= shared.measure_from && now <= shared.end {
                    let nanoseconds = u64::try_from((now - start).as_nanos()).unwrap_or(u64::MAX);
                    shared
                        .outcome
                        .borrow_mut()
                        .latencies
                        .saturating_record(nanoseconds);
                }
                if !reusable {
                    client = None;
                }
            }
            Ok(Err(RequestError::Malformed(_))) => {
                note_error(&shared, "malformed");
                client = None;
            }
            Ok(Err(RequestError::Io(_))) => {
                note_error(&shared, "reset");
                client = None;
            }
            Err(_) => {
                note_error(&shared, "timeout");
                client = None;
            }
        }
    }
}

fn note_error(shared: &Shared, kind: impl Into<String>) {
    let now = Instant::now();
    if now >= shared.measure_from && now <= shared.end {
        shared.outcome.borrow_mut().error(kind);
    }
}
