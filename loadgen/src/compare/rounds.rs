//! Measuring several targets in turns.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::outcome::Outcome;
use crate::load::plan::{Plan, Stop};
use crate::load::run::run;
use crate::load::{Interval, new_histogram};
use hdrhistogram::Histogram;

/// One of the things compared.
pub struct Contestant {
    /// Its name.
    pub name: String,
    /// Its load.
    pub plan: Plan,
    /// Reads the processor time that its target has used so far, where that is known.
    pub cpu_time: Option<CpuTime>,
}

/// Reads processor time.
pub type CpuTime = Box<dyn Fn() -> Duration>;

/// Figures of a round. Latencies are in nanoseconds, from the intended time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Right responses per second.
    pub requests_per_s: f64,
    /// Median latency.
    pub p50_ns: f64,
    /// 90th percentile.
    pub p90_ns: f64,
    /// 99th percentile.
    pub p99_ns: f64,
    /// 99.9th percentile.
    pub p99_9_ns: f64,
    /// CPU time of the target per response, where its command was started here.
    pub cpu_ns: Option<f64>,
    /// Wrong and missing responses.
    pub errors: u64,
    /// Requests of an open loop that were due and never sent.
    #[serde(default)]
    pub unsent: u64,
    /// Which part of the responses due were right; `None` in files of older versions.
    #[serde(default)]
    pub right_share: Option<f64>,
}

/// The rounds of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounds {
    /// The target's name.
    pub name: String,
    /// In the order of measuring.
    pub rounds: Vec<Round>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests per second.
    Rate,
    /// Median latency.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// CPU time of the target per request.
    Cpu,
}

impl Metric {
    /// All, in the order of showing.
    pub const ALL: [Self; 6] = [
        Self::Rate,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Cpu,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Cpu => "CPU/request",
        }
    }

    /// Whether a ratio above 1 is good.
    pub fn more_is_better(self) -> bool {
        self == Self::Rate
    }

    fn of(self, round: &Round) -> Option<f64> {
        Some(match self {
            Self::Rate => round.requests_per_s,
            Self::P50 => round.p50_ns,
            Self::P90 => round.p90_ns,
            Self::P99 => round.p99_ns,
            Self::P999 => round.p99_9_ns,
            Self::Cpu => return round.cpu_ns,
        })
    }
}

impl Rounds {
    /// A metric's values; none unless every round has it.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        let values: Option<Vec<_>> = self.rounds.iter().map(|round| metric.of(round)).collect();
        values.unwrap_or_default()
    }

    /// Whether anything was answered rightly.
    pub fn has_answers(&self) -> bool {
        self.rounds.iter().any(|round| round.requests_per_s > 0.0)
    }

    /// Which part of the responses due were right, in the worst round.
    pub fn least_right_share(&self) -> f64 {
        let shares = self.rounds.iter().filter_map(|round| round.right_share);
        shares.fold(1.0, f64::min)
    }

    /// Requests that were never sent, of all rounds.
    pub fn unsent_count(&self) -> u64 {
        self.rounds.iter().map(|round| round.unsent).sum()
    }

    /// Errors of all rounds.
    pub fn error_count(&self) -> u64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }
}

/// What came of measuring in turns.
pub struct Measured {
    /// One per contestant, in their order, all of the same length.
    pub all: Vec<Rounds>,
    /// The generator's own lag over all rounds.
    pub lag: Histogram<u64>,
    /// All latencies, for judging the lag.
    pub latency: Histogram<u64>,
    /// Why it ended before the last round, if it did.
    pub cut_short: Option<String>,
}

/// Measures every contestant once a round, in turns: forwards in one round,
/// backwards in the next.
pub fn measure(
    contestants: &[Contestant],
    round_count: u32,
    stop: &Arc<Stop>,
    mut show: impl FnMut(u32, &str),
) -> Measured {
    let mut measured = Measured {
        all: contestants
            .iter()
            .map(|contestant| Rounds {
                name: contestant.name.clone(),
                rounds: Vec::new(),
            })
            .collect(),
        lag: new_histogram(),
        latency: new_histogram(),
        cut_short: None,
    };
    for round in 0..round_count {
        let mut order: Vec<_> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut figures = vec![Round::default(); contestants.len()];
        for index in order {
            let contestant = &contestants[index];
            show(round, &contestant.name);
            let cpu_before = contestant.cpu_time.as_ref().map(|read| read());
            // A round that not everyone has played counts for nobody.
            let outcome = match run(&contestant.plan, stop, &mut ()) {
                _ if stop.is_requested() => {
                    measured.cut_short = Some("ended by a signal".to_owned());
                    return measured;
                }
                Ok(outcome) => outcome,
                Err(failure) => {
                    measured.cut_short = Some(format!("{}: {failure}", contestant.name));
                    return measured;
                }
            };
            let cpu = cpu_before
                .zip(contestant.cpu_time.as_ref().map(|read| read()))
                .map(|(before, after)| after.saturating_sub(before));
            figures[index] = figures_of(&outcome, cpu, contestant.plan.warmup);
            let Interval { lag, latency, .. } = &outcome.total;
            measured.lag.add(lag).expect("the same bounds");
            measured.latency.add(latency).expect("the same bounds");
        }
        for (rounds, figures) in measured.all.iter_mut().zip(figures) {
            rounds.rounds.push(figures);
        }
    }
    measured
}

fn figures_of(outcome: &Outcome, cpu: Option<Duration>, warmup: Duration) -> Round {
    let latency = &outcome.total.latency;
    let at = |quantile| latency.value_at_quantile(quantile) as f64;
    // The target was at work during the warm-up as well, and as busily.
    let measured = outcome.elapsed.as_secs_f64();
    let share = measured / (measured + warmup.as_secs_f64());
    let responses = outcome.total.response_count.max(1) as f64;
    Round {
        requests_per_s: outcome.rate(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        cpu_ns: cpu.map(|cpu| cpu.as_nanos() as f64 * share / responses),
        errors: outcome.errors().count(),
        unsent: outcome.unsent_count,
        right_share: Some(outcome.right_share().unwrap_or(0.0)),
    }
}
