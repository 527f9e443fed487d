//! The report for a browser: one file, no network, no script.

use hdrhistogram::Histogram;

use crate::load::PHASE_NAMES;
use crate::load::steps::{self, start_ns};
use crate::report::chart::{self, Axis, Cell, Series, escape};
use crate::report::{Report, tables};
use crate::units::{self, PERCENTILES, duration};

/// Points of a curve or of a time line; more could not be told apart.
const POINT_COUNT_MAX: usize = 600;

/// The style sheet, shared with the comparison's page.
pub const STYLE: &str = include_str!("style.css");

/// Colour of the generator's lag.
const LAG_CLASS: &str = "c3";

/// Renders the page.
pub fn render(report: &Report<'_>) -> String {
    let mut body = format!("<p class=\"verdict\">{}</p>\n", escape(&report.sentence()));
    for warning in report.warnings() {
        body.push_str(&format!("<p class=\"warning\">{}</p>", escape(&warning)));
    }
    body.push_str(&tiles(report));
    if !report.outcome.total.latency.is_empty() || report.outcome.streams.is_none() {
        let time = report.words().time_heading;
        let by_percentile = format!("{time} by percentile");
        body.push_str(&figure(&by_percentile, &percentile_curve(report)));
        body.push_str(&figure(
            &format!("{time} over time"),
            &latency_over_time(report),
        ));
        body.push_str(&figure(
            &format!("{} over time", report.words().all_times),
            &heat_map(report),
        ));
    }
    let came = report.words().came;
    body.push_str(&figure(
        &format!("{came} over time"),
        &rate_over_time(report),
    ));
    body.push_str(&tables::streams(report));
    body.push_str(&phases(report));
    body.push_str(&tables::statuses(report));
    body.push_str(&errors(report));
    body.push_str(&tables::percentile_table(report));
    body.push_str(&tables::groups(report));
    body.push_str(&tables::environment_table(report));
    page(
        &format!("Load on {}", report.plan.target),
        &report.plan.load_line(),
        &body,
    )
}

/// A page of ours around a body.
pub fn page(title: &str, subtitle: &str, body: &str) -> String {
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>\n{STYLE}</style></head>\n<body><main>\
         <h1>{title}</h1><p class=\"subtitle\">{subtitle}</p>\n{body}</main></body></html>\n"
    )
}

/// A drawing under its heading.
pub fn figure(heading: &str, svg: &str) -> String {
    format!("<section><h2>{heading}</h2>{svg}</section>\n")
}

fn tiles(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let mut tiles = vec![(report.words().per_second, units::rate(outcome.rate()))];
    for (name, quantile) in PERCENTILES.into_iter().filter(|(name, _)| *name != "p90") {
        let latency = &outcome.total.latency;
        tiles.push((name, duration(latency.value_at_quantile(quantile))));
    }
    tiles.push(("errors", units::count(outcome.errors().count())));
    if let Some(streams) = &outcome.streams {
        tiles.push(("lagging streams", units::count(streams.lagging)));
    } else if let Some(share) = outcome.right_share() {
        tiles.push(("right responses", units::share(share)));
    }
    let tiles: String = tiles
        .iter()
        .map(|(name, value)| {
            let class = if *name == "errors" && value != "0" {
                " bad"
            } else {
                ""
            };
            format!("<div class=\"tile{class}\"><b>{value}</b><span>{name}</span></div>")
        })
        .collect();
    format!("<div class=\"tiles\">{tiles}</div>\n")
}

fn percentile_curve(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let mut curves = Vec::new();
    let mut low = f64::INFINITY;
    let mut add = |name: &str, class, histogram: &Histogram<u64>| {
        if !histogram.is_empty() {
            // Lags of nothing at all would take up most of a logarithmic scale.
            let least = histogram.value_at_quantile(if class == LAG_CLASS { 0.5 } else { 0.0 });
            low = low.min(least as f64);
            curves.push(Series {
                name: name.to_owned(),
                class,
                points: curve(histogram),
            });
        }
    };
    add(report.words().time, "c1", &outcome.total.latency);
    if outcome.asked_rate.is_some() {
        add("service time", "c2", &outcome.total.service);
    }
    add("generator's lag", LAG_CLASS, &outcome.total.lag);
    if let Some(noise) = report.noise {
        add("echo floor", "c4", &noise.echo_latency);
    }
    let points = curves.iter().flat_map(|curve: &Series| &curve.points);
    let high = points.map(|point| point.1).fold(1.0, f64::max);
    let y = Axis::logarithmic(low, high, report.words().time, |value| {
        duration(value as u64)
    });
    let x = Axis::percentiles(outcome.total.latency.len());
    chart::lines(
        &format!("{} by percentile", report.words().time_heading),
        &x,
        &y,
        &curves,
    )
}

