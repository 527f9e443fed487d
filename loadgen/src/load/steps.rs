//! Latencies by steps of a logarithmic scale: what histograms and heat maps are drawn from.

use hdrhistogram::Histogram;

/// Steps to a factor of ten.
const PER_DECADE: f64 = 8.0;

/// The step that a time is in, counted from 1 ns.
pub fn step_of(nanoseconds: u64) -> u16 {
    ((nanoseconds.max(1) as f64).log10() * PER_DECADE).floor() as u16
}

/// Where a step begins, in nanoseconds.
pub fn start_ns(step: u16) -> f64 {
    10_f64.powf(f64::from(step) / PER_DECADE)
}

/// How many values each step has, of those that have any.
pub fn steps(histogram: &Histogram<u64>) -> Vec<(u16, u64)> {
    let mut steps: Vec<(u16, u64)> = Vec::new();
    for value in histogram.iter_recorded() {
        let step = step_of(value.value_iterated_to());
        let count = value.count_since_last_iteration();
        match steps.last_mut() {
            Some((last, sum)) if *last == step => *sum += count,
            _ => steps.push((step, count)),
        }
    }
    steps
}

/// Adds steps to others; both are in their order, and so is what comes out.
pub fn add(to: &mut Vec<(u16, u64)>, more: &[(u16, u64)]) {
    for (step, count) in more {
        match to.binary_search_by_key(step, |(step, _)| *step) {
            Ok(at) => to[at].1 += count,
            Err(at) => to.insert(at, (*step, *count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::new_histogram;

    #[test]
    fn a_value_is_in_the_step_that_begins_below_it() {
        let mut histogram = new_histogram();
        histogram.record_n(80_000, 98).unwrap();
        histogram.record_n(81_000, 1).unwrap();
        histogram.record_n(9_000_000, 2).unwrap();
        let steps = steps(&histogram);
        assert_eq!(steps.iter().map(|step| step.1).collect::<Vec<_>>(), [99, 2]);
        for (step, value) in [(steps[0].0, 80_000.0), (steps[1].0, 9e6)] {
            assert!(start_ns(step) <= value && value < start_ns(step + 1));
        }
        let mut sum = steps.clone();
        add(&mut sum, &[(3, 7), (steps[0].0, 1)]);
        assert_eq!(sum[0], (3, 7));
        assert_eq!(sum[1].1, 100);
    }
}
