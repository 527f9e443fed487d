//! When each request of an open loop is meant to be sent.

use std::cell::RefCell;
use std::time::Duration;

use crate::limits::RATE_MAX;
use crate::random::mix;
use crate::units;

/// Requests per second over the time measured; those of its start during the warm-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// At least one.
    segments: Vec<Segment>,
    arrivals: Arrivals,
}

/// A part of a rate, in which it grows or falls evenly, or stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// At the start.
    pub from: f64,
    /// At the end.
    pub to: f64,
    /// How long; `None` is all of the time measured.
    pub seconds: Option<f64>,
}

/// How requests are spread over their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly, as a metronome beats.
    #[default]
    Even,
    /// As those of many users who know nothing of each other: a Poisson process, and the same
    /// one in every run, so that targets are compared with the same arrivals.
    Poisson,
}

impl Rate {
    /// The same all the time.
    pub fn constant(per_second: f64) -> Self {
        Self::ramp(per_second, per_second)
    }

    /// From one rate to another over the time measured.
    pub fn ramp(from: f64, to: f64) -> Self {
        Self {
            segments: vec![Segment {
                from,
                to,
                seconds: None,
            }],
            arrivals: Arrivals::Even,
        }
    }

    /// Parses `20000`, `20k` or `1000:50000`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| {
            parse_rate(text).map_err(|why| format!("{why}; or a ramp, like 1000:50000"))
        };
        Ok(Self::ramp(number(from)?, number(to)?))
    }

    /// Parses a profile of steps, ramps, spikes and pauses: `1k@10s,1k:5k@30s,0@2s,20k@500ms`.
    pub fn parse_profile(text: &str) -> Result<Self, String> {
        let segment = |part: &str| {
            let wrong = |why: &str| {
                format!("{part:?}: {why}; expected RATE@TIME or FROM:TO@TIME, like 1k@10s,0@2s")
            };
            let (rate, time) = part.split_once('@').ok_or_else(|| wrong("no @"))?;
            let (from, to) = rate.split_once(':').unwrap_or((rate, rate));
            let number = |text: &str| match text {
                "0" => Ok(0.0),
                _ => parse_rate(text).map_err(|why| wrong(&why)),
            };
            let time = units::parse_time(time, 7.0 * 86_400.0).filter(|time| !time.is_zero());
            Ok::<_, String>(Segment {
                from: number(from)?,
                to: number(to)?,
                seconds: Some(time.ok_or_else(|| wrong("no time"))?.as_secs_f64()),
            })
        };
        let segments: Vec<_> = text.split(',').map(segment).collect::<Result<_, _>>()?;
        if segments
            .iter()
            .all(|part| part.from <= 0.0 && part.to <= 0.0)
        {
            return Err("a profile of pauses alone asks nothing".to_owned());
        }
        Ok(Self {
            segments,
            arrivals: Arrivals::Even,
        })
    }

    /// The same rate with other arrivals.
    pub fn with_arrivals(self, arrivals: Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// How requests are spread.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// Its parts.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// At the start.
    pub fn from(&self) -> f64 {
        self.segments[0].from
    }

    /// At the end.
    pub fn to(&self) -> f64 {
        self.segments[self.segments.len() - 1].to
    }

    /// The time that a profile takes.
    pub fn seconds(&self) -> Option<f64> {
        self.segments.iter().map(|segment| segment.seconds).sum()
    }

    /// Mean over the time measured.
    pub fn mean(&self) -> f64 {
        let weight = |segment: &Segment| segment.seconds.unwrap_or(1.0);
        let all: f64 = self.segments.iter().map(weight).sum();
        let count = |segment: &Segment| f64::midpoint(segment.from, segment.to) * weight(segment);
        self.segments.iter().map(count).sum::<f64>() / all
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", segment.from)?;
            if segment.from < segment.to || segment.to < segment.from {
                write!(f, ":{}", segment.to)?;
            }
            if let Some(seconds) = segment.seconds {
                write!(f, "@{seconds}s")?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "even" => Ok(Self::Even),
            "poisson" => Ok(Self::Poisson),
            _ => Err("expected even or poisson".to_owned()),
        }
    }
}

impl std::fmt::Display for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        })
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

/// A segment with where it begins.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: f64,
    slope: f64,
    start_s: f64,
    /// Requests before it.
    start_count: f64,
    seconds: f64,
    /// Requests in it.
    count: f64,
}

/// Intended times, in nanoseconds from the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    pieces: Vec<Piece>,
    warmup_rate: f64,
    warmup_ns: u64,
    measured_seconds: f64,
    /// Requests before the measured ones.
    warmup_count: u64,
    /// Requests to measure, where that is what ends the run.
    count_max: Option<u64>,
    poisson: Option<RefCell<PoissonProcess>>,
}

