//! What was to be done, as reports say it and files keep it.

use serde::{Deserialize, Serialize};

use crate::load::plan::{Length, Plan};
use crate::schedule::{Rate, Segment};
use crate::units;

/// The kind of a run that followed event streams.
pub const EVENTS: &str = "events";

/// A plan in words and figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribedPlan {
    /// What was asked, as the user named it.
    pub target: String,
    /// Whom.
    pub address: String,
    /// Methods and paths, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// `open` or `closed`, or [`EVENTS`].
    #[serde(rename = "loop")]
    pub kind: String,
    /// Requests per second at the start of an open loop.
    pub rate_from: Option<f64>,
    /// And at its end.
    pub rate_to: Option<f64>,
    /// Parts of the rate: from, to, and seconds; empty if it is all of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<(f64, f64, f64)>,
    /// How requests were spread: `even` or `poisson`.
    #[serde(default)]
    pub arrivals: Option<String>,
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

/// Parts of a profile.
fn profile(rate: &Rate) -> Vec<(f64, f64, f64)> {
    let part = |segment: &Segment| Some((segment.from, segment.to, segment.seconds?));
    rate.segments().iter().filter_map(part).collect()
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
            requests: match &plan.workload.requests[..] {
                [_] => Vec::new(),
                requests => requests
                    .iter()
                    .map(|request| request.name.clone())
                    .collect(),
            },
            kind: match &plan.rate {
                _ if plan.follows_streams => EVENTS,
                Some(_) => "open",
                None => "closed",
            }
            .to_owned(),
            rate_from: plan.rate.as_ref().map(Rate::from),
            rate_to: plan.rate.as_ref().map(Rate::to),
            profile: plan.rate.as_ref().map(profile).unwrap_or_default(),
            arrivals: plan.rate.as_ref().map(|rate| rate.arrivals().to_string()),
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

    /// Its mean rate, of an open loop.
    pub fn mean_rate(&self) -> Option<f64> {
        if self.profile.is_empty() {
            return self.rates().map(|(from, to)| f64::midpoint(from, to));
        }
        let seconds: f64 = self.profile.iter().map(|part| part.2).sum();
        let count = |part: &(f64, f64, f64)| f64::midpoint(part.0, part.1) * part.2;
        Some(self.profile.iter().map(count).sum::<f64>() / seconds)
    }

    /// Requests per second that are asked for over time: points of a line until `end_s`.
    pub fn asked_for(&self, end_s: f64) -> Vec<(f64, f64)> {
        let Some((from, to)) = self.rates() else {
            return Vec::new();
        };
        if self.profile.is_empty() {
            // A run that was ended early has got only so far on its ramp.
            let share = self
                .duration_s
                .map_or(1.0, |seconds| (end_s / seconds).min(1.0));
            return vec![(0.0, from), (end_s, from + (to - from) * share)];
        }
        let mut points = Vec::new();
        let mut at_s = 0.0;
        for (from, to, seconds) in &self.profile {
            points.extend([(at_s, *from), (at_s + seconds, *to)]);
            at_s += seconds;
        }
        points
    }

    /// All of it in a line.
    pub fn load_line(&self) -> String {
        let load = match self.rates() {
            Some(_) if !self.profile.is_empty() => format!(
                "open loop, a profile of {}, {} requests/s in the mean",
                units::plural(self.profile.len() as u64, "part"),
                units::count(self.mean_rate().unwrap_or(0.0).round() as u64)
            ),
            Some((from, to)) if from < to || to < from => format!(
                "open loop, from {} to {} requests/s",
                units::count(from.round() as u64),
                units::count(to.round() as u64)
            ),
            Some((from, _)) => format!("open loop, {} requests/s", units::number(from)),
            None if self.kind == EVENTS => "event streams, one on each connection".to_owned(),
            None => "closed loop".to_owned(),
        };
        let arrivals = match self.arrivals.as_deref() {
            Some("poisson") => " (Poisson arrivals)",
            _ => "",
        };
        let length = match (self.duration_s, self.count) {
            (_, Some(count)) => format!("{} requests", units::count(count)),
            (seconds, None) => units::duration((seconds.unwrap_or(0.0) * 1e9) as u64),
        };
        format!(
            "{load}{arrivals}, {}, {}, {length} after {} of warm-up, {}{}",
            units::plural(self.connections as u64, "connection"),
            units::plural(self.threads as u64, "thread"),
            units::duration((self.warmup_s * 1e9) as u64),
            self.engine,
            if self.spin { ", spinning" } else { "" },
        )
    }
}
