//! When each request of an open loop is meant to be sent.

use std::time::Duration;

use crate::limits::RATE_MAX;

/// Requests per second over the time measured; constant during the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// At the start.
    pub from: f64,
    /// At the end; between them, the rate grows or falls evenly.
    pub to: f64,
}

impl Rate {
    /// The same all the time.
    pub const fn constant(per_second: f64) -> Self {
        Self {
            from: per_second,
            to: per_second,
        }
    }

    /// Parses `20000` or `1000:50000`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| {
            parse_rate(text).map_err(|why| format!("{why}; or a ramp, like 1000:50000"))
        };
        Ok(Self {
            from: number(from)?,
            to: number(to)?,
        })
    }

    /// Mean over the time measured.
    pub fn mean(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from < self.to || self.to < self.from {
            write!(f, "{}:{}", self.from, self.to)
        } else {
            write!(f, "{}", self.from)
        }
    }
}

/// Parses requests per second: `20000`, `20k`, `1.5M`.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix(['k', 'M']) {
        Some(number) if text.ends_with('k') => (number, 1e3),
        Some(number) => (number, 1e6),
        None => (text, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * factor)
        .filter(|rate| *rate > 0.0 && *rate <= RATE_MAX)
        .ok_or_else(|| {
            format!("expected requests per second, like 20000 or 20k; at most {RATE_MAX:.0}")
        })
}

/// Intended times, in nanoseconds from the start of the load.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: Rate,
    warmup_ns: u64,
    measured_seconds: f64,
    /// Requests before the measured ones.
    warmup_count: u64,
    /// Requests to measure, where that is what ends the run.
    count_max: u64,
}

impl Schedule {
    /// For a run of a length in seconds, or of a count of measured requests.
    pub fn new(rate: Rate, warmup: Duration, measured_seconds: f64, count: Option<u64>) -> Self {
        Self {
            rate,
            warmup_ns: warmup.as_nanos() as u64,
            measured_seconds,
            warmup_count: (rate.from * warmup.as_secs_f64()).ceil() as u64,
            count_max: count.unwrap_or(u64::MAX),
        }
    }

    /// Intended time of the request of an index, counted from 0 over all
    /// threads; `None` behind the last.
    #[inline]
    pub fn due_ns(&self, index: u64) -> Option<u64> {
        let Some(measured) = index.checked_sub(self.warmup_count) else {
            return Some((index as f64 / self.rate.from * 1e9) as u64);
        };
        if measured >= self.count_max {
            return None;
        }
        let seconds = self.seconds_until(measured as f64)?;
        (seconds < self.measured_seconds).then_some(self.warmup_ns + (seconds * 1e9) as u64)
    }

    /// Solves `from · t + (to − from) · t² / 2d = count` for t.
    fn seconds_until(&self, count: f64) -> Option<f64> {
        let from = self.rate.from;
        let slope = (self.rate.to - from) / self.measured_seconds;
        let root = from * from + 2.0 * slope * count;
        // In this form nothing cancels, also where the slope is near zero. A
        // falling ramp has an end, beyond which the root is negative.
        (root >= 0.0).then(|| 2.0 * count / (from + root.sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: &str, warmup: f64, measured: f64, count: Option<u64>) -> Vec<u64> {
        let warmup = Duration::from_secs_f64(warmup);
        let schedule = Schedule::new(Rate::parse(rate).unwrap(), warmup, measured, count);
        (0..).map_while(|index| schedule.due_ns(index)).collect()
    }

    #[test]
    fn a_constant_rate_has_even_steps_and_ends_with_its_time() {
        let times = times("1000", 0.01, 0.1, None);
        assert_eq!(times.len(), 110);
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000
                || (pair[1] - pair[0]).abs_diff(1_000_000) <= 1)
        );
    }

    #[test]
    fn a_ramp_sends_the_mean_rate_and_gets_quicker() {
        let times = times("1000:3000", 0.0, 2.0, None);
        assert!(times.len().abs_diff(4000) <= 1, "{}", times.len());
        let in_first = times.iter().filter(|time| **time < 1_000_000_000).count();
        assert!(in_first.abs_diff(1500) <= 1, "{in_first}");
        let falling = super::tests::times("3000:1000", 0.0, 2.0, None);
        assert!(falling.len().abs_diff(4000) <= 1, "{}", falling.len());
    }

    #[test]
    fn a_count_ends_the_measured_requests_not_those_before() {
        assert_eq!(times("1000", 0.01, 1e9, Some(7)).len(), 17);
    }

    #[test]
    fn every_measured_request_is_due_behind_the_warm_up_whatever_that_is() {
        for milliseconds in 1..3000 {
            let warmup = Duration::from_millis(milliseconds);
            let schedule = Schedule::new(Rate::parse("200").unwrap(), warmup, 1.0, Some(1));
            let first = schedule.due_ns(schedule.warmup_count).unwrap();
            assert_eq!(u128::from(first), warmup.as_nanos());
        }
    }

    #[test]
    fn after_a_week_the_steps_are_still_exact_to_the_nanosecond() {
        let schedule = Schedule::new(Rate::parse("50000").unwrap(), Duration::ZERO, 1e6, None);
        let week = 50_000 * 86_400 * 7;
        let step = schedule.due_ns(week + 1).unwrap() - schedule.due_ns(week).unwrap();
        assert!(step.abs_diff(20_000) <= 1, "{step}");
    }

    #[test]
    fn wrong_rates_are_refused_with_what_is_expected() {
        for bad in ["", "0", "-1", "x", "1:", "1:0", "1e9", "nan"] {
            assert!(Rate::parse(bad).unwrap_err().contains("20000"), "{bad}");
        }
        assert_eq!(Rate::parse("1000:50000").unwrap().to_string(), "1000:50000");
        assert_eq!(Rate::parse("1k:1.5M").unwrap().to_string(), "1000:1500000");
        assert!(parse_rate("k").is_err() && parse_rate("1kk").is_err());
    }
}