impl Schedule {
    /// For a run of a length in seconds, or of a count of measured requests.
    pub fn new(rate: &Rate, warmup: Duration, measured_seconds: f64, count: Option<u64>) -> Self {
        let mut pieces = Vec::new();
        let (mut start_s, mut start_count) = (0.0, 0.0);
        for segment in rate.segments() {
            let seconds = segment.seconds.unwrap_or(measured_seconds);
            let count = f64::midpoint(segment.from, segment.to) * seconds;
            pieces.push(Piece {
                from: segment.from,
                slope: (segment.to - segment.from) / seconds,
                start_s,
                start_count,
                seconds,
                count,
            });
            start_s += seconds;
            start_count += count;
        }
        let warmup_rate = rate.from();
        Self {
            pieces,
            warmup_rate,
            warmup_ns: warmup.as_nanos() as u64,
            measured_seconds,
            warmup_count: (warmup_rate * warmup.as_secs_f64()).ceil() as u64,
            count_max: count,
            poisson: match rate.arrivals() {
                Arrivals::Even => None,
                Arrivals::Poisson => Some(RefCell::default()),
            },
        }
    }

    /// Intended time of the request of an index, counted from 0 over all
    /// threads; `None` behind the last.
    #[inline]
    pub fn due_ns(&self, index: u64) -> Option<u64> {
        let Some(measured) = index.checked_sub(self.warmup_count) else {
            return Some((index as f64 / self.warmup_rate * 1e9) as u64);
        };
        if self.count_max.is_some_and(|most| measured >= most) {
            return None;
        }
        let count = match &self.poisson {
            None => measured as f64,
            Some(process) => process.borrow_mut().arrival(measured),
        };
        let seconds = self.seconds_until(count)?;
        // A count ends with its last request, whenever that is.
        let is_in_time = self.count_max.is_some() || seconds < self.measured_seconds;
        is_in_time.then_some(self.warmup_ns + (seconds * 1e9) as u64)
    }

    /// When so many requests have been due, from the start of measuring.
    fn seconds_until(&self, count: f64) -> Option<f64> {
        let is_behind = |piece: &Piece| piece.start_count <= count;
        let index = self.pieces.partition_point(is_behind);
        // Of pauses, which have no requests, the last begins with the piece behind it.
        let piece = self.pieces[index.max(1) - 1];
        let rest = count - piece.start_count;
        let is_last = index == self.pieces.len();
        if is_last && piece.count <= 0.0 {
            return None;
        }
        // Behind the end, where only a count leads, it goes on at the last rate.
        if is_last && rest > piece.count {
            let to = piece.from + piece.slope * piece.seconds;
            let end_s = piece.start_s + piece.seconds;
            return (to > 0.0).then(|| end_s + (rest - piece.count) / to);
        }
        // Solves `from · t + slope · t² / 2 = rest`; in this form nothing cancels, also where
        // the slope is near zero. A falling ramp has an end, beyond which the root is negative.
        let root = piece.from * piece.from + 2.0 * piece.slope * rest;
        let divisor = piece.from + root.sqrt();
        match (root >= 0.0, rest > 0.0) {
            (false, _) => None,
            (true, false) => Some(piece.start_s),
            (true, true) => Some(piece.start_s + 2.0 * rest / divisor),
        }
    }
}

/// Arrivals of a Poisson process of one a second, always the same. Any can be had, those near the
/// last quickly.
#[derive(Clone, Debug, Default)]
struct PoissonProcess {
    /// The arrivals whose index is a multiple of [`BLOCK`].
    blocks: Vec<f64>,
    last_index: u64,
    last: f64,
}

/// See [`PoissonProcess`].
const BLOCK: u64 = 1024;

impl PoissonProcess {
    fn arrival(&mut self, index: u64) -> f64 {
        if self.blocks.is_empty() {
            self.blocks.push(0.0);
        }
        let block = index / BLOCK;
        while self.blocks.len() as u64 <= block {
            let known = self.blocks.len() as u64 - 1;
            let start = self.blocks[known as usize];
            let gaps = (known * BLOCK + 1..=(known + 1) * BLOCK).map(gap);
            self.blocks.push(start + gaps.sum::<f64>());
        }
        let is_near = self.last_index / BLOCK == block && self.last_index <= index;
        let (from, start) = if is_near {
            (self.last_index, self.last)
        } else {
            (block * BLOCK, self.blocks[block as usize])
        };
        self.last = start + (from + 1..=index).map(gap).sum::<f64>();
        self.last_index = index;
        self.last
    }
}

