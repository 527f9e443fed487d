//! A comparison as a table, a page, and JSON.

use serde_json::json;

use crate::compare::rounds::{Metric, Rounds};
use crate::compare::statistics::median;
use crate::compare::verdict::Comparison;
use crate::environment::Environment;
use crate::report::chart::escape;
use crate::report::{html, tables};
use crate::units::{self, duration};

/// A target against its reference.
pub struct Pair<'a> {
    /// The target.
    pub ours: &'a Rounds,
    /// The reference.
    pub theirs: &'a Rounds,
    /// Its name where it is shown.
    pub reference_name: String,
    /// The metrics that both have.
    pub comparisons: Vec<Comparison>,
}

impl<'a> Pair<'a> {
    /// Compares all metrics that both have.
    pub fn new(
        ours: &'a Rounds,
        theirs: &'a Rounds,
        reference_name: String,
        are_interleaved: bool,
    ) -> Self {
        let comparisons = Metric::ALL
            .into_iter()
            .filter(|metric| !ours.values(*metric).is_empty() && !theirs.values(*metric).is_empty())
            .map(|metric| Comparison::of(metric, ours, theirs, are_interleaved))
            .collect();
        Self {
            ours,
            theirs,
            reference_name,
            comparisons,
        }
    }
}

/// Everything there is to say about a comparison.
pub struct Page<'a> {
    /// Every target's rounds, the baseline's among them.
    pub all: &'a [&'a Rounds],
    /// Targets against their references.
    pub pairs: &'a [Pair<'a>],
    /// The load, in words.
    pub load: &'a str,
    /// What a reader has to know before the figures.
    pub warnings: &'a [String],
    /// Where it was measured.
    pub environment: &'a Environment,
}

fn show(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Rate => units::count(value.round() as u64),
        _ if value > 0.0 => duration(value.round() as u64),
        _ => "–".to_owned(),
    }
}

/// For a terminal.
pub fn terminal(page: &Page<'_>) -> String {
    let mut text = format!("  {}\n\n  medians of the rounds\n  {:<16}", page.load, "");
    let metrics: Vec<_> = Metric::ALL
        .into_iter()
        .filter(|metric| {
            page.all
                .iter()
                .any(|rounds| !rounds.values(*metric).is_empty())
        })
        .collect();
    for metric in &metrics {
        text.push_str(&format!("{:>12}", metric.name()));
    }
    text.push_str(&format!("{:>9}\n", "errors"));
    for rounds in page.all {
        text.push_str(&format!("  {:<16}", rounds.name));
        for metric in &metrics {
            let values = rounds.values(*metric);
            let shown = if values.is_empty() {
                "–".to_owned()
            } else {
                show(*metric, median(&values))
            };
            text.push_str(&format!("{shown:>12}"));
        }
        text.push_str(&format!("{:>9}\n", units::count(rounds.error_count())));
    }
    for pair in page.pairs {
        text.push_str(&format!(
            "\n  {} / {}\n",
            pair.ours.name, pair.reference_name
        ));
        for comparison in &pair.comparisons {
            let figures = match comparison.ratio {
                Some(ratio) => {
                    format!("{:.3}  [{:.3}, {:.3}]", ratio.value, ratio.low, ratio.high)
                }
                None => "–".to_owned(),
            };
            text.push_str(&format!(
                "    {:<13}{figures:<30} {comparison}\n",
                comparison.metric.name()
            ));
        }
    }
    text.push_str(&format!("\n  {}\n", confidence(page)));
    for warning in page.warnings {
        text.push_str(&format!("\n  ! {warning}\n"));
    }
    text
}

/// How sure intervals and verdicts are.
fn confidence(page: &Page<'_>) -> String {
    let count: usize = page.pairs.iter().map(|pair| pair.comparisons.len()).sum();
    format!(
        "ratios with their 95 % confidence intervals; verdicts at 5 % for all {count} together (Holm), so an interval \
         that leaves out 1 may still be chance"
    )
}

/// For programs.
pub fn json(page: &Page<'_>) -> String {
    let pairs: Vec<_> = page
        .pairs
        .iter()
        .map(|pair| {
            let metrics: serde_json::Map<_, _> = pair
                .comparisons
                .iter()
                .map(|comparison| {
                    let ratio = comparison.ratio;
                    let value = json!({
                        "ratio": ratio.map(|ratio| ratio.value),
                        "low": ratio.map(|ratio| ratio.low),
                        "high": ratio.map(|ratio| ratio.high),
                        "chance_if_equal": ratio.map(|ratio| ratio.chance_if_equal()),
                        "verdict": comparison.to_string(),
                    });
                    (comparison.metric.name().to_owned(), value)
                })
                .collect();
            json!({ "target": pair.ours.name, "reference": pair.reference_name, "metrics": metrics })
        })
        .collect();
    let document = json!({
        "schema": "slotway-loadgen-compare/1",
        "environment": page.environment,
        "load": page.load,
        "warnings": page.warnings,
        "targets": page.all,
        "comparisons": pairs,
    });
    serde_json::to_string_pretty(&document).expect("plain data") + "\n"
}

/// For a browser.
pub fn page(page: &Page<'_>) -> String {
    let mut body: String = page
        .warnings
        .iter()
        .map(|warning| format!("<p class=\"warning\">{}</p>", escape(warning)))
        .collect();
    for pair in page.pairs {
        let heading = format!(
            "{} against {}",
            escape(&pair.ours.name),
            escape(&pair.reference_name)
        );
        body.push_str(&html::figure(&heading, &forest(pair)));
    }
    body.push_str(&format!("<p class=\"note\">{}</p>\n", confidence(page)));
    body.push_str(&medians(page));
    body.push_str(&tables::environment(page.environment));
    html::page("Comparison", page.load, &body)
}

