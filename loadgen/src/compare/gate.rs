//! Conditions that make a comparison fail (`--fail-if 'p99 worse > 5%'`), for CI.

use std::fmt;
use std::str::FromStr;

use crate::compare::render::Pair;
use crate::compare::rounds::Metric;
use crate::compare::statistics::{GATE_LEVEL, Ratio, refuted};
use crate::compare::verdict::Comparison;
use crate::limits::RIGHT_SHARE_MIN;
use crate::units;

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// `None` is any.
    metric: Option<Metric>,
    directions: &'static [Direction],
    /// As a share: 0.05 is 5 %.
    margin: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Better,
    Worse,
}

impl FromStr for Gate {
    type Err = String;

    /// Parses `p99 worse > 5%`, `requests/s better`, `any worse > 2%` and the like.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no condition; expected a metric ({}, or any), then worse, better or any, and perhaps \
                 by how much, like 'p99 worse > 5%', 'any worse' or 'requests/s any > 2%'",
                Metric::ALL.map(Metric::name).join(", ")
            )
        };
        let (what, margin) = match text.split_once('>') {
            None => (text, "0%"),
            Some((what, margin)) => (what, margin.trim()),
        };
        let (metric, direction) = what.trim().split_once(' ').ok_or_else(wrong)?;
        let metric = match metric {
            "any" => None,
            "rate" => Some(Metric::Rate),
            "cpu" => Some(Metric::Cpu),
            name => Some(
                Metric::ALL
                    .into_iter()
                    .find(|metric| metric.name() == name)
                    .ok_or_else(wrong)?,
            ),
        };
        let directions: &[_] = match direction.trim() {
            "worse" => &[Direction::Worse],
            "better" => &[Direction::Better],
            "any" => &[Direction::Worse, Direction::Better],
            _ => return Err(wrong()),
        };
        let percent = margin.strip_suffix('%').ok_or_else(wrong)?.trim();
        let percent = percent.parse::<f64>().map_err(|_| wrong())?;
        let shrinks = directions.iter().any(|direction| {
            metric.is_none_or(|metric| (*direction == Direction::Better) != metric.more_is_better())
        });
        if percent < 0.0 || !percent.is_finite() {
            return Err(wrong());
        }
        if shrinks && percent >= 100.0 {
            return Err(format!("{text:?}: nothing gets less by 100 % or more"));
        }
        Ok(Self {
            metric,
            directions,
            margin: percent / 100.0,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Something that a condition would fail for, if the rounds show that it is so.
struct Suspicion<'a> {
    gate: &'a Gate,
    pair: &'a Pair<'a>,
    comparison: &'a Comparison,
    ratio: Ratio,
    chance: f64,
}

/// Why the comparison has failed; empty if it has not. All conditions are judged together, by
/// the intervals: the chance that any fails though nothing is beyond its margin is half of
/// [`GATE_LEVEL`], as with one end of one interval.
pub fn failures(gates: &[Gate], pairs: &[Pair<'_>]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut suspicions = Vec::new();
    for gate in gates {
        for pair in pairs {
            let before = suspicions.len();
            let meant = || {
                pair.comparisons
                    .iter()
                    .filter(|comparison| gate.means(comparison))
            };
            if let Some(why) = unjudged(pair, meant()) {
                failures.push(format!("--fail-if '{gate}': not judged, since {why}"));
                continue;
            }
            for comparison in meant() {
                suspicions.extend(gate.suspicions(pair, comparison));
            }
            if suspicions.len() == before {
                failures.push(format!("--fail-if '{gate}': there is nothing to judge"));
            }
        }
    }
    let chances: Vec<f64> = suspicions
        .iter()
        .map(|suspicion| suspicion.chance)
        .collect();
    let confirmed = suspicions.iter().zip(refuted(&chances, GATE_LEVEL / 2.0));
    failures.extend(
        confirmed
            .filter(|(_, holds)| *holds)
            .map(|(suspicion, _)| suspicion.to_string()),
    );
    failures
}

/// Why nothing can be said of a pair by these comparisons.
fn unjudged<'c>(
    pair: &Pair<'_>,
    mut comparisons: impl Iterator<Item = &'c Comparison>,
) -> Option<String> {
    for rounds in [pair.ours, pair.theirs] {
        let share = rounds.least_right_share();
        if share < RIGHT_SHARE_MIN {
            return Some(format!(
                "in a round only {} of the responses of {} were right",
                units::share(share),
                rounds.name
            ));
        }
    }
    let without = comparisons.find(|comparison| comparison.ratio.is_none())?;
    Some(format!(
        "{} of {} has no ratio: see its rounds",
        without.metric.name(),
        pair.ours.name
    ))
}

impl Gate {
    fn means(&self, comparison: &Comparison) -> bool {
        self.metric.is_none_or(|metric| metric == comparison.metric)
    }

    fn suspicions<'a>(
        &'a self,
        pair: &'a Pair<'a>,
        comparison: &'a Comparison,
    ) -> impl Iterator<Item = Suspicion<'a>> {
        let ratio = comparison.ratio;
        let directions = self.directions.iter();
        directions.filter_map(move |direction| {
            let ratio = ratio?;
            let grows = (*direction == Direction::Better) == comparison.metric.more_is_better();
            let chance = if grows {
                ratio.chance_if_not_above(1.0 + self.margin)
            } else {
                ratio.chance_if_not_below(1.0 - self.margin)
            };
            Some(Suspicion {
                gate: self,
                pair,
                comparison,
                ratio,
                chance,
            })
        })
    }
}

