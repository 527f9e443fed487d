//! What people and programs get to see of a run.
//!
//! People: [`terminal`], [`html`] with its [`chart`] and [`tables`], and [`live`] or [`progress`] while it goes on, as `view` chooses.
//! Programs: [`json`], [`hgrm`] and [`hlog`]. `described` is what was to be done, in words; `words` is what it calls things; `encoded` are histograms as text; `saved` is a
//! report as a file keeps it, and `merge` adds several; `streams` says what event streams got; `sample` is a run for the tests of all.

pub mod chart;
pub mod described;
pub mod encoded;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod live;
pub mod merge;
pub mod progress;
#[cfg(test)]
pub mod sample;
pub mod saved;
pub mod streams;
pub mod tables;
pub mod terminal;
pub mod view;
pub mod words;

use hdrhistogram::Histogram;

use crate::environment::Environment;
use crate::limits::{BUSY_SHARE_MAX, RIGHT_SHARE_MIN, STEAL_SHARE_MAX, WAITED_SHARE_SAID};
use crate::load::PHASE_NAMES;
use crate::load::outcome::Outcome;
use crate::noise::{NoiseFloor, Trust};
use crate::report::described::DescribedPlan;
use crate::report::words::Words;
use crate::units;

/// Everything there is to say about a run.
pub struct Report<'a> {
    /// What was to be done.
    pub plan: &'a DescribedPlan,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What was measured before, unless that was left out.
    pub noise: Option<&'a NoiseFloor>,
    /// Whether the latencies can be trusted.
    pub trust: &'a Trust,
    /// Where it ran.
    pub environment: &'a Environment,
}

/// A line of the tables.
pub struct Row<'a> {
    /// In few letters.
    pub name: String,
    /// In words.
    pub meaning: String,
    /// What it sums up; never empty.
    pub histogram: &'a Histogram<u64>,
}

