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
use crate::schedule::Rate;
use crate::units::{PERCENTILES, duration};
use crate::workload::{Expected, Template, Workload};

/// The floor under every latency. Nanoseconds.
#[derive(Clone, Debug)]
pub struct NoiseFloor {
    /// How late a thread with nothing else to do gets to run.
    pub idle_lag: Histogram<u64>,
    /// Latencies of the same load against an echo within this process; empty if they were none
    /// that it can have had.
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
        // At its mean rate: a profile is longer than the time that there is.
        rate: plan.rate.as_ref().map(|rate| Rate::constant(rate.mean())),
        warmup: time / 5,
        length: Length::Time(time),
        connect_rate: None,
        requests_per_connection: None,
        ..plan.clone()
    };
    let outcome = run(&load, stop, &mut ())?;
    let mut floor = NoiseFloor {
        idle_lag,
        echo_rate: outcome.rate(),
        echo_latency: outcome.total.latency,
    };
    if !is_plausible(plan, floor.echo_rate, &floor.echo_latency) {
        floor.echo_latency.reset();
    }
    Ok(floor)
}

/// Whether an echo's figures can be its own: it had its rate, and its latencies are such as the
/// connections can have at that rate (Little's law). A machine that stood still meanwhile
/// yields others.
fn is_plausible(plan: &Plan, echo_rate: f64, latency: &Histogram<u64>) -> bool {
    const RATE_SHARE_MIN: f64 = 0.9;
    let has_its_rate = plan
        .rate
        .as_ref()
        .is_none_or(|rate| echo_rate >= RATE_SHARE_MIN * rate.mean());
    let median_s = latency.value_at_quantile(0.5) as f64 / 1e9;
    has_its_rate && echo_rate * median_s <= 2.0 * plan.connection_count as f64
}

/// Wakes at the steps of the plan's rate, or each millisecond, and notes how
/// late that was.
async fn idle_lag(
    plan: &Plan,
    time: Duration,
    stop: &Stop,
) -> Result<Histogram<u64>, std::io::Error> {
    const STEP_NS: u64 = 1_000_000;
    let rate = plan.rate.as_ref().map(Rate::mean);
    let per_thread = rate.map(|rate| rate / plan.thread_count as f64);
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

/// How far a result can be trusted: what the generator's own lag leaves of each percentile. In an
/// open loop its lag is known for each request that it sent; in a closed one it is sampled, and the
/// bounds are estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// Lag may make up this share of a percentile.
    pub share_max: f64,
    /// In the order of [`PERCENTILES`]; empty without latencies.
    pub bounds: Vec<Bound>,
}

/// A percentile of the latencies, and between what the true one lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: &'static str,
    /// What was measured, which the true one is not above. Nanoseconds.
    pub measured_ns: u64,
    /// What the true one is not below.
    pub at_least_ns: u64,
}

impl Trust {
    /// Compares the generator's lag during a run with what was measured.
    pub fn judge(latency: &Histogram<u64>, lag: &Histogram<u64>, share_max: f64) -> Self {
        let bound = |(name, quantile)| Bound {
            name,
            measured_ns: latency.value_at_quantile(quantile),
            at_least_ns: least_quantile(latency, lag, quantile),
        };
        let bounds = if latency.is_empty() {
            Vec::new()
        } else {
            PERCENTILES.into_iter().map(bound).collect()
        };
        Self { share_max, bounds }
    }

    /// Whether lag makes up little of a percentile.
    pub fn is_sound(&self, bound: &Bound) -> bool {
        let lag_ns = bound.measured_ns - bound.at_least_ns;
        lag_ns as f64 <= self.share_max * bound.measured_ns as f64
    }

    /// Whether the percentiles that are mostly read are sound.
    pub fn is_trustworthy(&self) -> bool {
        let mut read = self
            .bounds
            .iter()
            .filter(|bound| ["p50", "p99"].contains(&bound.name));
        read.all(|bound| self.is_sound(bound))
    }

    /// What the generator's lag hides, in a sentence, if it hides anything.
    pub fn distrust(&self) -> Option<String> {
        let hidden = || self.bounds.iter().filter(|bound| !self.is_sound(bound));
        let truths: Vec<_> = hidden()
            .map(|bound| {
                let (least, most) = (bound.at_least_ns, bound.measured_ns);
                format!("{} {} to {}", bound.name, duration(least), duration(most))
            })
            .collect();
        (!truths.is_empty()).then(|| {
            format!(
                "the generator itself was late to send; without that, values lie within {}. To narrow that, give it cores of its own \
                 (--spin, -t, less load), or look at differences, by `compare`",
                truths.join(", "),
            )
        })
    }
}

