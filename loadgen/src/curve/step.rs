//! One rate, measured.

use std::sync::Arc;

use serde::Serialize;

use crate::load::outcome::Outcome;
use crate::load::plan::{Plan, Stop};
use crate::load::run::{RunFailure, run};
use crate::noise::Trust;
use crate::schedule::Rate;

/// What a rate yielded. Latencies are in nanoseconds, from the intended time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Requests per second asked for.
    pub rate: f64,
    /// Right responses per second.
    pub requests_per_s: f64,
    /// Which part of the responses due were right.
    pub right_share: f64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p99_9_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// Whether the generator's own lag is a small share of the percentiles.
    pub trustworthy: bool,
}

/// Measures a rate.
pub fn measure(
    plan: &Plan,
    rate: f64,
    lag_share_max: f64,
    stop: &Arc<Stop>,
) -> Result<Figures, RunFailure> {
    let plan = Plan {
        rate: Some(Rate::constant(rate)),
        ..plan.clone()
    };
    let outcome = run(&plan, stop, &mut ())?;
    if stop.is_requested() {
        return Err(RunFailure::Stopped);
    }
    let latency = &outcome.total.latency;
    Ok(Figures {
        rate,
        requests_per_s: outcome.rate(),
        right_share: outcome.right_share().unwrap_or(0.0),
        p50_ns: latency.value_at_quantile(0.5),
        p99_ns: latency.value_at_quantile(0.99),
        p99_9_ns: latency.value_at_quantile(0.999),
        max_ns: latency.max(),
        trustworthy: Trust::judge(latency, &outcome.total.lag, lag_share_max).is_trustworthy(),
    })
}

/// A closed loop: about what the target can do at all.
pub fn closed_loop(plan: &Plan, stop: &Arc<Stop>) -> Result<Outcome, RunFailure> {
    let plan = Plan {
        rate: None,
        ..plan.clone()
    };
    let outcome = run(&plan, stop, &mut ())?;
    if stop.is_requested() {
        return Err(RunFailure::Stopped);
    }
    Ok(outcome)
}