/// Points at even steps on the percentile axis.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines = (histogram.len().max(10) as f64).log10();
    let steps = 160;
    (0..=steps)
        .map(|step| {
            let distance = 10_f64.powf(nines * f64::from(step) / f64::from(steps));
            let value = histogram.value_at_quantile(1.0 - 1.0 / distance);
            (distance, value as f64)
        })
        .collect()
}

fn seconds_axis(report: &Report<'_>) -> Axis {
    let end = report
        .outcome
        .points
        .last()
        .map_or(1.0, |point| point.from_seconds + point.seconds);
    Axis::time(end, "seconds")
}

/// Middles of the intervals, thinned out evenly, with a value of each.
fn over_time(
    report: &Report<'_>,
    value: impl Fn(&crate::load::outcome::Point) -> f64,
) -> Vec<(f64, f64)> {
    let points = &report.outcome.points;
    let step = points.len().div_ceil(POINT_COUNT_MAX).max(1);
    points
        .chunks(step)
        .map(|chunk| {
            // Of several intervals the worst is shown: peaks must not vanish.
            let worst = chunk.iter().map(&value).fold(0.0, f64::max);
            let first = &chunk[0];
            (first.from_seconds + first.seconds / 2.0, worst)
        })
        .collect()
}

fn latency_over_time(report: &Report<'_>) -> String {
    let series = |name: &str, class, points| Series {
        name: name.to_owned(),
        class,
        points,
    };
    let lines = [
        series("max", "c3", over_time(report, |point| point.max_ns as f64)),
        series("p99", "c1", over_time(report, |point| point.p99_ns as f64)),
        series("p50", "c2", over_time(report, |point| point.p50_ns as f64)),
    ];
    let values = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1))
    };
    let low = values()
        .filter(|value| *value > 0.0)
        .fold(f64::INFINITY, f64::min);
    let high = values().fold(1.0, f64::max);
    let y = Axis::logarithmic(low.min(high), high, report.words().time, |value| {
        duration(value as u64)
    });
    chart::lines(
        &format!("{} over time", report.words().time_heading),
        &seconds_axis(report),
        &y,
        &lines,
    )
}

/// How many latencies were how long, and when: what percentiles alone do not show, like two
/// groups of responses, or a pause now and then.
fn heat_map(report: &Report<'_>) -> String {
    let points = &report.outcome.points;
    let all = || points.iter().flat_map(|point| &point.steps);
    let (low, high) = all().fold((u16::MAX, 0), |(low, high), (step, _)| {
        (low.min(*step), high.max(*step))
    });
    if low > high {
        return String::new();
    }
    let time = report.words().time;
    let y = Axis::logarithmic(start_ns(low), start_ns(high + 1), time, |value| {
        duration(value as u64)
    });
    let size = points.len().div_ceil(POINT_COUNT_MAX / 3).max(1);
    let mut cells = Vec::new();
    for chunk in points.chunks(size) {
        let (first, last) = (&chunk[0], &chunk[chunk.len() - 1]);
        let mut sum = Vec::new();
        for point in chunk {
            steps::add(&mut sum, &point.steps);
        }
        let most = sum.iter().map(|(_, count)| *count).max().unwrap_or(1);
        for (step, count) in sum {
            cells.push(Cell {
                x: (first.from_seconds, last.from_seconds + last.seconds),
                y: (start_ns(step), start_ns(step + 1)),
                // A root, so that one in ten thousand is still seen.
                share: (count as f64 / most as f64).powf(0.3),
                title: format!(
                    "{} from {} to {}",
                    units::count(count),
                    duration(start_ns(step) as u64),
                    duration(start_ns(step + 1) as u64)
                ),
            });
        }
    }
    chart::heat(
        &format!("{} over time", report.words().all_times),
        &seconds_axis(report),
        &y,
        &cells,
    )
}

