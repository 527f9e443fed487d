//! What the generator and the machine cost by themselves, measured before a
//! run; and whether a result stands far enough above that.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use slotway_net::{Timer, monotonic_ns};

use crate::echo::Echo;
use crate::load::new_histogram;
use crate::load::plan::{Length, Plan, Stop};
use crate::load::run::{RunFailure, allow_descriptors, run};
use crate::units::duration;
use crate::workload::{Expected, Template, Workload};

/// The floor under every latency. Nanoseconds.
#[derive(Clone, Debug)]
pub struct NoiseFloor {
    /// How late a thread with nothing else to do gets to run.
    pub idle_lag: Histogram<u64>,
    /// Latencies of the same load against an echo within this process.
    pub echo_latency: Histogram<u64>,
    /// What the echo answered per second.
    pub echo_rate: f64,
}

/// Measures how late an idle thread wakes, and then the plan's load, at its
/// rate and over its connections, against an echo on the loopback. Each takes
/// `time`.
pub fn measure(plan: &Plan, time: Duration, stop: &Arc<Stop>) -> Result<NoiseFloor, RunFailure> {
    let idle_lag = slotway_net::run(plan.engine, idle_lag(plan, time, stop))??;
    // The echo's side of each connection is in this process too.
    allow_descriptors(2 * plan.connection_count, plan.thread_count)?;
    let echo = Echo::start(None)?;
    let template = Template {
        method: "GET".to_owned(),
        ..Template::default()
    };
    let url = format!("http://{}/", echo.address());
    let workload = Workload::of_url(&url, &template, Expected::default())
        .expect("a URL and a request of ours");
    let load = Plan {
        workload: Arc::new(workload),
        warmup: time / 5,
        length: Length::Time(time),
        connect_rate: None,
        requests_per_connection: None,
        ..plan.clone()
    };
    let outcome = run(&load, stop, &mut ())?;
    Ok(NoiseFloor {
        idle_lag,
        echo_rate: outcome.rate(),
        echo_latency: outcome.total.latency,
    })
}

/// Wakes at the steps of the plan's rate, or each millisecond, and notes how
/// late that was.
async fn idle_lag(
    plan: &Plan,
    time: Duration,
    stop: &Stop,
) -> Result<Histogram<u64>, std::io::Error> {
    const STEP_NS: u64 = 1_000_000;
    let per_thread = plan.rate.map(|rate| rate.mean() / plan.thread_count as f64);
    let step_ns = per_thread.map_or(STEP_NS, |rate| ((1e9 / rate) as u64).clamp(50_000, STEP_NS));
    let timer = Timer::new()?;
    let mut lag = new_histogram();
    let end_ns = monotonic_ns() + time.as_nanos() as u64;
    while monotonic_ns() < end_ns && !stop.is_requested() {
        let due_ns = monotonic_ns() + step_ns;
        if plan.spin {
            while monotonic_ns() < due_ns {
                tokio::task::yield_now().await;
            }
        } else {
            timer.set(due_ns)?;
            timer.rung().await?;
        }
        lag.saturating_record(monotonic_ns().saturating_sub(due_ns));
    }
    Ok(lag)
}

/// How far a result can be trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// The generator's lag may be this share of a latency.
    pub share_max: f64,
    /// It was this share of the median,
    pub p50_share: f64,
    /// and this of the 99th percentile.
    pub p99_share: f64,
    /// Why the latencies are not to be trusted, in a sentence, if so.
    pub distrust: Option<String>,
}

impl Trust {
    /// Compares the generator's lag during a run with what was measured.
    pub fn judge(latency: &Histogram<u64>, lag: &Histogram<u64>, share_max: f64) -> Self {
        let share = |quantile: f64| {
            let measured = latency.value_at_quantile(quantile).max(1);
            lag.value_at_quantile(quantile) as f64 / measured as f64
        };
        let (p50_share, p99_share) = (share(0.5), share(0.99));
        let is_late = p50_share > share_max || p99_share > share_max;
        let distrust = (is_late && !latency.is_empty()).then(|| {
            format!(
                "the generator itself was late by {} at p50 and {} at p99, which is {:.0} % and {:.0} % of the latencies (limit {:.0} %); \
                 give it cores of its own (--spin, -t, less load), or read differences only, by `compare`",
                duration(lag.value_at_quantile(0.5)),
                duration(lag.value_at_quantile(0.99)),
                p50_share * 100.0,
                p99_share * 100.0,
                share_max * 100.0,
            )
        });
        Self {
            share_max,
            p50_share,
            p99_share,
            distrust,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Outcome;
    use crate::report::sample;

    #[test]
    fn a_result_is_trusted_as_long_as_the_lag_is_a_small_share_of_it() {
        let mut outcome = sample::outcome();
        let judge = |outcome: &Outcome, share_max| {
            Trust::judge(&outcome.total.latency, &outcome.total.lag, share_max)
        };
        assert_eq!(judge(&outcome, 0.25).distrust, None);
        outcome.total.lag.record_n(60_000, 10_000).unwrap();
        let trust = judge(&outcome, 0.25);
        let why = trust.distrust.unwrap();
        assert!(
            why.contains("60.0 µs at p50") && why.contains("limit 25 %"),
            "{why}"
        );
        assert_eq!(judge(&outcome, 10.0).distrust, None);
    }

    #[test]
    fn the_floor_has_the_idle_lag_and_the_echo_at_the_rate_asked_for() {
        let plan = Plan {
            rate: Some(crate::schedule::Rate::parse("500").unwrap()),
            ..sample::plan()
        };
        let floor = measure(&plan, Duration::from_millis(200), &Arc::default()).unwrap();
        assert!(floor.idle_lag.len() > 10);
        assert!(floor.echo_latency.len() > 50 && floor.echo_rate > 100.0);
    }
}
