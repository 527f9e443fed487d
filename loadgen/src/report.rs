//! What people see: progress lines, a latency table and a histogram in text.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::closed_loop::{Outcome, Progress};

/// Width of the longest bar.
const BAR_WIDTH: usize = 48;

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
        0.0..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// One line that says how it goes.
pub fn progress(progress: &Progress) -> String {
    let Some(measured) = progress.measured else {
        return "warming up".to_owned();
    };
    format!(
        "{:4.1} of {:.1} s   {:>8.0} requests/s   p50 {:>8}   p99 {:>8}   {} errors",
        measured.as_secs_f64(),
        progress.total.as_secs_f64(),
        progress.rate,
        duration(progress.p50_ns),
        duration(progress.p99_ns),
        progress.error_count,
    )
}

/// The table: rate, percentiles, errors by kind.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let latencies = &outcome.latencies;
    let mut row = |name: &str, value: String| {
        writeln!(text, "  {name:<12} {value:>12}").expect("a String takes everything");
    };
    row("requests/s", format!("{:.0}", outcome.rate()));
    row("requests", latencies.len().to_string());
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        row(name, duration(latencies.value_at_quantile(quantile)));
    }
    row("max", duration(latencies.max()));
    if outcome.errors.is_empty() {
        row("errors", "0".to_owned());
    }
    for (kind, count) in &outcome.errors {
        row(kind, format!("{count} errors"));
    }
    text
}

/// A histogram on a logarithmic scale: eight steps to a decade's factor of ten.
pub fn histogram(latencies: &Histogram<u64>) -> String {
    const STEPS_PER_DECADE: f64 = 8.0;
    if latencies.is_empty() {
        return "  (no requests were answered)\n".to_owned();
    }
    let bucket_of = |value: u64| ((value.max(1) as f64).log10() * STEPS_PER_DECADE).floor() as i32;
    let first = bucket_of(latencies.min());
    let last = bucket_of(latencies.max());
    let mut counts = vec![0_u64; (last - first + 1) as usize];
    for step in latencies.iter_recorded() {
        let bucket = bucket_of(step.value_iterated_to()).clamp(first, last);
        counts[(bucket - first) as usize] += step.count_since_last_iteration();
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let mut text = String::new();
    for (index, count) in counts.iter().enumerate() {
        let low = 10_f64.powf(f64::from(first + index as i32) / STEPS_PER_DECADE);
        let share = *count as f64 / latencies.len() as f64 * 100.0;
        writeln!(
            text,
            "  {:>8} │{:<BAR_WIDTH$} {share:6.2} %",
            duration(low as u64),
            bar(*count, most),
        )
        .expect("a String takes everything");
    }
    text
}

/// A bar in eighths of a character; whatever is not nothing is seen.
fn bar(count: u64, most: u64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (count as f64 / most as f64 * (BAR_WIDTH * 8) as f64).round() as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn outcome() -> Outcome {
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        latencies.record_n(80_000, 98).unwrap();
        latencies.record_n(9_000_000, 2).unwrap();
        let errors = BTreeMap::from([("status 503".to_owned(), 3)]);
        Outcome {
            latencies,
            errors,
            elapsed: Duration::from_secs(2),
        }
    }

    #[test]
    fn durations_have_three_figures_and_a_unit() {
        for (nanoseconds, expected) in [
            (7, "7 ns"),
            (1_234, "1.23 µs"),
            (74_600, "74.6 µs"),
            (740_000, "740 µs"),
            (2_500_000_000, "2.50 s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }

    #[test]
    fn the_table_has_every_percentile_and_every_kind_of_error() {
        let table = table(&outcome());
        for part in [
            "50\n",
            "p50               80.1 µs",
            "p99               9.00 ms",
            "status 503       3 errors",
        ] {
            assert!(
                table.contains(part.trim_end_matches('\n')),
                "{part} in\n{table}"
            );
        }
    }

    #[test]
    fn the_histogram_shows_a_rare_outlier_and_empty_steps_between() {
        let drawn = histogram(&outcome().latencies);
        let lines: Vec<_> = drawn.lines().collect();
        assert!(lines.first().unwrap().contains('█') && lines.first().unwrap().contains("98.00 %"));
        assert!(lines.last().unwrap().contains("2.00 %"));
        assert!(lines.len() > 10 && lines[5].contains("0.00 %"));
        assert!(histogram(&Histogram::new(3).unwrap()).contains("no requests"));
    }
}
