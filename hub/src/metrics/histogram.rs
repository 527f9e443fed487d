//! Durations in buckets: eight of equal width for each doubling, so that a quantile is
//! right to an eighth, from 3 µs to 52 s.

use std::time::Duration;

use super::counter::Counter;

/// Width of the narrowest buckets.
const UNIT_NS: u64 = 3125;
/// Buckets for each doubling.
const STEP_COUNT: usize = 8;
/// Doublings above the first eight buckets, which end at 25 µs.
const DOUBLING_COUNT: usize = 21;
/// The last has everything that is longer.
const BUCKET_COUNT: usize = STEP_COUNT * (DOUBLING_COUNT + 1) + 1;

/// Bounds at which a histogram is exported: 25 µs and its doublings, up to 52.4 s.
pub const EXPORTED_COUNT: usize = DOUBLING_COUNT + 1;

/// Durations that one thread records.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKET_COUNT],
    sum_ns: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_ns: Counter::default(),
        }
    }
}

impl Histogram {
    /// Records one; by its owner's thread alone.
    #[inline]
    pub(super) fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].add(1);
        self.sum_ns.add(ns);
    }
}

/// The bucket of a duration; a bound belongs to the bucket below it.
#[inline]
fn bucket_of(ns: u64) -> usize {
    let units = ns.saturating_sub(1) / UNIT_NS;
    if units < STEP_COUNT as u64 {
        return units as usize;
    }
    let doubling = units.ilog2() - STEP_COUNT.ilog2();
    let step = (units >> doubling) as usize % STEP_COUNT;
    let bucket = STEP_COUNT * (doubling as usize + 1) + step;
    bucket.min(BUCKET_COUNT - 1)
}

/// Where a bucket ends.
fn end_of(bucket: usize) -> u64 {
    let (row, step) = (bucket / STEP_COUNT, bucket % STEP_COUNT + 1);
    match row {
        0 => UNIT_NS * step as u64,
        _ => (UNIT_NS * (STEP_COUNT + step) as u64) << (row - 1),
    }
}

/// What histograms have come to, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; BUCKET_COUNT],
    sum_ns: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: [0; BUCKET_COUNT],
            sum_ns: 0,
        }
    }
}

impl Durations {
    /// Adds what a histogram has.
    pub fn add(&mut self, histogram: &Histogram) {
        for (count, bucket) in self.counts.iter_mut().zip(&histogram.buckets) {
            *count += bucket.get();
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.get());
    }

    /// Adds what others have come to.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// What has come since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        let mut counts = [0; BUCKET_COUNT];
        for (count, (now, before)) in counts.iter_mut().zip(pairs) {
            *count = now.saturating_sub(*before);
        }
        Self {
            counts,
            sum_ns: self.sum_ns.wrapping_sub(earlier.sum_ns),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them one after the other.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// The duration that this share of them does not exceed, between the bounds of its bucket
    /// by rank; `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            if below + count >= rank {
                let start = bucket.checked_sub(1).map_or(0, end_of);
                let width = if bucket + 1 == BUCKET_COUNT {
                    0
                } else {
                    end_of(bucket) - start
                };
                let part = (rank - below) as f64 / *count as f64;
                return Some(Duration::from_nanos(start + (width as f64 * part) as u64));
            }
            below += count;
        }
        None
    }

    /// Bounds in seconds, and how many durations each bucket up to it has that the one
    /// before has not. The last bound is infinite.
    pub fn exported(&self) -> [(f64, u64); EXPORTED_COUNT + 1] {
        std::array::from_fn(|row| {
            let start = STEP_COUNT * row;
            if row == EXPORTED_COUNT {
                return (f64::INFINITY, self.counts[start]);
            }
            let end = start + STEP_COUNT;
            let count = self.counts[start..end].iter().sum();
            (end_of(end - 1) as f64 / 1e9, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: impl IntoIterator<Item = u64>) -> Durations {
        let histogram = Histogram::default();
        all.into_iter().for_each(|ns| histogram.record(ns));
        let mut durations = Durations::default();
        durations.add(&histogram);
        durations
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_it_ends() {
        for bucket in 0..BUCKET_COUNT - 1 {
            let end = end_of(bucket);
            assert_eq!(bucket_of(end), bucket, "{end}");
            assert_eq!(bucket_of(end + 1), bucket + 1, "{end}");
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKET_COUNT - 1);
    }

    #[test]
    fn exported_bounds_are_25_microseconds_and_its_doublings_and_counts_are_exact() {
        let exported = of([25_000, 25_001, 50_000, 50_001, 99_000_000_000]).exported();
        assert_eq!(exported[0], (0.000_025, 1));
        assert_eq!(exported[1], (0.000_05, 2));
        assert_eq!(exported[2], (0.000_1, 1));
        assert_eq!(exported[EXPORTED_COUNT - 1], (52.4288, 0));
        assert_eq!(exported[EXPORTED_COUNT].1, 1);
    }

    #[test]
    fn a_quantile_is_right_to_an_eighth() {
        let durations = of((1..=10_000).map(|n| n * 1000));
        for (share, exact_us) in [(0.5, 5000.0), (0.99, 9900.0), (0.999, 9990.0)] {
            let us = durations.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!((us / exact_us - 1.0).abs() < 0.125, "{share}: {us}");
        }
        assert_eq!(of([]).quantile(0.5), None);
        assert_eq!(durations.count(), 10_000);
        assert_eq!(durations.sum(), Duration::from_millis(50_005));
    }

    #[test]
    fn what_came_since_a_look_is_what_was_recorded_since() {
        let earlier = of([100, 5_000_000]);
        let mut now = of([7_000_000]);
        now.merge(&earlier);
        assert_eq!(now.since(&earlier), of([7_000_000]));
    }
}
