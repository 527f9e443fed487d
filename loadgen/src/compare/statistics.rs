//! Ratios of two targets' rounds and how sure they are.

/// A ratio with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The estimate: a geometric mean over the rounds.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
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
        let reach = t_975(freedom) * standard_error;
        Self {
            value: log_mean.exp(),
            low: (log_mean - reach).exp(),
            high: (log_mean + reach).exp(),
        }
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

/// The 97.5 % quantile of Student's t distribution: tabulated where it bends,
/// then by the expansion of Cornish and Fisher, which is good to 0.002 there.
fn t_975(freedom: f64) -> f64 {
    const TABLE: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    if freedom < 11.0 {
        // Between two whole numbers the lower is the more careful.
        return TABLE[(freedom.floor().max(1.0) as usize - 1).min(TABLE.len() - 1)];
    }
    let z: f64 = 1.959_964;
    let (z3, z5) = (z.powi(3), z.powi(5));
    z + (z3 + z) / (4.0 * freedom) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * freedom * freedom)
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
    fn student_s_quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [
            (1.0, 12.706),
            (5.0, 2.571),
            (10.0, 2.228),
            (20.0, 2.086),
            (60.0, 2.000),
        ] {
            assert!(
                near(t_975(freedom), expected),
                "{freedom}: {}",
                t_975(freedom)
            );
        }
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
