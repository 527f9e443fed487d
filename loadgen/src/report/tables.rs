//! The tables of pages.

use crate::environment::Environment;
use crate::report::chart::escape;
use crate::report::{Report, streams};
use crate::units::{self, PERCENTILES, duration};

/// Where something was measured.
pub fn environment(environment: &Environment) -> String {
    let machine = format!(
        "{}, {}, Linux {}",
        environment.cpu,
        units::plural(environment.cores as u64, "core"),
        environment.kernel
    );
    facts(&[
        ("command", environment.command.clone()),
        ("slotway-loadgen", environment.version.clone()),
        ("machine", machine),
        ("engine", environment.engine.clone()),
        ("settings", environment.settings.words()),
        ("started", units::date(environment.started_unix_s)),
    ])
}

/// Names and what they are, as a table.
fn facts(facts: &[(&str, String)]) -> String {
    let rows: String = facts
        .iter()
        .map(|(name, value)| {
            let value = escape(value);
            format!("<tr><td>{name}</td><td class=\"text\">{value}</td></tr>")
        })
        .collect();
    format!("<section><h2>Environment</h2><table>{rows}</table></section>\n")
}

/// Responses by status.
pub fn statuses(report: &Report<'_>) -> String {
    let statuses = report.outcome.total.statuses.sorted();
    let all: u64 = statuses.iter().map(|(_, count)| count).sum();
    let rows: String = statuses
        .iter()
        .map(|(status, count)| {
            format!(
                "<tr><td>{status}</td><td>{}</td><td>{}</td></tr>",
                units::count(*count),
                units::share(*count as f64 / all.max(1) as f64)
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>Statuses</h2><table><tr><th>status</th><th>responses</th><th>share</th></tr>{rows}</table></section>\n"
    )
}

/// What event streams got.
pub fn streams(report: &Report<'_>) -> String {
    let Some(streams) = &report.outcome.streams else {
        return String::new();
    };
    let facts = streams::facts(streams).into_iter();
    let rows: String = facts
        .map(|(name, value)| {
            format!(
                "<tr><td>{name}</td><td class=\"text\">{}</td></tr>",
                escape(&value)
            )
        })
        .collect();
    format!("<section><h2>Event streams</h2><table>{rows}</table></section>\n")
}

/// Percentiles of everything that was measured.
pub fn percentile_table(report: &Report<'_>) -> String {
    let head: String = PERCENTILES
        .iter()
        .map(|(name, _)| format!("<th>{name}</th>"))
        .collect();
    let mut rows = String::new();
    for row in report.rows() {
        let cell = |nanoseconds| format!("<td>{}</td>", duration(nanoseconds));
        let cells: String = PERCENTILES
            .iter()
            .map(|(_, quantile)| cell(row.histogram.value_at_quantile(*quantile)))
            .collect();
        let (max, mean) = (cell(row.histogram.max()), cell(row.histogram.mean() as u64));
        rows.push_str(&format!(
            "<tr><td>{}</td>{cells}{max}{mean}</tr>",
            row.meaning
        ));
        if row.name == report.words().time && report.trust.distrust().is_some() {
            let bounds = report.trust.bounds.iter();
            let cells: String = bounds.map(|bound| cell(bound.at_least_ns)).collect();
            rows.push_str(&format!(
                "<tr><td>at least, without the generator's own lag</td>{cells}<td></td><td></td></tr>"
            ));
        }
    }
    format!(
        "<section><h2>Percentiles</h2><table><tr><th></th>{head}<th>max</th><th>mean</th></tr>{rows}</table></section>\n"
    )
}

/// Latencies by status and by request.
pub fn groups(report: &Report<'_>) -> String {
    let rows: String = report
        .groups()
        .iter()
        .map(|(name, histogram)| {
            let at = |quantile| duration(histogram.value_at_quantile(quantile));
            format!(
                "<tr><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(name),
                units::count(histogram.len()),
                at(0.5),
                at(0.9),
                at(0.99),
                duration(histogram.max())
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>By status and request</h2><table><tr><th></th><th>responses</th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr>{rows}</table></section>\n"
    )
}

/// Where a run was made, and what it took.
pub fn environment_table(report: &Report<'_>) -> String {
    let environment = report.environment;
    let outcome = report.outcome;
    let answered = outcome.total.response_count;
    facts(&[
        ("command", environment.command.clone()),
        ("slotway-loadgen", environment.version.clone()),
        ("engine", environment.engine.clone()),
        ("kernel", environment.kernel.clone()),
        (
            "processor",
            format!(
                "{}, {}",
                environment.cpu,
                units::plural(environment.cores as u64, "core")
            ),
        ),
        ("settings", environment.settings.words()),
        ("started", units::date(environment.started_unix_s)),
        (
            report.words().counted,
            format!(
                "{} in {}",
                units::count(answered),
                duration(outcome.elapsed.as_nanos() as u64)
            ),
        ),
        (
            "generator CPU",
            format!(
                "{} for each",
                duration(outcome.cpu.as_nanos() as u64 / answered.max(1))
            ),
        ),
    ])
}
