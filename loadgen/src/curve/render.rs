//! A curve as a table with a picture, a page, and JSON.

use serde_json::json;

use crate::curve::knee::knee;
use crate::curve::search::Limit;
use crate::curve::step::Figures;
use crate::environment::Environment;
use crate::report::chart::{self, Axis, Series, escape};
use crate::report::{html, tables};
use crate::units::{self, duration};

/// Width of the longest bar.
const BAR_WIDTH: usize = 36;

/// A target's curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// By growing rate.
    pub steps: Vec<Step>,
}

/// A rate of a curve.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it yielded.
    pub figures: Figures,
    /// What it missed of the goal, if there is one and it did.
    pub miss: Option<String>,
}

/// Everything there is to say about curves.
pub struct Page<'a> {
    /// The load, in words.
    pub load: &'a str,
    /// The goal, if there is one.
    pub goal: Option<String>,
    /// The limit that was found, of the only curve; `None` if it was not looked for to the end.
    pub limit: Option<Limit>,
    /// At least one.
    pub curves: &'a [Curve],
    /// What a reader has to know before the figures.
    pub warnings: &'a [String],
    /// Where it was measured.
    pub environment: &'a Environment,
}

impl Curve {
    /// The rate at which p99 bends.
    pub fn knee_rate(&self) -> Option<f64> {
        let points: Vec<_> = self
            .steps
            .iter()
            .map(|step| (step.figures.rate, step.figures.p99_ns as f64))
            .collect();
        knee(&points).map(|index| points[index].0)
    }
}

impl Page<'_> {
    /// What was found, in a sentence.
    pub fn verdict(&self) -> Option<String> {
        let goal = self.goal.as_deref()?;
        let limit = self.limit?;
        let rate = |rate: f64| units::count(rate.round() as u64);
        Some(match (limit.holds, limit.misses) {
            (Some(holds), Some(misses)) => format!(
                "{} requests/s hold {goal}; {} do not",
                rate(holds),
                rate(misses)
            ),
            (Some(holds), None) => format!(
                "{} requests/s hold {goal}, and no more were asked for (--max-rate)",
                rate(holds)
            ),
            (None, misses) => format!(
                "not even {} requests/s hold {goal}",
                rate(misses.unwrap_or(0.0))
            ),
        })
    }
}

/// For a terminal.
pub fn terminal(page: &Page<'_>) -> String {
    let mut text = format!("  {}\n", page.load);
    for curve in page.curves {
        if page.curves.len() > 1 {
            text.push_str(&format!("\n  {}\n", curve.name));
        }
        text.push_str(&table(curve));
    }
    if let Some(verdict) = page.verdict() {
        text.push_str(&format!("\n  {verdict}\n"));
    }
    for warning in page.warnings {
        text.push_str(&format!("\n  ! {warning}\n"));
    }
    text
}

fn table(curve: &Curve) -> String {
    let mut text = format!(
        "\n  {:>12}{:>12}{:>10}{:>10}{:>10}  p99\n",
        "requests/s", "answered/s", "p50", "p99", "p99.9"
    );
    let p99s = || {
        curve
            .steps
            .iter()
            .map(|step| step.figures.p99_ns.max(1) as f64)
    };
    let (low, high) = (
        p99s().fold(f64::INFINITY, f64::min),
        p99s().fold(1.0, f64::max),
    );
    let knee = curve.knee_rate();
    for step in &curve.steps {
        let figures = &step.figures;
        let share = if high > low {
            (figures.p99_ns.max(1) as f64 / low).ln() / (high / low).ln()
        } else {
            0.0
        };
        let bar = "█".repeat(1 + (share * (BAR_WIDTH - 1) as f64).round() as usize);
        let is_knee = knee.is_some_and(|rate| (rate - figures.rate).abs() < 1e-9);
        let mark = match &step.miss {
            Some(miss) => format!(" ✗ {miss}"),
            None if is_knee => " ◀ knee".to_owned(),
            None => String::new(),
        };
        text.push_str(&format!(
            "  {:>12}{:>12}{:>10}{:>10}{:>10}  {bar}{mark}\n",
            units::count(figures.rate.round() as u64),
            units::rate(figures.requests_per_s),
            duration(figures.p50_ns),
            duration(figures.p99_ns),
            duration(figures.p99_9_ns),
        ));
    }
    text
}

/// For programs.
pub fn json(page: &Page<'_>) -> String {
    let curves: Vec<_> = page
        .curves
        .iter()
        .map(|curve| {
            let steps: Vec<_> = curve
                .steps
                .iter()
                .map(|step| {
                    let mut value = serde_json::to_value(&step.figures).expect("plain data");
                    value["miss"] = json!(step.miss);
                    value
                })
                .collect();
            json!({ "target": curve.name, "knee": curve.knee_rate(), "steps": steps })
        })
        .collect();
    let document = json!({
        "schema": "slotway-loadgen-curve/1",
        "environment": page.environment,
        "load": page.load,
        "goal": page.goal,
        "holds": page.limit.and_then(|limit| limit.holds),
        "misses": page.limit.and_then(|limit| limit.misses),
        "verdict": page.verdict(),
        "warnings": page.warnings,
        "curves": curves,
    });
    serde_json::to_string_pretty(&document).expect("plain data") + "\n"
}

