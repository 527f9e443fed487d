//! What was to be done, as reports say it and files keep it.

use serde::{Deserialize, Serialize};

use crate::load::plan::{Length, Plan};
use crate::units;

/// A plan in words and figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribedPlan {
    /// What was asked, as the user named it.
    pub target: String,
    /// Whom.
    pub address: String,
    /// `open` or `closed`.
    #[serde(rename = "loop")]
    pub kind: String,
    /// Requests per second at the start of an open loop.
    pub rate_from: Option<f64>,
    /// And at its end.
    pub rate_to: Option<f64>,
    /// Connections in all.
    pub connections: usize,
    /// Threads.
    pub threads: usize,
    /// What moved the bytes.
    pub engine: String,
    /// Whether threads never slept.
    pub spin: bool,
    /// Time before measuring, in seconds.
    pub warmup_s: f64,
    /// Time to measure, unless a count ended the run.
    pub duration_s: Option<f64>,
    /// Requests to measure, unless a time ended the run.
    pub count: Option<u64>,
    /// A request that took longer was an error.
    pub timeout_s: f64,
}

impl DescribedPlan {
    /// Describes a plan for a target that the user named so.
    pub fn of(plan: &Plan, target: &str) -> Self {
        let (duration_s, count) = match plan.length {
            Length::Time(time) => (Some(time.as_secs_f64()), None),
            Length::Count(count) => (None, Some(count)),
        };
        Self {
            target: target.to_owned(),
            address: plan.workload.address.to_string(),
            kind: if plan.rate.is_some() {
                "open"
            } else {
                "closed"
            }
            .to_owned(),
            rate_from: plan.rate.map(|rate| rate.from),
            rate_to: plan.rate.map(|rate| rate.to),
            connections: plan.connection_count,
            threads: plan.thread_count,
            engine: plan.engine.to_string(),
            spin: plan.spin,
            warmup_s: plan.warmup.as_secs_f64(),
            duration_s,
            count,
            timeout_s: plan.timeout.as_secs_f64(),
        }
    }

    /// Its rates at the start and the end, of an open loop.
    pub fn rates(&self) -> Option<(f64, f64)> {
        self.rate_from.zip(self.rate_to)
    }

    /// All of it in a line.
    pub fn load_line(&self) -> String {
        let load = match self.rates() {
            Some((from, to)) if from < to || to < from => format!(
                "open loop, from {} to {} requests/s",
                units::count(from.round() as u64),
                units::count(to.round() as u64)
            ),
            Some((from, _)) => format!("open loop, {} requests/s", units::number(from)),
            None => "closed loop".to_owned(),
        };
        let length = match (self.duration_s, self.count) {
            (_, Some(count)) => format!("{} requests", units::count(count)),
            (seconds, None) => units::duration((seconds.unwrap_or(0.0) * 1e9) as u64),
        };
        format!(
            "{load}, {}, {}, {length} after {} of warm-up, {}{}",
            units::plural(self.connections as u64, "connection"),
            units::plural(self.threads as u64, "thread"),
            units::duration((self.warmup_s * 1e9) as u64),
            self.engine,
            if self.spin { ", spinning" } else { "" },
        )
    }
}
