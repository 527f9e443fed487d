//! A comparison as Markdown: what `docs/benchmarks.md` has.

use slotway_loadgen::compare::rounds::Metric;
use slotway_loadgen::units;

use super::results::{LoadResult, REFERENCE, Results, shown};

/// What the overview shows of each system: a heading, a load, a figure of it.
const OVERVIEW: [(&str, &str, Metric); 6] = [
    ("requests/s, 64 connections", "get-64", Metric::Rate),
    ("CPU per request", "get-64", Metric::Cpu),
    ("p50, 1 connection", "get-1", Metric::P50),
    ("p99, 16 connections", "get-16", Metric::P99),
    ("p99 at 20k requests/s", "rate-20000", Metric::P99),
    ("echo of 64 KiB, requests/s", "echo-64", Metric::Rate),
];

/// Everything.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for (name, value) in &results.environment {
        text.push_str(&format!("- {name}: {value}\n"));
    }
    text.push_str("\nSystems:\n\n");
    for (name, what) in &results.systems {
        text.push_str(&format!("- `{name}`: {what}\n"));
    }
    for (name, why) in &results.missing {
        text.push_str(&format!("- `{name}`: not measured ({why})\n"));
    }
    text.push_str(&format!("\n## In short\n\n{}", overview(results)));
    for load in &results.loads {
        text.push_str(&format!("\n## {}\n\n{}", load.title, of_load(load)));
    }
    if !results.facts.is_empty() {
        text.push_str(&format!(
            "\n## What a request costs beside time\n\n{}",
            facts(results)
        ));
    }
    text
}

fn table(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!(
        "| {} |\n|---|{}\n",
        head.join(" | "),
        "---:|".repeat(head.len() - 1)
    );
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

/// One line for each system.
pub fn overview(results: &Results) -> String {
    let columns = OVERVIEW
        .iter()
        .filter(|(_, load, _)| results.load(load).is_some());
    let columns: Vec<_> = columns.collect();
    let head = columns.iter().map(|(heading, ..)| (*heading).to_owned());
    let head: Vec<_> = ["system".to_owned()].into_iter().chain(head).collect();
    let rows = results.systems.iter().map(|(system, _)| {
        let figures = columns.iter().map(|(_, load, metric)| {
            let load = results.load(load).expect("only those that were measured");
            shown(*metric, load.median(system, *metric))
        });
        [system.clone()].into_iter().chain(figures).collect()
    });
    table(&head, rows)
}

fn of_load(load: &LoadResult) -> String {
    let metrics = [
        Metric::Rate,
        Metric::P50,
        Metric::P99,
        Metric::P999,
        Metric::Cpu,
    ];
    // At a rate all of them give the same number.
    let compared = if load.rate.is_some() {
        Metric::P99
    } else {
        Metric::Rate
    };
    let mut head = vec!["system".to_owned()];
    head.extend(metrics.iter().map(|metric| metric.name().to_owned()));
    head.push(format!("{} × {REFERENCE} [95 %]", compared.name()));
    head.push("errors".to_owned());
    let rows = load.systems.iter().map(|rounds| {
        let name = &rounds.name;
        let mut row = vec![name.clone()];
        row.extend(
            metrics
                .iter()
                .map(|metric| shown(*metric, load.median(name, *metric))),
        );
        row.push(match load.ratio(name, compared) {
            Some(ratio) if name != REFERENCE => {
                format!("{:.2} [{:.2}, {:.2}]", ratio.value, ratio.low, ratio.high)
            }
            _ => "–".to_owned(),
        });
        row.push(units::count(rounds.error_count()));
        row
    });
    table(&head, rows)
}

fn facts(results: &Results) -> String {
    let head = [
        "system",
        "system calls",
        "sleeps",
        "memory",
        "requests/s by wrk",
    ];
    let head = head.map(str::to_owned);
    let rows = results.facts.iter().map(|facts| {
        let number =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
        let memory = facts.memory_kib as f64 / 1024.0;
        let rate = facts
            .wrk_rate
            .map_or("–".to_owned(), |rate| units::count(rate as u64));
        vec![
            facts.name.clone(),
            number(facts.syscalls_per_request),
            number(Some(facts.sleeps_per_request)),
            format!("{memory:.1} MiB"),
            rate,
        ]
    });
    format!(
        "At 64 connections, all processes of a system together; per request where it is not memory.\n\n{}",
        table(&head, rows)
    )
}