/// For a browser.
pub fn page(page: &Page<'_>) -> String {
    let mut body = String::new();
    if let Some(verdict) = page.verdict() {
        body.push_str(&format!("<p class=\"verdict\">{}</p>\n", escape(&verdict)));
    }
    for warning in page.warnings {
        body.push_str(&format!("<p class=\"warning\">{}</p>\n", escape(warning)));
    }
    body.push_str(&html::figure("Latency by rate", &picture(page)));
    for curve in page.curves {
        body.push_str(&steps(curve));
    }
    body.push_str(&tables::environment(page.environment));
    html::page("Latency by rate", page.load, &body)
}

fn picture(page: &Page<'_>) -> String {
    type Value = (&'static str, fn(&Figures) -> u64);
    const VALUES: [Value; 3] = [
        ("p50", |figures| figures.p50_ns),
        ("p99", |figures| figures.p99_ns),
        ("p99.9", |figures| figures.p99_9_ns),
    ];
    const CLASSES: [&str; 3] = ["c2", "c1", "c3"];
    let line = |name: String, class, curve: &Curve, of: fn(&Figures) -> u64| Series {
        name,
        class,
        points: curve
            .steps
            .iter()
            .map(|step| (step.figures.rate, of(&step.figures) as f64))
            .collect(),
    };
    let mut series: Vec<Series> = if let [curve] = page.curves {
        let values = VALUES.into_iter().zip(CLASSES);
        values
            .map(|((name, of), class)| line(name.to_owned(), class, curve, of))
            .collect()
    } else {
        // Of several targets only the p99 are told apart.
        let classes = CLASSES.into_iter().cycle();
        let curves = page.curves.iter().zip(classes);
        curves
            .map(|(curve, class)| line(format!("p99 of {}", curve.name), class, curve, VALUES[1].1))
            .collect()
    };
    let all = || series.iter().flat_map(|line| line.points.iter());
    let low = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.1).fold(1.0, f64::max);
    let fastest = all().map(|point| point.0).fold(1.0, f64::max);
    let upright = |name: &str, class, rate: f64| Series {
        name: format!("{name} {}", units::count(rate.round() as u64)),
        class,
        points: vec![(rate, low), (rate, high)],
    };
    if let [curve] = page.curves
        && let Some(rate) = curve.knee_rate()
    {
        series.push(upright("knee", "c4", rate));
    }
    if let Some(rate) = page.limit.and_then(|limit| limit.holds) {
        series.push(upright("limit", "bad", rate));
    }
    let y = Axis::logarithmic(low, high, "latency", |value| duration(value as u64));
    let x = Axis::linear(fastest, "requests/s", |value| {
        units::count(value.round() as u64)
    });
    chart::lines("Latency by rate", &x, &y, &series)
}

fn steps(curve: &Curve) -> String {
    let rows: String = curve
        .steps
        .iter()
        .map(|step| {
            let figures = &step.figures;
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
                units::count(figures.rate.round() as u64),
                units::rate(figures.requests_per_s),
                duration(figures.p50_ns),
                duration(figures.p99_ns),
                duration(figures.p99_9_ns),
                duration(figures.max_ns),
                escape(step.miss.as_deref().unwrap_or("")),
            )
        })
        .collect();
    format!(
        "<section><h2>{}</h2><table><tr><th>requests/s</th><th>answered/s</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th><th></th></tr>{rows}</table></section>\n",
        escape(&curve.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn with_page<R>(look: impl FnOnce(&Page<'_>) -> R) -> R {
        let step = |rate: f64| {
            let wait_ns = 80_000.0 / (1.05 - rate / 10_000.0);
            let miss = (rate > 10_000.0).then(|| "p99 > 2 <ms>".to_owned());
            let figures = Figures {
                rate,
                requests_per_s: rate.min(10_000.0),
                right_share: 1.0,
                p50_ns: (wait_ns / 4.0) as u64,
                p99_ns: wait_ns as u64,
                p99_9_ns: (wait_ns * 1.5) as u64,
                max_ns: (wait_ns * 3.0) as u64,
                trustworthy: true,
            };
            Step { figures, miss }
        };
        let steps = [1e3, 2.5e3, 5e3, 7e3, 8e3, 9e3, 1e4, 1.04e4];
        let curves = [Curve {
            name: "http://127.0.0.1:3200/".to_owned(),
            steps: steps.map(step).to_vec(),
        }];
        look(&Page {
            load: "open loop, 64 connections",
            goal: Some("p99 ≤ 2.00 ms".to_owned()),
            limit: Some(Limit {
                holds: Some(10_000.0),
                misses: Some(10_150.0),
            }),
            curves: &curves,
            warnings: &[],
            environment: &sample::environment(),
        })
    }

    #[test]
    fn the_table_is_as_it_was() {
        sample::assert_golden("curve.txt", &with_page(terminal));
    }

    #[test]
    fn the_document_is_as_it_was() {
        sample::assert_golden("curve.json", &with_page(json));
    }

    #[test]
    fn the_page_is_as_it_was() {
        let page = with_page(page);
        assert!(page.contains("2 &lt;ms&gt;") && !page.contains("NaN"));
        sample::assert_golden("curve.html", &page);
    }
}