/// The time from one arrival to the next: exponentially distributed with a mean of 1, from a hash
/// of the index.
fn gap(index: u64) -> f64 {
    let z = mix(index);
    // 53 bits, never 0.
    let uniform = ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: &str, warmup: f64, measured: f64, count: Option<u64>) -> Vec<u64> {
        let warmup = Duration::from_secs_f64(warmup);
        let schedule = Schedule::new(&Rate::parse(rate).unwrap(), warmup, measured, count);
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
            let schedule = Schedule::new(&Rate::parse("200").unwrap(), warmup, 1.0, Some(1));
            let first = schedule.due_ns(schedule.warmup_count).unwrap();
            assert_eq!(u128::from(first), warmup.as_nanos());
        }
    }

    #[test]
    fn after_a_week_the_steps_are_still_exact_to_the_nanosecond() {
        let schedule = Schedule::new(&Rate::parse("50000").unwrap(), Duration::ZERO, 1e6, None);
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

    fn profile_times(text: &str, arrivals: Arrivals) -> Vec<f64> {
        let rate = Rate::parse_profile(text).unwrap().with_arrivals(arrivals);
        let seconds = rate.seconds().unwrap();
        let schedule = Schedule::new(&rate, Duration::ZERO, seconds, None);
        let times = (0..).map_while(|index| schedule.due_ns(index));
        times.map(|due_ns| due_ns as f64 / 1e9).collect()
    }

    fn count_between(times: &[f64], from: f64, to: f64) -> usize {
        times
            .iter()
            .filter(|time| (from..to).contains(*time))
            .count()
    }

    #[test]
    fn a_profile_has_steps_ramps_pauses_and_spikes() {
        let times = profile_times("100@1s,100:300@1s,0@2s,1k@500ms,0@1s", Arrivals::Even);
        for (from, to, expected) in [
            (0.0, 1.0, 100),
            (1.0, 2.0, 200),
            (2.0, 4.0, 0),
            (4.0, 4.5, 500),
            (4.5, 9.0, 0),
        ] {
            let count = count_between(&times, from, to);
            assert!(count.abs_diff(expected) <= 1, "{from} to {to}: {count}");
        }
        assert!(times.is_sorted());
        let rate = Rate::parse_profile("1k@10s,0@2s,1k:5k@30s").unwrap();
        assert_eq!(rate.seconds(), Some(42.0));
        assert!((rate.mean() - 100_000.0 / 42.0).abs() < 1e-6);
        assert_eq!(rate.to_string(), "1000@10s,0@2s,1000:5000@30s");
        for bad in ["", "1k", "1k@", "1k@0s", "x@1s", "0@1s", "1k@1s,", "1k@1d"] {
            assert!(Rate::parse_profile(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn poisson_arrivals_vary_as_a_poisson_process_does_and_are_the_same_each_time() {
        let times = profile_times("1000@20s", Arrivals::Poisson);
        assert!(times.is_sorted());
        // Within five standard deviations of 20,000.
        assert!(times.len().abs_diff(20_000) < 710, "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The deviation of an exponential distribution is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
        let in_bins: Vec<_> = (0..200)
            .map(|bin| count_between(&times, f64::from(bin) / 10.0, f64::from(bin + 1) / 10.0))
            .map(|count| count as f64)
            .collect();
        let spread = in_bins
            .iter()
            .map(|count| (count - 100.0).powi(2))
            .sum::<f64>()
            / 200.0;
        assert!((60.0..150.0).contains(&spread), "{spread}");
        assert_eq!(times, profile_times("1000@20s", Arrivals::Poisson));
    }

    #[test]
    fn an_arrival_is_the_same_whichever_was_asked_before() {
        let mut in_order = PoissonProcess::default();
        let all: Vec<f64> = (0..5000).map(|index| in_order.arrival(index)).collect();
        let mut jumping = PoissonProcess::default();
        for index in [4999, 0, 1024, 1023, 3000, 2999, 3001, 17] {
            let expected = all[index as usize];
            assert!((jumping.arrival(index) - expected).abs() < 1e-6, "{index}");
        }
    }

    #[test]
    fn a_count_of_poisson_arrivals_is_that_count() {
        let rate = Rate::constant(1000.0).with_arrivals(Arrivals::Poisson);
        let schedule = Schedule::new(&rate, Duration::ZERO, 0.1, Some(100));
        assert_eq!((0..).map_while(|index| schedule.due_ns(index)).count(), 100);
        for text in ["3000:100", "100:3000"] {
            let rate = Rate::parse(text).unwrap().with_arrivals(Arrivals::Poisson);
            let schedule = Schedule::new(&rate, Duration::ZERO, 10_000.0 / 1550.0, Some(10_000));
            let times: Vec<_> = (0..).map_while(|index| schedule.due_ns(index)).collect();
            assert_eq!(times.len(), 10_000, "{text}");
            assert!(times.is_sorted(), "{text}");
        }
    }
}
