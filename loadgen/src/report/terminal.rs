//! The report for a terminal: a table, a histogram, and what to make of it.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::load::steps::{start_ns, steps};
use crate::report::{Report, streams};
use crate::units::{self, PERCENTILES, duration};

/// Groups of latencies that are shown.
const GROUP_COUNT_SHOWN: usize = 20;
/// Width of the longest bar.
const BAR_WIDTH: usize = 48;

/// All of it.
pub fn render(report: &Report<'_>) -> String {
    let mut text = format!(
        "{}\n  {}\n\n  {}\n\n",
        report.plan.target,
        report.plan.load_line(),
        report.sentence()
    );
    text.push_str(&table(report));
    text.push_str(&groups(report));
    text.push('\n');
    text.push_str(&histogram(&report.outcome.total.latency));
    for warning in report.warnings() {
        text.push_str(&format!("\n  ! {warning}\n"));
    }
    text
}

/// Latencies by percentile, rate and errors.
pub fn table(report: &Report<'_>) -> String {
    let mut text = format!("  {:<12}", "");
    for (name, _) in PERCENTILES {
        text.push_str(&format!("{name:>10}"));
    }
    text.push_str(&format!("{:>10}{:>10}\n", "max", "mean"));
    for row in report.rows() {
        text.push_str(&format!("  {:<12}", row.name));
        for (_, quantile) in PERCENTILES {
            let value = duration(row.histogram.value_at_quantile(quantile));
            text.push_str(&format!("{value:>10}"));
        }
        let (max, mean) = (row.histogram.max(), row.histogram.mean() as u64);
        text.push_str(&format!("{:>10}{:>10}\n", duration(max), duration(mean)));
    }
    if report.trust.distrust().is_some() {
        text.push_str(&format!("  {:<12}", "at least"));
        for bound in &report.trust.bounds {
            text.push_str(&format!("{:>10}", duration(bound.at_least_ns)));
        }
        text.push_str("   without the generator's own lag\n");
    }
    text.push('\n');
    text.push_str(&facts(report));
    text
}

/// What there is beside latencies.
fn facts(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        writeln!(text, "  {name:<12} {value}").expect("a String takes everything");
    };
    if let Some(share) = outcome.right_share() {
        fact(
            "right",
            format!("{} of the responses due", units::share(share)),
        );
    }
    let asked = outcome.asked_rate.map_or(String::new(), |rate| {
        format!(" of {} asked for", units::number(rate))
    });
    fact(
        report.words().per_second,
        format!("{}{asked}", units::rate(outcome.rate())),
    );
    let answered = outcome.total.response_count;
    fact(
        report.words().counted,
        format!(
            "{} in {}, {} of generator CPU each",
            units::count(answered),
            duration(outcome.elapsed.as_nanos() as u64),
            duration(outcome.cpu.as_nanos() as u64 / answered.max(1)),
        ),
    );
    for (name, value) in outcome.streams.iter().flat_map(streams::facts) {
        fact(name, value);
    }
    let statuses: Vec<_> = outcome
        .total
        .statuses
        .sorted()
        .into_iter()
        .map(|(status, count)| format!("{} × {status}", units::count(count)))
        .collect();
    if !statuses.is_empty() {
        fact("statuses", statuses.join(", "));
    }
    fact("received", units::bytes_per_s(outcome.bytes_per_s()));
    let kinds: Vec<_> = outcome
        .errors()
        .by_name()
        .into_iter()
        .map(|(kind, count)| format!("{} × {kind}", units::count(count)))
        .collect();
    if outcome.unsent_count > 0 {
        fact("never sent", units::count(outcome.unsent_count));
    }
    fact(
        "errors",
        if kinds.is_empty() {
            "0".to_owned()
        } else {
            kinds.join(", ")
        },
    );
    text
}

/// Latencies by status and by request; the first of many.
fn groups(report: &Report<'_>) -> String {
    let groups = report.groups();
    if groups.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n  {:>12}{:>10}{:>10}{:>10}\n",
        "responses", "p50", "p99", "max"
    );
    for (name, histogram) in groups.iter().take(GROUP_COUNT_SHOWN) {
        text.push_str(&format!(
            "  {:>12}{:>10}{:>10}{:>10}  {name}\n",
            units::count(histogram.len()),
            duration(histogram.value_at_quantile(0.5)),
            duration(histogram.value_at_quantile(0.99)),
            duration(histogram.max()),
        ));
    }
    if groups.len() > GROUP_COUNT_SHOWN {
        let more = groups.len() - GROUP_COUNT_SHOWN;
        text.push_str(&format!("  and {more} more, in --html and --json\n"));
    }
    text
}

/// A histogram on a logarithmic scale: eight steps to a factor of ten.
pub fn histogram(latencies: &Histogram<u64>) -> String {
    if latencies.is_empty() {
        return "  (there is no time to show)\n".to_owned();
    }
    let steps = steps(latencies);
    let (first, last) = (steps[0].0, steps[steps.len() - 1].0);
    let mut counts = vec![0_u64; usize::from(last - first) + 1];
    for (step, count) in steps {
        counts[usize::from(step - first)] += count;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let mut text = String::new();
    for (index, count) in counts.iter().enumerate() {
        let low = start_ns(first + index as u16);
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
    use crate::load::new_histogram;
    use crate::report::sample;

    #[test]
    fn the_report_for_a_terminal_is_as_it_was() {
        sample::assert_golden("report.txt", &sample::with_report(render));
    }

    #[test]
    fn the_histogram_shows_a_rare_outlier_and_empty_steps_between() {
        let mut latencies = new_histogram();
        latencies.record_n(80_000, 98).unwrap();
        latencies.record_n(9_000_000, 2).unwrap();
        let drawn = histogram(&latencies);
        let lines: Vec<_> = drawn.lines().collect();
        assert!(lines.first().unwrap().contains('█') && lines.first().unwrap().contains("98.00 %"));
        assert!(lines.last().unwrap().contains("2.00 %"));
        assert!(lines.len() > 10 && lines[5].contains("0.00 %"));
        assert!(histogram(&new_histogram()).contains("no time"));
    }
}
