//! Conditions that make a run fail (`--fail-if 'p99>2ms'`), for CI.

use std::fmt;
use std::str::FromStr;

use crate::limits::RIGHT_SHARE_MIN;
use crate::load::outcome::Outcome;
use crate::units::{self, duration};

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    metric: Metric,
    operator: Operator,
    value: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// A quantile of a histogram, from 0 to 1; nanoseconds.
    Quantile(Source, f64),
    /// Arithmetic mean; nanoseconds.
    Mean(Source),
    /// Errors.
    Errors,
    /// Errors among all responses, from 0 to 1.
    ErrorShare,
    /// Requests per second.
    Rate,
    /// Requests that were due and never sent.
    Unsent,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Latency,
    Service,
    Lag,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl FromStr for Gate {
    type Err = String;

    /// Parses `p99>2ms`, `service.p50>=100us`, `errors>0`, `error-share>0.1%`,
    /// `rate<1000` and the like.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no condition; expected METRIC, > >= < or <=, and a value, like 'p99>2ms', \
                 'service.p99.9>5ms', 'max>=1s', 'errors>0', 'error-share>0.1%', 'rate<1000' or 'unsent>0'"
            )
        };
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = [
            (">=", Operator::GreaterOrEqual),
            ("<=", Operator::LessOrEqual),
            (">", Operator::Greater),
            ("<", Operator::Less),
        ]
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, rest.strip_prefix(sign)?.trim())))
        .ok_or_else(wrong)?;
        let metric = Metric::parse(name.trim()).ok_or_else(wrong)?;
        let value = metric.parse_value(value).ok_or_else(wrong)?;
        Ok(Self {
            metric,
            operator,
            value,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Gate {
    /// Why the run has failed, if it has.
    pub fn failure(&self, outcome: &Outcome) -> Option<String> {
        let Some(seen) = self.metric.of(outcome) else {
            return Some(format!("--fail-if '{self}': there is nothing to judge"));
        };
        if self.metric.is_of_right_responses()
            && let Some(share) = outcome
                .right_share()
                .filter(|share| *share < RIGHT_SHARE_MIN)
        {
            return Some(format!(
                "--fail-if '{self}': not judged, since only {} of the responses due were right; see --expect-status, or what is wrong",
                units::share(share)
            ));
        }
        let holds = match self.operator {
            Operator::Greater => seen > self.value,
            Operator::GreaterOrEqual => seen >= self.value,
            Operator::Less => seen < self.value,
            Operator::LessOrEqual => seen <= self.value,
        };
        holds.then(|| format!("--fail-if '{self}': it was {}", self.metric.show(seen)))
    }
}

impl Metric {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "errors" => return Some(Self::Errors),
            "error-share" => return Some(Self::ErrorShare),
            "rate" => return Some(Self::Rate),
            "unsent" => return Some(Self::Unsent),
            _ => {}
        }
        let (source, name) = [
            ("service.", Source::Service),
            ("lag.", Source::Lag),
            ("latency.", Source::Latency),
        ]
        .into_iter()
        .find_map(|(prefix, source)| Some((source, name.strip_prefix(prefix)?)))
        .unwrap_or((Source::Latency, name));
        match name {
            "max" => Some(Self::Quantile(source, 1.0)),
            "min" => Some(Self::Quantile(source, 0.0)),
            "mean" => Some(Self::Mean(source)),
            _ => {
                let percent = name.strip_prefix('p')?.parse::<f64>().ok()?;
                (0.0..=100.0)
                    .contains(&percent)
                    .then_some(Self::Quantile(source, percent / 100.0))
            }
        }
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Quantile(..) | Self::Mean(_))
    }

    fn is_of_right_responses(self) -> bool {
        matches!(
            self,
            Self::Quantile(Source::Latency | Source::Service, _)
                | Self::Mean(Source::Latency | Source::Service)
        )
    }

    fn parse_value(self, text: &str) -> Option<f64> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number = number.parse::<f64>().ok()?;
        let factor = match (self.is_time(), unit.trim()) {
            (true, "ns") | (false, "") => 1.0,
            (true, "us" | "µs") => 1e3,
            (true, "ms") => 1e6,
            (true, "s") => 1e9,
            (false, "%") if self == Self::ErrorShare => 0.01,
            _ => return None,
        };
        Some(number * factor)
    }

    /// `None` where a histogram is empty.
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let histogram = |source| {
            let histogram = match source {
                Source::Latency => &outcome.total.latency,
                Source::Service => outcome.service(),
                Source::Lag => &outcome.total.lag,
            };
            (!histogram.is_empty()).then_some(histogram)
        };
        let errors = outcome.errors().count();
        Some(match self {
            Self::Quantile(source, quantile) => {
                histogram(source)?.value_at_quantile(quantile) as f64
            }
            Self::Mean(source) => histogram(source)?.mean(),
            Self::Errors => errors as f64,
            Self::ErrorShare => {
                let all = errors + outcome.total.latency.len();
                if all == 0 {
                    return None;
                }
                errors as f64 / all as f64
            }
            Self::Rate => outcome.rate(),
            Self::Unsent => outcome.unsent_count as f64,
        })
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::ErrorShare => format!("{:.3} %", value * 100.0),
            _ if self.is_time() => duration(value as u64),
            _ => units::count(value.round() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn failure(text: &str) -> Option<String> {
        text.parse::<Gate>().unwrap().failure(&sample::outcome())
    }

    #[test]
    fn a_condition_that_holds_fails_the_run_and_says_by_how_much() {
        let why = failure("p99>2ms").unwrap();
        assert!(why.contains("p99>2ms") && why.contains("9.00 ms"), "{why}");
        for holds in [
            "errors>0",
            "errors >= 3",
            "error-share>0.01%",
            "rate<5000",
            "max>=8ms",
            "service.p99<=71us",
            "lag.p99.9 > 4 µs",
            "mean>0.1ms",
        ] {
            assert!(failure(holds).is_some(), "{holds}");
        }
        for fine in [
            "p99>10ms",
            "errors>3",
            "error-share>1%",
            "rate<1000",
            "unsent>0",
            "min<1us",
        ] {
            assert_eq!(failure(fine), None, "{fine}");
        }
    }

    #[test]
    fn what_cannot_be_judged_fails() {
        let mut outcome = sample::outcome();
        outcome.total = crate::load::Interval::new();
        let gate: Gate = "p99>2ms".parse().unwrap();
        assert!(gate.failure(&outcome).unwrap().contains("nothing to judge"));
    }

    #[test]
    fn the_latencies_of_half_of_the_responses_are_not_judged() {
        let mut outcome = sample::outcome();
        for _ in 0..6_000 {
            outcome
                .total
                .errors
                .add(crate::load::ErrorKind::Status(404));
        }
        let fails = |text: &str| text.parse::<Gate>().unwrap().failure(&outcome);
        for gate in ["p99>2ms", "p99>100s", "service.mean>1s"] {
            let why = fails(gate).unwrap();
            assert!(why.contains("only 53.1 %"), "{why}");
        }
        assert_eq!(fails("lag.p99>1s"), None);
        assert_eq!(fails("error-share>50%"), None);
    }

    #[test]
    fn wrong_conditions_are_refused_with_examples() {
        for bad in [
            "",
            "p99",
            "p99=2ms",
            "p99>2",
            "p101>2ms",
            "errors>1ms",
            "p99>ms",
            "x>1",
            "rate>1%",
        ] {
            assert!(
                bad.parse::<Gate>().unwrap_err().contains("p99>2ms"),
                "{bad}"
            );
        }
    }
}
