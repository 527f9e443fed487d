//! What a rate must hold.

use std::time::Duration;

use crate::curve::step::Figures;
use crate::limits::{RATE_REACHED_SHARE, RIGHT_SHARE_MIN};
use crate::units::{self, duration};

/// Bounds on percentiles; beside them, nearly every request must be sent in time and get a right
/// response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// At most this at the median.
    pub p50: Option<Duration>,
    /// At most this at the 99th percentile.
    pub p99: Option<Duration>,
    /// At most this at the 99.9th.
    pub p99_9: Option<Duration>,
}

impl Goal {
    /// Why figures miss it, if they do.
    pub fn miss(&self, figures: &Figures) -> Option<String> {
        if figures.right_share < RIGHT_SHARE_MIN {
            let share = units::share(figures.right_share);
            return Some(format!("only {share} got a right response in time"));
        }
        if figures.requests_per_s < RATE_REACHED_SHARE * figures.rate {
            return Some(format!(
                "only {} requests/s came back",
                units::rate(figures.requests_per_s)
            ));
        }
        let bounds = [
            ("p50", self.p50, figures.p50_ns),
            ("p99", self.p99, figures.p99_ns),
            ("p99.9", self.p99_9, figures.p99_9_ns),
        ];
        bounds.into_iter().find_map(|(name, most, seen_ns)| {
            let most_ns = most?.as_nanos() as u64;
            (seen_ns > most_ns)
                .then(|| format!("{name} {} > {}", duration(seen_ns), duration(most_ns)))
        })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bounds = [("p50", self.p50), ("p99", self.p99), ("p99.9", self.p99_9)];
        let bounds: Vec<_> = bounds
            .into_iter()
            .filter_map(|(name, most)| {
                Some(format!("{name} ≤ {}", duration(most?.as_nanos() as u64)))
            })
            .collect();
        f.write_str(&bounds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_said() {
        let goal = Goal {
            p99: Some(Duration::from_millis(2)),
            ..Goal::default()
        };
        let good = Figures {
            rate: 1000.0,
            requests_per_s: 999.0,
            right_share: 1.0,
            p99_ns: 1_900_000,
            ..Figures::default()
        };
        assert_eq!(goal.miss(&good), None);
        let missed = |figures: Figures| goal.miss(&figures).unwrap();
        let late = Figures {
            p99_ns: 2_100_000,
            ..good.clone()
        };
        assert_eq!(missed(late), "p99 2.10 ms > 2.00 ms");
        let slow = Figures {
            requests_per_s: 900.0,
            ..good.clone()
        };
        assert_eq!(missed(slow), "only 900 requests/s came back");
        let wrong = Figures {
            right_share: 0.5,
            ..good
        };
        assert_eq!(missed(wrong), "only 50.0 % got a right response in time");
        assert_eq!(goal.to_string(), "p99 ≤ 2.00 ms");
    }
}