impl fmt::Display for Suspicion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ratio {
            value, low, high, ..
        } = self.ratio;
        write!(
            f,
            "--fail-if '{}': {} of {} is {value:.3} times that of {} [{low:.3}, {high:.3}]",
            self.gate,
            self.comparison.metric.name(),
            self.pair.ours.name,
            self.pair.reference_name,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::{Round, Rounds};

    /// b's latencies are so many times a's, give or take a per cent.
    fn failures_of(gates: &[&str], factor: f64) -> Vec<String> {
        let rounds = |factor: f64, drifts: [f64; 6]| Rounds {
            name: "b".to_owned(),
            rounds: drifts
                .map(|drift| Round {
                    requests_per_s: 1000.0 / factor * drift,
                    p50_ns: 1000.0 * factor * drift,
                    p90_ns: 2000.0 * factor * drift,
                    p99_ns: 3000.0 * factor * drift,
                    p99_9_ns: 4000.0 * factor * drift,
                    ..Round::default()
                })
                .to_vec(),
        };
        let ours = rounds(factor, [1.0, 1.01, 0.99, 1.0, 1.01, 0.99]);
        let theirs = rounds(1.0, [1.01, 0.99, 1.0, 0.99, 1.0, 1.01]);
        let pairs = [Pair::new(&ours, &theirs, "a".to_owned(), true)];
        let gates: Vec<Gate> = gates.iter().map(|gate| gate.parse().unwrap()).collect();
        failures(&gates, &pairs)
    }

    #[test]
    fn a_difference_fails_beyond_its_margin_and_not_within_its_noise() {
        let why = failures_of(&["p99 worse > 5%"], 1.2);
        assert!(
            why[0].contains("p99 of b is 1.200 times that of a ["),
            "{why:?}"
        );
        for fine in ["p99 worse > 25%", "p99 better", "p99 worse > 19.9%"] {
            assert!(failures_of(&[fine], 1.2).is_empty(), "{fine}");
        }
        assert_eq!(failures_of(&["any worse"], 1.2).len(), 5);
        assert_eq!(failures_of(&["requests/s worse > 10%"], 1.2).len(), 1);
        assert_eq!(failures_of(&["p50 better > 5%"], 0.9).len(), 1);
        assert_eq!(failures_of(&["p50 any > 5%"], 0.9).len(), 1);
        assert!(failures_of(&["any any"], 1.0).is_empty());
    }

    #[test]
    fn what_cannot_be_judged_fails() {
        let why = failures_of(&["cpu worse"], 1.0);
        assert!(why[0].contains("nothing to judge"), "{why:?}");
    }

    #[test]
    fn a_target_that_answers_half_rightly_is_not_judged_and_fails() {
        let round = |right_share, p50_ns| Round {
            p50_ns,
            right_share: Some(right_share),
            ..Round::default()
        };
        let rounds = |name: &str, share| Rounds {
            name: name.to_owned(),
            rounds: vec![round(1.0, 10.0), round(share, 9.0), round(1.0, 11.0)],
        };
        let (good, half) = (rounds("a", 1.0), rounds("b", 0.5));
        let gates = ["p50 worse > 50%".parse::<Gate>().unwrap()];
        let pairs = [Pair::new(&half, &good, "a".to_owned(), true)];
        let why = failures(&gates, &pairs);
        assert!(
            why[0].contains("only 50.0 % of the responses of b"),
            "{why:?}"
        );
        let pairs = [Pair::new(&good, &good, "a".to_owned(), true)];
        assert!(failures(&gates, &pairs).is_empty());
        // A round of nothing has no logarithm.
        let mut silent = good.clone();
        silent.rounds[1].p50_ns = 0.0;
        let pairs = [Pair::new(&silent, &good, "a".to_owned(), true)];
        let why = failures(&gates, &pairs);
        assert!(why[0].contains("p50 of a has no ratio"), "{why:?}");
    }

    #[test]
    fn wrong_conditions_are_refused_with_examples() {
        for bad in [
            "",
            "p99",
            "p99>2ms",
            "p99 slower",
            "p98 worse",
            "p99 worse > 5",
            "p99 worse > -1%",
            "p99 worse > x%",
        ] {
            let why = bad.parse::<Gate>().unwrap_err();
            assert!(why.contains("'p99 worse > 5%'"), "{bad}");
        }
        assert!("p99 worse > 150%".parse::<Gate>().is_ok());
        for bad in [
            "p99 better > 100%",
            "requests/s worse > 100%",
            "any any > 100%",
        ] {
            assert!(bad.parse::<Gate>().unwrap_err().contains("100 %"), "{bad}");
        }
    }
}
