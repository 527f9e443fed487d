//! What a ratio means, in words.

use std::fmt;

use crate::compare::rounds::{Metric, Rounds};
use crate::compare::statistics::Ratio;

/// What the rounds say about a metric of a target, against the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Better, and the whole interval says so.
    Better,
    /// Worse, and the whole interval says so.
    Worse,
    /// The interval has both.
    NoDifferenceSeen,
    /// Not enough rounds, or no responses.
    Unknown,
}

/// A metric of a target against the reference.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// The ratio, if there is one.
    pub ratio: Option<Ratio>,
    /// What it means.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares a metric's rounds; `are_interleaved` if they were measured in
    /// turns.
    pub fn of(metric: Metric, ours: &Rounds, theirs: &Rounds, are_interleaved: bool) -> Self {
        let (ours, theirs) = (ours.values(metric), theirs.values(metric));
        let ratio = if are_interleaved {
            Ratio::paired(&ours, &theirs)
        } else {
            Ratio::unpaired(&ours, &theirs)
        };
        let verdict = match ratio {
            None => Verdict::Unknown,
            Some(ratio) if ratio.low > 1.0 && metric.more_is_better() => Verdict::Better,
            Some(ratio) if ratio.high < 1.0 && !metric.more_is_better() => Verdict::Better,
            Some(ratio) if ratio.low > 1.0 || ratio.high < 1.0 => Verdict::Worse,
            Some(_) => Verdict::NoDifferenceSeen,
        };
        Self {
            metric,
            ratio,
            verdict,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.verdict, self.metric) {
            (Verdict::Unknown, _) => "cannot be said",
            (Verdict::NoDifferenceSeen, _) => "no difference seen",
            (Verdict::Better, Metric::Cpu) => "cheaper",
            (Verdict::Worse, Metric::Cpu) => "dearer",
            (Verdict::Better, _) => "faster",
            (Verdict::Worse, _) => "slower",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::Round;

    fn rounds(rates: &[f64]) -> Rounds {
        let round = |rate: &f64| Round {
            requests_per_s: *rate,
            p50_ns: 1e9 / rate,
            cpu_ns: Some(1e9 / rate),
            ..Round::default()
        };
        Rounds {
            name: "x".to_owned(),
            rounds: rates.iter().map(round).collect(),
        }
    }

    #[test]
    fn more_requests_and_less_latency_are_faster_and_less_cpu_is_cheaper() {
        let (slow, fast) = (
            rounds(&[100.0, 101.0, 99.0]),
            rounds(&[120.0, 122.0, 119.0]),
        );
        let words = |metric, ours, theirs| Comparison::of(metric, ours, theirs, true).to_string();
        assert_eq!(words(Metric::Rate, &fast, &slow), "faster");
        assert_eq!(words(Metric::P50, &fast, &slow), "faster");
        assert_eq!(words(Metric::Cpu, &fast, &slow), "cheaper");
        assert_eq!(words(Metric::Rate, &slow, &fast), "slower");
        assert_eq!(words(Metric::P50, &slow, &slow), "no difference seen");
        assert_eq!(words(Metric::P99, &slow, &fast), "cannot be said");
    }
}
