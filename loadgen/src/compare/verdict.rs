//! What a ratio means, in words.

use std::fmt;

use crate::compare::rounds::{Metric, Rounds};
use crate::compare::statistics::{LEVEL, Ratio, refuted};

/// What the rounds say about a metric of a target, against the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Better, and not by chance.
    Better,
    /// Worse, and not by chance.
    Worse,
    /// What was seen may be chance.
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
    /// turns. What it means is found by [`judge`].
    pub fn of(metric: Metric, ours: &Rounds, theirs: &Rounds, are_interleaved: bool) -> Self {
        let (ours, theirs) = (ours.values(metric), theirs.values(metric));
        let ratio = if are_interleaved {
            Ratio::paired(&ours, &theirs)
        } else {
            Ratio::unpaired(&ours, &theirs)
        };
        Self {
            metric,
            ratio,
            verdict: Verdict::Unknown,
        }
    }

    fn direction(&self, ratio: &Ratio) -> Verdict {
        if (ratio.value > 1.0) == self.metric.more_is_better() {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

/// Gives comparisons their verdicts, together: the chance that any of them sees a difference
/// where there is none is at most [`LEVEL`].
pub fn judge<'c>(comparisons: impl IntoIterator<Item = &'c mut Comparison>) {
    let mut judged: Vec<_> = comparisons
        .into_iter()
        .filter_map(|comparison| comparison.ratio.map(|ratio| (comparison, ratio)))
        .collect();
    let chances: Vec<f64> = judged
        .iter()
        .map(|(_, ratio)| ratio.chance_if_equal())
        .collect();
    for ((comparison, ratio), differs) in judged.iter_mut().zip(refuted(&chances, LEVEL)) {
        comparison.verdict = if differs {
            comparison.direction(ratio)
        } else {
            Verdict::NoDifferenceSeen
        };
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
        let words = |metric, ours, theirs| {
            let mut comparison = Comparison::of(metric, ours, theirs, true);
            judge([&mut comparison]);
            comparison.to_string()
        };
        assert_eq!(words(Metric::Rate, &fast, &slow), "faster");
        assert_eq!(words(Metric::P50, &fast, &slow), "faster");
        assert_eq!(words(Metric::Cpu, &fast, &slow), "cheaper");
        assert_eq!(words(Metric::Rate, &slow, &fast), "slower");
        assert_eq!(words(Metric::P50, &slow, &slow), "no difference seen");
        assert_eq!(words(Metric::P99, &slow, &fast), "cannot be said");
    }

    #[test]
    fn what_may_be_the_luck_of_a_dozen_is_no_difference() {
        let ours = rounds(&[100.0, 110.0, 104.0, 107.0]);
        let theirs = rounds(&[100.0; 4]);
        let mut alone = Comparison::of(Metric::Rate, &ours, &theirs, true);
        judge([&mut alone]);
        assert_eq!(alone.verdict, Verdict::NoDifferenceSeen);
        let clear = rounds(&[108.0, 110.0, 112.0, 110.0]);
        let mut alone = Comparison::of(Metric::Rate, &clear, &theirs, true);
        judge([&mut alone]);
        assert_eq!(alone.verdict, Verdict::Better);
        let faint = rounds(&[102.0, 110.0, 104.0, 109.0]);
        let mut dozen = [Comparison::of(Metric::Rate, &faint, &theirs, true); 12];
        judge(&mut dozen[..1]);
        assert_eq!(dozen[0].verdict, Verdict::Better);
        judge(&mut dozen);
        assert_eq!(dozen[0].verdict, Verdict::NoDifferenceSeen);
    }
}