/// Where the server says that the time went.
fn phases(report: &Report<'_>) -> String {
    const CLASSES: [&str; 4] = ["c1", "c2", "c3", "c4"];
    let Some(phases) = &report.outcome.total.phases else {
        return String::new();
    };
    let mut lines = Vec::new();
    for ((name, class), histogram) in PHASE_NAMES.into_iter().zip(CLASSES).zip(phases.iter()) {
        let count = histogram.len().max(1) as f64;
        let share = |(step, of): &(u16, u64)| (start_ns(*step), *of as f64 / count * 100.0);
        lines.push(Series {
            name: name.to_owned(),
            class,
            points: steps::steps(histogram).iter().map(share).collect(),
        });
    }
    let all = || lines.iter().flat_map(|line: &Series| &line.points);
    let low = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.0).fold(1.0, f64::max);
    let most = all().map(|point| point.1).fold(0.0, f64::max);
    let x = Axis::logarithmic(low, high * 1.4, "time of the phase", |value| {
        duration(value as u64)
    });
    let y = Axis::linear(most, "% of the responses", trimmed);
    figure(
        "Phases of the server",
        &chart::lines("Phases of the server", &x, &y, &lines),
    )
}

fn rate_over_time(report: &Report<'_>) -> String {
    let rate = |point: &crate::load::outcome::Point| {
        point.response_count as f64 / point.seconds.max(f64::MIN_POSITIVE)
    };
    let mut lines = vec![Series {
        name: if report.outcome.streams.is_some() {
            "events/s"
        } else {
            "answered/s"
        }
        .to_owned(),
        class: "c1",
        points: over_time(report, rate),
    }];
    if let Some(last) = report.outcome.points.last()
        && report.plan.rates().is_some()
    {
        lines.push(Series {
            name: "asked for/s".to_owned(),
            class: "c4",
            points: report.plan.asked_for(last.from_seconds + last.seconds),
        });
    }
    let high = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.1))
        .fold(0.0, f64::max);
    let y = Axis::linear(high, report.words().per_second, |value| {
        units::count(value.round() as u64)
    });
    chart::lines(
        &format!("{} over time", report.words().came),
        &seconds_axis(report),
        &y,
        &lines,
    )
}

fn errors(report: &Report<'_>) -> String {
    let errors = report.outcome.errors();
    if errors.count() == 0 {
        return "<section><h2>Errors</h2><p>None.</p></section>\n".to_owned();
    }
    let rows: String = errors
        .by_name()
        .into_iter()
        .map(|(kind, count)| {
            let kind = escape(&kind);
            format!("<tr><td>{kind}</td><td>{}</td></tr>", units::count(count))
        })
        .collect();
    let series = Series {
        name: "errors".to_owned(),
        class: "bad",
        points: report
            .outcome
            .points
            .iter()
            .map(|point| (point.from_seconds, point.error_count as f64))
            .collect(),
    };
    let width = report
        .outcome
        .points
        .first()
        .map_or(1.0, |point| point.seconds);
    let high = series
        .points
        .iter()
        .map(|point| point.1)
        .fold(1.0, f64::max);
    let y = Axis::linear(high, "errors", trimmed);
    let chart = chart::bars(
        "Errors over time",
        &seconds_axis(report),
        &y,
        &series,
        width,
    );
    format!(
        "<section><h2>Errors</h2>{chart}<table><tr><th>kind</th><th>count</th></tr>{rows}</table></section>\n"
    )
}

fn trimmed(value: f64) -> String {
    if value.fract() == 0.0 {
        units::count(value as u64)
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::described::DescribedPlan;
    use crate::report::sample;

    #[test]
    fn the_page_is_as_it_was() {
        sample::assert_golden("report.html", &sample::with_report(render));
    }

    #[test]
    fn a_run_in_which_nothing_was_answered_has_its_page_too() {
        let plan = DescribedPlan::of(&sample::plan(), "t");
        let environment = sample::environment();
        let mut outcome = sample::outcome();
        outcome.total = crate::load::Interval::new();
        outcome.points.clear();
        let trust = crate::noise::Trust::judge(&outcome.total.latency, &outcome.total.lag, 0.25);
        let page = render(&Report {
            plan: &plan,
            outcome: &outcome,
            noise: None,
            trust: &trust,
            environment: &environment,
        });
        assert!(page.contains("<svg") && !page.contains("NaN"));
    }

    #[test]
    fn the_page_asks_the_network_for_nothing_and_escapes_what_it_is_given() {
        let page = sample::with_report(render);
        for forbidden in [
            "http-equiv",
            "src=",
            "href=",
            "url(",
            "@import",
            "<script",
            "A <fast>",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("A &lt;fast&gt; CPU"));
        assert_eq!(page.matches("<svg").count(), 6);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }
}
