//! Looking for the highest rate that holds.

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The highest rate that held; `None` if even the lowest did not.
    pub holds: Option<f64>,
    /// The lowest rate above it that did not.
    pub misses: Option<f64>,
}

/// Bisects, from a guess on, until the rates that hold and miss are closer than `precision` (a
/// share). `holds` measures a rate once, and must be true to it: a rate holds if it does so twice
/// of three times, since a machine that is busy for a moment spoils one measurement. Goes no
/// further down than `lowest` and no further up than `highest`.
pub fn find<E>(
    guess: f64,
    (lowest, highest): (f64, f64),
    precision: f64,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Limit, E> {
    let mut twice_of_three = |rate: f64| -> Result<bool, E> {
        let (first, second) = (holds(rate)?, holds(rate)?);
        if first == second {
            Ok(first)
        } else {
            holds(rate)
        }
    };
    let mut limit = Limit {
        holds: None,
        misses: None,
    };
    let mut rate = guess.clamp(lowest, highest);
    loop {
        if twice_of_three(rate)? {
            limit.holds = Some(rate);
        } else {
            limit.misses = Some(rate);
        }
        rate = match (limit.holds, limit.misses) {
            (Some(good), Some(bad)) if bad / good <= 1.0 + precision => return Ok(limit),
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) if good >= highest => return Ok(limit),
            (Some(good), None) => (good * STRIDE).min(highest),
            (None, Some(bad)) if bad <= lowest => return Ok(limit),
            (None, Some(bad)) => (bad / STRIDE).max(lowest),
            (None, None) => unreachable!("one of them was set"),
        };
    }
}

/// From rate to rate, as long as there is only one side.
const STRIDE: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn search(guess: f64, capacity: f64, noise: impl Fn(u32) -> bool) -> (Limit, u32) {
        let mut count = 0;
        let limit = find(guess, (10.0, 1e6), 0.02, |rate| {
            count += 1;
            Ok::<_, ()>(rate <= capacity && !noise(count))
        });
        (limit.unwrap(), count)
    }

    #[test]
    fn the_limit_is_found_from_below_and_above() {
        for guess in [20.0, 5_000.0, 10_000.0, 500_000.0] {
            let (limit, count) = search(guess, 10_000.0, |_| false);
            let found = limit.holds.unwrap();
            assert!((9_800.0..=10_000.0).contains(&found), "{found}");
            assert!(count < 70, "{count}");
        }
    }

    #[test]
    fn one_bad_measurement_in_five_does_not_move_it() {
        let (limit, _) = search(8_000.0, 10_000.0, |count| count % 5 == 0);
        let found = limit.holds.unwrap();
        assert!((9_800.0..=10_000.0).contains(&found), "{found}");
    }

    #[test]
    fn what_never_holds_or_always_does_ends_at_the_bounds() {
        let (limit, _) = search(1_000.0, 1.0, |_| false);
        assert_eq!((limit.holds, limit.misses), (None, Some(10.0)));
        let (limit, _) = search(1_000.0, 1e9, |_| false);
        assert_eq!((limit.holds, limit.misses), (Some(1e6), None));
    }

    #[test]
    fn a_failure_ends_the_search() {
        let failed = find(1.0, (1.0, 2.0), 0.1, |_| Err("gone"));
        assert_eq!(failed, Err("gone"));
    }
}
