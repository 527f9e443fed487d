//! In what order requests of several weights are sent.

use crate::limits::WEIGHT_SUM_MAX;

/// Spreads requests evenly by their weights: each step takes the one that is
/// furthest behind its share (smooth weighted round robin, as nginx does it).
pub fn sequence(weights: &[u32]) -> Vec<u16> {
    // Weights with a common divisor need that much shorter a cycle.
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<i64> = weights
        .iter()
        .map(|weight| i64::from(weight / divisor))
        .collect();
    let sum: i64 = weights.iter().sum();
    // Beyond the bound, proportions are kept as far as they can be.
    if sum > i64::from(WEIGHT_SUM_MAX) {
        for weight in &mut weights {
            *weight = (*weight * i64::from(WEIGHT_SUM_MAX) / sum).max(1);
        }
    }
    let sum: i64 = weights.iter().sum();
    let mut credits = vec![0_i64; weights.len()];
    (0..sum)
        .map(|_| {
            for (credit, weight) in credits.iter_mut().zip(&weights) {
                *credit += weight;
            }
            let richest = (0..credits.len())
                .rev()
                .max_by_key(|index| credits[*index])
                .unwrap_or(0);
            credits[richest] -= sum;
            richest as u16
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
