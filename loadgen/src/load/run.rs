//! A run: threads started, their intervals merged, and what came of it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use slotway_net::{RunError, monotonic_ns};
use tokio::sync::oneshot;

use crate::limits::{INTERVAL, INTERVAL_COUNT_MIN, INTERVAL_MIN, OTHER_FD_COUNT, THREAD_FD_COUNT};
use crate::load::collect::Collector;
use crate::load::disturbance::Counters;
use crate::load::errors::ErrorKind;
use crate::load::message::{Message, Times};
use crate::load::outcome::Outcome;
use crate::load::plan::{Length, Observer, Plan, Stop};
use crate::load::setup::Setup;
use crate::load::thread;
use crate::schedule::Schedule;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunFailure {
    /// The target cannot be reached.
    #[error("{address}: {what}: {error}")]
    NoConnection {
        /// Where.
        address: String,
        /// What kind.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// Too many connections for the process.
    #[error(
        "{wanted} connections need {needed} descriptors, and the limit is {limit}; raise it (`ulimit -n {needed}`) or lower -c"
    )]
    Descriptors {
        /// Connections.
        wanted: usize,
        /// Descriptors.
        needed: u64,
        /// Hard limit.
        limit: u64,
    },
    /// A thread could not run.
    #[error("a generator thread cannot run: {0}")]
    Engine(#[from] RunError),
    /// The system refused something.
    #[error("the generator cannot run: {0}")]
    System(#[from] io::Error),
    /// Ctrl-C before anything was measured.
    #[error("ended before anything was measured")]
    Stopped,
}

/// Runs the plan on threads of its own.
pub fn run(
    plan: &Plan,
    stop: &Arc<Stop>,
    observer: &mut impl Observer,
) -> Result<Outcome, RunFailure> {
    allow_descriptors(plan.connection_count, plan.thread_count)?;
    let give_up = Arc::new(Stop::default());
    let (report, messages) = channel();
    let mut starts = Vec::new();
    let mut threads = Vec::new();
    for index in 0..plan.thread_count {
        let (start, started) = oneshot::channel();
        starts.push(start);
        let setup = setup(plan, index, stop, &give_up);
        let report = report.clone();
        let handle = std::thread::Builder::new()
            .name(format!("load-{index}"))
            .spawn(move || -> Result<(), RunFailure> {
                let engine = setup.engine;
                Ok(slotway_net::run(
                    engine,
                    thread::run(setup, started, report),
                )??)
            })?;
        threads.push(handle);
    }
    drop(report);
    let outcome = collect(plan, stop, starts, &messages, observer);
    if outcome.is_err() {
        give_up.request();
    }
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    outcome
}

fn setup(plan: &Plan, index: usize, stop: &Arc<Stop>, give_up: &Arc<Stop>) -> Setup {
    let threads = plan.thread_count;
    let share = |of: u64| of / threads as u64 + u64::from((index as u64) < of % threads as u64);
    let (seconds, count) = match plan.length {
        Length::Time(time) => (time.as_secs_f64(), None),
        // A ramp over a count ends when its area is the count.
        Length::Count(count) => (
            plan.rate
                .as_ref()
                .map_or(f64::MAX, |rate| count as f64 / rate.mean()),
            Some(count),
        ),
    };
    Setup {
        index,
        thread_count: threads,
        engine: plan.engine,
        workload: Arc::clone(&plan.workload),
        connection_count: share(plan.connection_count as u64) as usize,
        connect_rate: plan.connect_rate.map(|rate| rate / threads as f64),
        requests_per_connection: plan.requests_per_connection,
        schedule: plan
            .rate
            .as_ref()
            .map(|rate| Schedule::new(rate, plan.warmup, seconds, count)),
        count: count.map(share),
        timeout: plan.timeout,
        spin: plan.spin,
        follows_streams: plan.follows_streams,
        stop: Arc::clone(stop),
        give_up: Arc::clone(give_up),
    }
}

/// Raises the soft limit of descriptors as far as is needed.
pub fn allow_descriptors(connection_count: usize, thread_count: usize) -> Result<(), RunFailure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let threads = thread_count as u64 * THREAD_FD_COUNT;
    let needed = connection_count as u64 + threads + OTHER_FD_COUNT;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if is_enough(limit.current) {
        return Ok(());
    }
    if !is_enough(limit.maximum) {
        return Err(RunFailure::Descriptors {
            wanted: connection_count,
            needed,
            limit: limit.maximum.unwrap_or(u64::MAX),
        });
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised).map_err(io::Error::from)?)
}

/// Waits for the threads, starts them together, and merges what they say.
fn collect(
    plan: &Plan,
    stop: &Arc<Stop>,
    starts: Vec<oneshot::Sender<Times>>,
    messages: &Receiver<(usize, Message)>,
    observer: &mut impl Observer,
) -> Result<Outcome, RunFailure> {
    let mut ready_count = 0;
    while ready_count < plan.thread_count {
        match messages.recv() {
            Ok((_, Message::Ready(Ok(())))) => ready_count += 1,
            Ok((_, Message::Ready(Err((kind, error))))) => {
                return Err(RunFailure::NoConnection {
                    address: plan.workload.address.to_string(),
                    what: match kind {
                        ErrorKind::Refused => "refuses connections; is the server up?",
                        ErrorKind::Tls => {
                            "does not agree on TLS (check the name, and --cacert or --insecure)"
                        }
                        _ => "cannot be connected to; check the address",
                    },
                    error,
                });
            }
            // A thread has ended; joining says why.
            Ok(_) | Err(_) => return Err(RunFailure::Stopped),
        }
    }
    if stop.is_requested() {
        return Err(RunFailure::Stopped);
    }
    let times = times(plan);
    for start in starts {
        // A thread that is gone says why when it is joined.
        let _ = start.send(times);
    }
    observer.started(plan);
    let before = Counters::now();
    let mut outcome = Collector::new(plan, times).collect(stop, messages, observer);
    outcome.disturbance = Counters::now().since(before);
    Ok(outcome)
}

fn times(plan: &Plan) -> Times {
    let start_ns = monotonic_ns() + 2_000_000;
    let measure_ns = start_ns + plan.warmup.as_nanos() as u64;
    let (end_ns, interval) = match plan.length {
        Length::Time(time) => (
            measure_ns + time.as_nanos() as u64,
            (time / INTERVAL_COUNT_MIN).clamp(INTERVAL_MIN, INTERVAL),
        ),
        Length::Count(_) => (u64::MAX, INTERVAL_MIN),
    };
    Times {
        start_ns,
        measure_ns,
        end_ns,
        interval_ns: interval.as_nanos() as u64,
    }
}
