//! What people and programs get to see of a run.

pub mod chart;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod progress;
#[cfg(test)]
pub mod sample;
pub mod terminal;
pub mod units;

use crate::environment::Environment;
use crate::load::run::{Length, Outcome, Plan};
use crate::noise::{NoiseFloor, Trust};

/// Everything there is to say about a run.
pub struct Report<'a> {
    /// What was asked, as the user named it.
    pub target: &'a str,
    /// What was to be done.
    pub plan: &'a Plan,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What was measured before, unless that was left out.
    pub noise: Option<&'a NoiseFloor>,
    /// Whether the latencies can be trusted.
    pub trust: &'a Trust,
    /// Where it ran.
    pub environment: &'a Environment,
}

/// Percentiles that tables show, with their names.
pub const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

impl Report<'_> {
    /// The plan in a line.
    pub fn load_line(&self) -> String {
        let plan = self.plan;
        let load = match plan.rate {
            Some(rate) if rate.from < rate.to || rate.to < rate.from => format!(
                "open loop, from {} to {} requests/s",
                units::count(rate.from.round() as u64),
                units::count(rate.to.round() as u64)
            ),
            Some(rate) => format!("open loop, {} requests/s", units::number(rate.from)),
            None => "closed loop".to_owned(),
        };
        let length = match plan.length {
            Length::Time(time) => units::duration(time.as_nanos() as u64),
            Length::Count(count) => format!("{} requests", units::count(count)),
        };
        format!(
            "{load}, {}, {}, {length} after {} of warm-up, {}{}",
            units::plural(plan.connection_count as u64, "connection"),
            units::plural(plan.thread_count as u64, "thread"),
            units::duration(plan.warmup.as_nanos() as u64),
            plan.engine,
            if plan.spin { ", spinning" } else { "" },
        )
    }

    /// What a reader has to know before the figures, each in a sentence.
    pub fn warnings(&self) -> Vec<String> {
        let outcome = self.outcome;
        let mut warnings = Vec::new();
        if let Some(why) = outcome.partial {
            warnings.push(format!(
                "PARTIAL: {why} after {} of measuring",
                units::duration(outcome.elapsed.as_nanos() as u64)
            ));
        }
        if let Some(asked) = outcome.asked_rate
            && !outcome.has_reached_its_rate()
            && outcome.partial.is_none()
        {
            warnings.push(self.missed_rate(asked));
        }
        if let Some(why) = &self.trust.distrust {
            warnings.push(format!("UNTRUSTWORTHY LATENCIES: {why}"));
        }
        warnings
    }

    fn missed_rate(&self, asked: f64) -> String {
        let lag = self.outcome.total.lag.value_at_quantile(0.99);
        let remedy = if self.trust.p99_share > self.trust.share_max && lag > 1_000_000 {
            "the generator could not keep up: give it more threads (-t) or a quieter machine"
        } else {
            "every connection was waiting for an answer: the target is slower than the rate, or needs more connections (-c)"
        };
        format!(
            "RATE NOT REACHED: {} of {} requests/s, {} due and never sent; {remedy}",
            units::count(self.outcome.rate().round() as u64),
            units::number(asked),
            units::count(self.outcome.unsent_count),
        )
    }
}
