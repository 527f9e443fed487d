//! A comparison as one page for a browser: a picture for each load, and the tables under them.

use slotway_loadgen::compare::rounds::Metric;
use slotway_loadgen::report::chart::escape;
use slotway_loadgen::report::html;

use super::results::{LoadResult, Results, shown};

const ROW: f64 = 26.0;
const LABEL: f64 = 130.0;
const WIDTH: f64 = 330.0;
const GAP: f64 = 110.0;

/// The page.
pub fn render(results: &Results) -> String {
    let mut body = String::new();
    for load in &results.loads {
        body.push_str(&html::figure(&escape(&load.title), &bars(load)));
    }
    body.push_str("<section><h2>Systems</h2><table>");
    let missing = results
        .missing
        .iter()
        .map(|(name, why)| (name, format!("not measured: {why}")));
    let systems = results
        .systems
        .iter()
        .map(|(name, what)| (name, what.clone()));
    for (name, what) in systems.chain(missing) {
        body.push_str(&row(name, &what));
    }
    body.push_str("</table></section><section><h2>Machine</h2><table>");
    for (name, value) in &results.environment {
        body.push_str(&row(name, value));
    }
    body.push_str("</table></section>");
    let subtitle = "medians of rounds that alternate; shorter latency bars are better";
    html::page("Slotway beside its peers", subtitle, &body)
}

fn row(name: &str, text: &str) -> String {
    let (name, text) = (escape(name), escape(text));
    format!("<tr><td>{name}</td><td class=\"text\">{text}</td></tr>")
}

/// Requests per second at the left (of an open loop the median), and p99 at the right.
fn bars(load: &LoadResult) -> String {
    let left = if load.rate.is_some() {
        Metric::P50
    } else {
        Metric::Rate
    };
    let height = load.systems.len() as f64 * ROW + 24.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        LABEL + 2.0 * (WIDTH + GAP),
        escape(&load.title)
    );
    for (column, metric) in [left, Metric::P99].into_iter().enumerate() {
        let start = LABEL + column as f64 * (WIDTH + GAP);
        let values = load
            .systems
            .iter()
            .map(|rounds| load.median(&rounds.name, metric));
        let most = values
            .clone()
            .flatten()
            .fold(0.0, f64::max)
            .max(f64::MIN_POSITIVE);
        let heading = metric.name();
        svg.push_str(&format!(
            "<text class=\"tick\" x=\"{start:.0}\" y=\"14\">{heading}</text>"
        ));
        for (index, (rounds, value)) in load.systems.iter().zip(values).enumerate() {
            let y = 22.0 + index as f64 * ROW;
            let is_ours = rounds.name.starts_with("slotway");
            let class = if is_ours { "c1" } else { "c4" };
            let length = value.unwrap_or(0.0) / most * WIDTH;
            if column == 0 {
                svg.push_str(&format!(
                    "<text class=\"legend\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
                    LABEL - 8.0,
                    y + 14.0,
                    escape(&rounds.name)
                ));
            }
            svg.push_str(&format!(
                "<rect class=\"bar {class}\" x=\"{start:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"18\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.0}\">{}</text>",
                start + length + 6.0,
                y + 13.0,
                shown(metric, value)
            ));
        }
    }
    svg.push_str("</svg>");
    svg
}
