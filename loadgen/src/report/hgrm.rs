//! The percentile file of `HdrHistogram` (`.hgrm`), which its plotter reads.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100 %, as `HdrHistogram`'s tools
/// write it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Renders latencies, recorded in nanoseconds, in milliseconds.
pub fn render(latencies: &Histogram<u64>) -> String {
    let milliseconds = |nanoseconds: f64| nanoseconds / 1e6;
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("a String takes everything");
    };
    for step in latencies.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let quantile = step.quantile_iterated_to();
        let value = milliseconds(step.value_iterated_to() as f64);
        let count = latencies.count_between(0, step.value_iterated_to());
        // The last line, at 100 %, has no last column: it would be infinite.
        if quantile < 1.0 {
            let distance = 1.0 / (1.0 - quantile);
            line(format_args!(
                "{value:12.6} {quantile:14.12} {count:10} {distance:14.2}\n"
            ));
        } else {
            line(format_args!("{value:12.6} {quantile:14.12} {count:10}\n"));
        }
    }
    line(format_args!(
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n",
        milliseconds(latencies.mean()),
        milliseconds(latencies.stdev()),
    ));
    line(format_args!(
        "#[Max     = {:12.6}, Total count    = {:12}]\n",
        milliseconds(latencies.max() as f64),
        latencies.len(),
    ));
    line(format_args!(
        "#[Buckets = {:12}, SubBuckets     = {:12}]\n",
        latencies.buckets(),
        2048,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_percentile_file_is_as_it_was() {
        let outcome = sample::outcome();
        sample::assert_golden("latency.hgrm", &render(&outcome.total.latency));
    }

    #[test]
    fn read_back_as_the_plotter_does_it_has_the_histogram_s_percentiles() {
        let latencies = sample::outcome().total.latency;
        let text = render(&latencies);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|number| number.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 10);
        for row in &rows {
            let expected = latencies.value_at_quantile(row[1]);
            let read = (row[0] * 1e6).round() as u64;
            assert!(
                latencies.equivalent(read, expected),
                "{row:?}, expected {expected}"
            );
        }
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2]), (1.0, 6_800.0));
    }
}