/// A bound from below on a quantile of the latencies without the lag of each:
/// `P(without > x) >= P(measured > x + d) - P(lag > d)`, whatever depends on what, if both are of
/// the same requests. The best `d` is looked for.
fn least_quantile(latency: &Histogram<u64>, lag: &Histogram<u64>, quantile: f64) -> u64 {
    const STEP_COUNT: u32 = 200;
    if lag.is_empty() {
        return latency.value_at_quantile(quantile);
    }
    (0..STEP_COUNT)
        .map(|step| {
            // Chances that the lag is above d, from none to nearly all of the quantile, denser
            // where the rarest lags are.
            let above = quantile * (f64::from(step) / f64::from(STEP_COUNT)).powi(3);
            let measured = latency.value_at_quantile(quantile - above);
            measured.saturating_sub(lag.value_at_quantile(1.0 - above))
        })
        .max()
        .unwrap_or(0)
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
        assert_eq!(judge(&outcome, 0.25).distrust(), None);
        outcome.total.lag.record_n(60_000, 10_000).unwrap();
        let trust = judge(&outcome, 0.25);
        let why = trust.distrust().unwrap();
        assert!(why.contains("within p50 20.0 µs to 80.1 µs. "), "{why}");
        // Two in five were late by no more than 5 µs, so nine in ten of the latencies cannot all
        // be lag; and 9 ms less 60 µs are sound whatever the median is.
        assert!(!trust.is_trustworthy());
        assert!(trust.bounds[1..].iter().all(|bound| trust.is_sound(bound)));
        assert!(judge(&outcome, 10.0).is_trustworthy());
    }

    #[test]
    fn a_bound_holds_for_every_lag_that_the_histogram_allows() {
        // 100 true latencies of 1 to 100 µs; one in ten was late by 50 µs: the slowest, the
        // quickest, or any.
        let lags = |is_late: &dyn Fn(u64) -> bool| {
            let (mut latency, mut lag) = (new_histogram(), new_histogram());
            for value in 1..=100 {
                let late = if is_late(value) { 50_000 } else { 0 };
                latency.record(value * 1000 + late).unwrap();
                lag.record(late.max(1)).unwrap();
            }
            (latency, lag)
        };
        for (latency, lag) in [
            lags(&|value| value > 90),
            lags(&|value| value <= 10),
            lags(&|value| value % 10 == 0),
        ] {
            for (quantile, true_ns) in [(0.5, 50_000), (0.9, 90_000), (0.99, 99_000)] {
                let least = least_quantile(&latency, &lag, quantile);
                // A histogram of three digits rounds up.
                assert!(least <= true_ns + true_ns / 500, "{least} for {true_ns}");
            }
            let least = least_quantile(&latency, &lag, 0.5);
            assert!(least >= 38_000, "{least}: nine in ten were not late");
        }
    }

    #[test]
    fn an_echo_that_cannot_have_had_its_rate_is_dropped() {
        let mut echo = new_histogram();
        echo.record_n(250_000_000, 1000).unwrap();
        let plan = Plan {
            rate: Some(Rate::parse("2000").unwrap()),
            ..sample::plan()
        };
        assert!(!is_plausible(&plan, 3.0, &echo));
        assert!(!is_plausible(&plan, 2000.0, &echo), "4 connections");
        let mut quick = new_histogram();
        quick.record_n(40_000, 1000).unwrap();
        assert!(is_plausible(&plan, 1990.0, &quick));
        assert!(!is_plausible(&plan, 1500.0, &quick));
    }

    #[test]
    fn the_floor_has_the_idle_lag_and_the_echo_at_the_rate_asked_for() {
        let plan = Plan {
            rate: Some(Rate::parse("500").unwrap()),
            ..sample::plan()
        };
        let floor = measure(&plan, Duration::from_millis(200), &Arc::default()).unwrap();
        assert!(floor.idle_lag.len() > 10);
        assert!(floor.echo_latency.len() > 50 && floor.echo_rate > 100.0);
    }
}
