//! Where a curve of latency over rate bends.

/// The index of the knee of a curve that grows ever faster: the point that is furthest below the
/// line from its first to its last point (the method of Satopaa et al., "Finding a 'Kneedle' in
/// a Haystack", on a logarithmic scale of latency). `None` for a curve that does not bend.
pub fn knee(points: &[(f64, f64)]) -> Option<usize> {
    let (first, last) = (points.first()?, points.last()?);
    let (width, height) = (last.0 - first.0, (last.1 / first.1).ln());
    // Less than a doubling is no bend.
    if !(width > 0.0 && height > 2_f64.ln()) {
        return None;
    }
    let below =
        |point: &(f64, f64)| (point.0 - first.0) / width - (point.1 / first.1).ln() / height;
    let (index, distance) = points
        .iter()
        .map(below)
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    (distance > 0.1).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_s_curve_bends_before_its_capacity_and_a_line_does_not() {
        // An M/M/1 queue that serves 1000 a second.
        let curve: Vec<_> = [100.0, 300.0, 500.0, 700.0, 800.0, 900.0, 950.0, 990.0]
            .map(|rate| (rate, 4600.0 / (1000.0 - rate)))
            .to_vec();
        let at = curve[knee(&curve).unwrap()].0;
        assert!((700.0..=900.0).contains(&at), "{at}");
        let line: Vec<_> = (1..9).map(|x| (f64::from(x), 2_f64.powi(x))).collect();
        assert_eq!(knee(&line), None);
        let flat = [(1.0, 5.0), (2.0, 5.1), (3.0, 5.0)];
        assert_eq!(knee(&flat), None);
        assert_eq!(knee(&[]), None);
    }
}
