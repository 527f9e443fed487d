//! Numbers as people read them.

use std::time::{Duration, UNIX_EPOCH};

/// Percentiles that tables show, with their names and quantiles.
pub const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// A time: `10`, `10s`, `500ms`, `2m`, `1h`; a bare number is seconds. `None` for what is none, or
/// longer than `seconds_max`.
pub fn parse_time(text: &str, seconds_max: f64) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1.0,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    (seconds <= seconds_max).then(|| Duration::from_secs_f64(seconds))
}

/// A moment, as `2026-11-29 04:20 UTC`.
pub fn date(unix_s: u64) -> String {
    // Beyond the year 9999 there is no such form.
    let moment = UNIX_EPOCH + Duration::from_secs(unix_s.min(253_402_300_799));
    let text = humantime::format_rfc3339_seconds(moment).to_string();
    format!("{} {} UTC", &text[..10], &text[11..16])
}

/// Bytes per second with three figures.
pub fn bytes_per_s(value: f64) -> String {
    let (value, unit) = match value {
        ..1e3 => (value, "B/s"),
        ..1e6 => (value / 1e3, "kB/s"),
        ..1e9 => (value / 1e6, "MB/s"),
        _ => (value / 1e9, "GB/s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

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

/// A share as per cent, with so many figures that what is not all does not look like it.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.1..99.0 => format!("{percent:.1} %"),
        _ if (share - share.round()).abs() < 1e-12 => format!("{percent:.0} %"),
        _ => format!("{percent:.3} %"),
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
    fn moments_byte_rates_and_shares_are_short() {
        assert_eq!(date(1_700_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(bytes_per_s(12_345_678.0), "12.3 MB/s");
        assert_eq!(bytes_per_s(0.0), "0.00 B/s");
        assert_eq!((share(1.0), share(0.0)), ("100 %".into(), "0 %".into()));
        assert_eq!(
            (share(0.5), share(0.99999)),
            ("50.0 %".into(), "99.999 %".into())
        );
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