/// Each ratio as a mark on its confidence interval, on a logarithmic scale
/// around "no difference".
fn forest(pair: &Pair<'_>) -> String {
    const LEFT: f64 = 120.0;
    const RIGHT: f64 = 590.0;
    const ROW: f64 = 34.0;
    let ratios = || {
        pair.comparisons
            .iter()
            .filter_map(|comparison| comparison.ratio)
    };
    let reach = ratios()
        .flat_map(|ratio| [ratio.low.ln().abs(), ratio.high.ln().abs()])
        .fold(1.1_f64.ln(), f64::max)
        .min(20_f64.ln());
    let x = |ratio: f64| {
        let place = f64::midpoint(ratio.ln().clamp(-reach, reach) / reach, 1.0);
        LEFT + place * (RIGHT - LEFT)
    };
    let height = pair.comparisons.len() as f64 * ROW + 40.0;
    let bottom = height - 30.0;
    let mut svg = format!("<svg viewBox=\"0 0 860 {height}\" role=\"img\" aria-label=\"ratios\">");
    for step in [1.0 / reach.exp(), 1.0, reach.exp()] {
        let at = x(step);
        svg.push_str(&format!(
            "<path class=\"grid\" d=\"M{at:.1} 4V{bottom}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{step:.2}</text>",
            height - 12.0
        ));
    }
    for (index, comparison) in pair.comparisons.iter().enumerate() {
        let y = index as f64 * ROW + 20.0;
        let name = comparison.metric.name();
        svg.push_str(&format!(
            "<text class=\"legend\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 16.0,
            y + 4.0
        ));
        let Some(ratio) = comparison.ratio else {
            continue;
        };
        let class = match comparison.verdict {
            crate::compare::verdict::Verdict::Better => "c2",
            crate::compare::verdict::Verdict::Worse => "bad",
            _ => "c4",
        };
        svg.push_str(&format!(
            "<path class=\"span {class}\" d=\"M{:.1} {y}H{:.1}\"/>\
             <circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y}\" r=\"5\"/>\
             <text class=\"legend\" x=\"{:.0}\" y=\"{:.1}\">{:.3} [{:.3}, {:.3}] {comparison}</text>",
            x(ratio.low),
            x(ratio.high),
            x(ratio.value),
            RIGHT + 14.0,
            y + 4.0,
            ratio.value,
            ratio.low,
            ratio.high,
        ));
    }
    svg.push_str("</svg>");
    svg
}

fn medians(page: &Page<'_>) -> String {
    let head: String = Metric::ALL
        .iter()
        .map(|metric| format!("<th>{}</th>", metric.name()))
        .collect();
    let rows: String = page
        .all
        .iter()
        .map(|rounds| {
            let cells: String = Metric::ALL
                .into_iter()
                .map(|metric| {
                    let values = rounds.values(metric);
                    let shown = if values.is_empty() {
                        "–".to_owned()
                    } else {
                        show(metric, median(&values))
                    };
                    format!("<td>{shown}</td>")
                })
                .collect();
            let (name, errors) = (escape(&rounds.name), units::count(rounds.error_count()));
            format!("<tr><td>{name}</td>{cells}<td>{errors}</td></tr>")
        })
        .collect();
    format!(
        "<section><h2>Medians of the rounds</h2><table><tr><th></th>{head}<th>errors</th></tr>{rows}</table></section>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::Round;
    use crate::compare::verdict::judge;
    use crate::report::sample;

    fn with_page<R>(look: impl FnOnce(&Page<'_>) -> R) -> R {
        let rounds = |name: &str, factor: f64| Rounds {
            name: name.to_owned(),
            rounds: [1.0, 1.1, 0.9, 1.05]
                .map(|drift| Round {
                    requests_per_s: 10_000.0 * drift * factor,
                    p50_ns: 80_000.0 / drift / factor,
                    p90_ns: 100_000.0 / drift,
                    p99_ns: 200_000.0 * drift * drift,
                    p99_9_ns: 500_000.0 * drift,
                    cpu_ns: None,
                    errors: 0,
                    unsent: 0,
                    right_share: Some(1.0),
                })
                .to_vec(),
        };
        let (a, b) = (rounds("a", 1.0), rounds("b", 1.25));
        let all = [&a, &b];
        let mut pairs = [Pair::new(&b, &a, "a".to_owned(), true)];
        judge(pairs.iter_mut().flat_map(|pair| &mut pair.comparisons));
        look(&Page {
            all: &all,
            pairs: &pairs,
            load: "closed loop, 4 connections",
            warnings: &["quiet <please>".to_owned()],
            environment: &sample::environment(),
        })
    }

    #[test]
    fn the_table_is_as_it_was() {
        sample::assert_golden("compare.txt", &with_page(terminal));
    }

    #[test]
    fn the_document_is_as_it_was() {
        sample::assert_golden("compare.json", &with_page(json));
    }

    #[test]
    fn the_page_is_as_it_was() {
        let page = with_page(page);
        assert!(page.contains("quiet &lt;please&gt;") && !page.contains("NaN"));
        sample::assert_golden("compare.html", &page);
    }
}