impl Report<'_> {
    /// The lines of the tables.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let total = &self.outcome.total;
        let mut rows = Vec::new();
        let mut add = |name: &str, meaning: &str, histogram| {
            rows.push(Row {
                name: name.to_owned(),
                meaning: meaning.to_owned(),
                histogram,
            });
        };
        let from = match self.plan.rates() {
            _ if self.outcome.streams.is_some() => "delay, from the event's time stamp",
            Some(_) => "latency, from the intended time",
            None => "latency, from sending",
        };
        add(self.words().time, from, &total.latency);
        add("service", "service time, from sending", &total.service);
        let phases = total.phases.iter().flat_map(|phases| phases.iter());
        for (name, histogram) in PHASE_NAMES.iter().zip(phases) {
            let meaning = format!("of which {name}, by the server");
            add(&format!("· {name}"), &meaning, histogram);
        }
        add(
            "connect",
            "connecting, before and during the run",
            &total.connect,
        );
        add("own lag", "generator's own lag", &total.lag);
        if let Some(noise) = self.noise {
            let idle = "its lag when idle, before the run";
            add("· when idle", idle, &noise.idle_lag);
            let echo = "echo in the same process, before the run";
            add("echo floor", echo, &noise.echo_latency);
        }
        // In a closed loop, for one, latency and service time are the same.
        rows.retain(|row| !row.histogram.is_empty());
        rows
    }

    /// Latencies told apart, where there is more than one group: by status, then by request.
    pub fn groups(&self) -> Vec<(String, &Histogram<u64>)> {
        let groups = &self.outcome.total.groups;
        let mut all = Vec::new();
        if groups.by_status.len() > 1 {
            let statuses = groups.by_status.iter();
            all.extend(statuses.map(|(status, histogram)| (format!("status {status}"), histogram)));
        }
        for (index, histogram) in &groups.by_request {
            let name = self.plan.requests.get(*index);
            all.push((name.cloned().unwrap_or_default(), histogram));
        }
        all
    }

    /// What a reader has to know before the figures, each in a sentence.
    pub fn warnings(&self) -> Vec<String> {
        let outcome = self.outcome;
        let mut warnings = Vec::new();
        if let Some(why) = &outcome.partial {
            warnings.push(format!(
                "PARTIAL: {why} after {} of measuring",
                units::duration(outcome.elapsed.as_nanos() as u64)
            ));
        }
        if let Some(asked) = outcome.asked_rate
            && !outcome.has_reached_its_rate()
        {
            warnings.push(self.missed_rate(asked));
        }
        if let Some(share) = outcome
            .right_share()
            .filter(|share| *share < RIGHT_SHARE_MIN)
        {
            warnings.push(format!(
                "ONLY {} OF WHAT WAS ASKED GOT A RIGHT RESPONSE: the latencies are of those alone",
                units::share(share)
            ));
        }
        // Whatever goes on when a run ends has no response; a few of them are no queue.
        let waited = outcome.total.waited_count;
        if waited as f64 > WAITED_SHARE_SAID * outcome.total.latency.len() as f64 {
            warnings.push(format!(
                "{} ({} of all) had no response when the run ended, {} of them never sent; they count with the time they had waited until then",
                units::plural(waited, "request"),
                units::share(waited as f64 / outcome.total.latency.len() as f64),
                units::count(outcome.unsent_count),
            ));
        }
        if self.generator_was_busy() {
            warnings.push(format!(
                "THE GENERATOR MAY BE THE LIMIT: its threads were busy, or waiting for a core, {:.0} % of the time; give it more threads (-t) or cores",
                (outcome.busy_share() * 100.0).min(100.0)
            ));
        }
        if let Some(why) = self.trust.distrust() {
            warnings.push(format!("BOUNDS ONLY: {why}"));
        }
        warnings.extend(self.outcome.streams.iter().flat_map(streams::warnings));
        warnings.extend(self.disturbances());
        warnings
    }

    /// What it calls what it counts and times.
    pub fn words(&self) -> Words {
        Words::of(self.plan)
    }

    /// What of the machine spoils the result.
    fn disturbances(&self) -> Vec<String> {
        let disturbance = &self.outcome.disturbance;
        let mut warnings = self.environment.settings.warnings();
        if let Some(share) = disturbance
            .steal_share
            .filter(|share| *share > STEAL_SHARE_MAX)
        {
            warnings.push(format!(
                "the hypervisor gave {} of this machine's time to others meanwhile: the highest percentiles are theirs",
                units::share(share)
            ));
        }
        if let Some(time) = disturbance.throttled.filter(|time| !time.is_zero()) {
            warnings.push(format!(
                "the generator was held back for {} by the quota of its cgroup: give it more CPU",
                units::duration(time.as_nanos() as u64)
            ));
        }
        warnings
    }

    /// What came of it, in a sentence.
    pub fn sentence(&self) -> String {
        let outcome = self.outcome;
        let errors = match outcome.errors().count() {
            0 => "no errors".to_owned(),
            count => units::plural(count, "error"),
        };
        if let Some(streams) = &outcome.streams {
            return streams::sentence(streams, outcome, &errors);
        }
        let rate = units::rate(outcome.rate());
        let load = if self.plan.rates().is_some() {
            format!("At {rate} requests/s,")
        } else {
            let connections = units::plural(self.plan.connections as u64, "connection");
            format!("Over {connections}, always busy, {rate} requests/s, of which")
        };
        let Some(p99) = self.trust.bounds.iter().find(|bound| bound.name == "p99") else {
            return format!("{load}: no response, {errors}.");
        };
        let lag = match p99.measured_ns - p99.at_least_ns {
            0 => String::new(),
            lag_ns => format!(
                " (at most {} of that is the generator's own lag)",
                units::duration(lag_ns)
            ),
        };
        format!(
            "{load} 99 % came within {}{lag}; {errors}.",
            units::duration(p99.measured_ns)
        )
    }

    /// A thread that spins is always busy, which says nothing.
    fn generator_was_busy(&self) -> bool {
        !self.plan.spin && self.outcome.busy_share() > BUSY_SHARE_MAX
    }

    fn missed_rate(&self, asked: f64) -> String {
        let remedy = if self.generator_was_busy() || !self.trust.is_trustworthy() {
            "the generator could not keep up: give it more threads (-t) or a quieter machine"
        } else {
            "every connection was waiting for a response: the target is slower than the rate, or needs more connections (-c)"
        };
        format!(
            "RATE NOT REACHED: {} of {} requests/s, {} due and never sent; {remedy}",
            units::rate(self.outcome.rate()),
            units::number(asked),
            units::count(self.outcome.unsent_count),
        )
    }
}
