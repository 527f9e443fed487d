//! Numbers as people read them.

/// A duration with three figures and its unit.
pub fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    match value {
        0.0..9.995 => format!("{value:.2} {unit}"),
        9.995..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A whole number with its thousands set apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number that is whole in most cases.
pub fn number(value: f64) -> String {
    if (value - value.round()).abs() < 1e-9 {
        count(value.round() as u64)
    } else {
        format!("{value:.3}")
    }
}

/// Something per second: whole where that is exact enough.
pub fn rate(per_second: f64) -> String {
    match per_second {
        0.0..10.0 => format!("{per_second:.2}"),
        10.0..100.0 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

/// `1 thread`, `2 threads`.
pub fn plural(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_figures_and_a_unit() {
        for (nanoseconds, expected) in [
            (7, "7 ns"),
            (1_234, "1.23 µs"),
            (74_600, "74.6 µs"),
            (9_999, "10.0 µs"),
            (740_000, "740 µs"),
            (2_500_000_000, "2.50 s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }

    #[test]
    fn counts_have_their_thousands_set_apart() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
        assert_eq!(
            (number(2.5), number(20_000.0)),
            ("2.500".into(), "20,000".into())
        );
        assert_eq!(
            (plural(1, "core"), plural(2, "core")),
            ("1 core".into(), "2 cores".into())
        );
    }
}
