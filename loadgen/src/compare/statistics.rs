//! Ratios of two targets' rounds, how sure they are, and which of many differences stand together.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A chance of error that is taken: of intervals, and of all verdicts of a comparison together.
pub const LEVEL: f64 = 0.05;

/// The same for conditions that fail a build (`--fail-if`): one that fails by chance costs more than
/// a change that is found in the next run.
pub const GATE_LEVEL: f64 = 0.01;

/// The deviation of a value's logarithm that is rounded to three digits: a uniform one over
/// a step of 1 in 1,000.
const ROUNDING: f64 = 0.001 / 3.464;

/// A ratio with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The estimate: a geometric mean over the rounds.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    log_mean: f64,
    standard_error: f64,
    freedom: f64,
}

impl Ratio {
    /// `ours / theirs`, round by round: for rounds that were interleaved, where
    /// what disturbs one disturbs its neighbour. Needs two rounds, of values
    /// above 0.
    pub fn paired(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let logs: Vec<_> = ours
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| (ours / theirs).ln())
            .collect();
        let (mean, variance) = moments(&logs)?;
        let count = logs.len() as f64;
        Some(Self::around(mean, (variance / count).sqrt(), count - 1.0))
    }

    /// `ours / theirs` of rounds that have nothing to do with each other, like
    /// those of a baseline (Welch's interval).
    pub fn unpaired(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<_>>();
        let (our_mean, our_variance) = moments(&logs(ours))?;
        let (their_mean, their_variance) = moments(&logs(theirs))?;
        let our_part = our_variance / ours.len() as f64;
        let their_part = their_variance / theirs.len() as f64;
        let variance = our_part + their_part;
        // Welch–Satterthwaite. Without any spread the freedom does not matter.
        let freedom = if variance > 0.0 {
            variance * variance
                / (our_part * our_part / (ours.len() as f64 - 1.0)
                    + their_part * their_part / (theirs.len() as f64 - 1.0))
        } else {
            1.0
        };
        Some(Self::around(
            our_mean - their_mean,
            variance.sqrt(),
            freedom,
        ))
    }

    fn around(log_mean: f64, standard_error: f64, freedom: f64) -> Self {
        let reach = student(freedom).inverse_cdf(1.0 - LEVEL / 2.0) * standard_error;
        Self {
            value: log_mean.exp(),
            low: (log_mean - reach).exp(),
            high: (log_mean + reach).exp(),
            log_mean,
            standard_error,
            freedom,
        }
    }

    /// The chance of rounds that differ as much as these, or more, though the true ratio is 1.
    pub fn chance_if_equal(&self) -> f64 {
        (2.0 * self
            .chance_if_not_above(1.0)
            .min(self.chance_if_not_below(1.0)))
        .min(1.0)
    }

    /// The chance of rounds like these, or clearer ones, though the true ratio is at most `bound`.
    pub fn chance_if_not_above(&self, bound: f64) -> f64 {
        self.tail(self.log_mean - bound.ln())
    }

    /// The chance of rounds like these, or clearer ones, though the true ratio is at least `bound`.
    pub fn chance_if_not_below(&self, bound: f64) -> f64 {
        self.tail(bound.ln() - self.log_mean)
    }

    fn tail(&self, distance: f64) -> f64 {
        // Histograms have three digits: rounds that agree to the last of them are not surer.
        let standard_error = self
            .standard_error
            .max(ROUNDING / (self.freedom + 1.0).sqrt());
        student(self.freedom).sf(distance / standard_error)
    }
}

/// Mean and sample variance of at least two finite values.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum();
    Some((mean, squares / (count - 1.0)))
}

fn student(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("a freedom above 0")
}

/// Which of several hypotheses are refuted so that the chance to refute any that is true is at
/// most `level` (Holm's step-down procedure). In the order of `chances`.
pub fn refuted(chances: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut refuted = vec![false; chances.len()];
    for (rank, index) in order.into_iter().enumerate() {
        if chances[index] > level / (chances.len() - rank) as f64 {
            break;
        }
        refuted[index] = true;
    }
    refuted
}

/// The middle of some values; 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.002
    }

    #[test]
    fn a_chance_agrees_with_the_interval_s_end() {
        let ratio = Ratio::paired(&[1.1, 1.2, 1.3, 1.15], &[1.0; 4]).unwrap();
        assert!(near(ratio.chance_if_not_above(ratio.low), LEVEL / 2.0));
        assert!(near(ratio.chance_if_not_below(ratio.high), LEVEL / 2.0));
        assert!(ratio.chance_if_equal() < LEVEL && ratio.low > 1.0);
        assert!(near(ratio.chance_if_not_above(ratio.value), 0.5));
        let equal = Ratio::paired(&[1.0; 3], &[1.0; 3]).unwrap();
        assert!(near(equal.chance_if_equal(), 1.0));
        let sure = Ratio::paired(&[2.0; 3], &[1.0; 3]).unwrap();
        assert!(near(sure.chance_if_equal(), 0.0));
        let a_step = Ratio::paired(&[1.0005; 3], &[1.0; 3]).unwrap();
        assert!(a_step.chance_if_equal() > LEVEL);
    }

    #[test]
    fn many_hypotheses_need_clearer_rounds_than_one() {
        assert_eq!(refuted(&[0.04], 0.05), [true]);
        assert_eq!(refuted(&[0.04, 0.5], 0.05), [false, false]);
        // Holm's own example: 0.01, then 0.005 is less, then 0.03 stops it.
        assert_eq!(
            refuted(&[0.01, 0.04, 0.03, 0.005], 0.05),
            [true, false, false, true]
        );
        assert_eq!(refuted(&[0.001, 0.02, 0.03], 0.05), [true, true, true]);
        assert!(refuted(&[], 0.05).is_empty());
    }

    #[test]
    fn rounds_that_move_together_leave_a_sharp_ratio_only_when_paired() {
        let theirs = [100.0, 150.0, 80.0, 120.0, 95.0, 130.0];
        let ours = theirs.map(|value| value * 1.1);
        let paired = Ratio::paired(&ours, &theirs).unwrap();
        assert!(near(paired.low, 1.1) && near(paired.value, 1.1) && near(paired.high, 1.1));
        let unpaired = Ratio::unpaired(&ours, &theirs).unwrap();
        assert!(near(unpaired.value, 1.1) && unpaired.low < 1.0 && unpaired.high > 1.2);
    }

    #[test]
    fn the_interval_is_that_of_a_worked_example() {
        // ln ratios 0.1, 0.2, 0.3: mean 0.2, s = 0.1, t(2) = 4.303.
        let ours = [0.1_f64, 0.2, 0.3].map(f64::exp);
        let ratio = Ratio::paired(&ours, &[1.0; 3]).unwrap();
        let reach = 4.303 * 0.1 / 3_f64.sqrt();
        assert!(near(ratio.low, (0.2 - reach).exp()) && near(ratio.high, (0.2 + reach).exp()));
    }

    #[test]
    fn too_few_or_impossible_values_have_no_ratio() {
        assert_eq!(Ratio::paired(&[1.0], &[1.0]), None);
        assert_eq!(Ratio::paired(&[1.0, 0.0], &[1.0, 1.0]), None);
        assert_eq!(Ratio::unpaired(&[1.0, 1.0], &[]), None);
        assert!(near(median(&[3.0, 1.0, 2.0]), 2.0) && near(median(&[4.0, 1.0]), 2.5));
    }
}
