//! The report for programs. Its names and units are promised: fields may be
//! added, none is changed or taken away without a new `schema`. The document is
//! described in `loadgen/README.md`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::environment::Environment;
use crate::load::PHASE_NAMES;
use crate::load::plan::Length;
use crate::report::Report;

/// Name and version of the document.
pub const SCHEMA: &str = "slotway-loadgen/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    environment: &'a Environment,
    plan: PlanPart<'a>,
    warnings: Vec<String>,
    partial: bool,
    trustworthy: bool,
    requests: u64,
    requests_per_s: f64,
    unsent: u64,
    waited: u64,
    elapsed_s: f64,
    generator_cpu_s: f64,
    generator_busy_share: f64,
    errors: u64,
    errors_by_kind: BTreeMap<String, u64>,
    latency_ns: Summary,
    service_ns: Summary,
    lag_ns: Summary,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    phases_ns: BTreeMap<&'static str, Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise_floor: Option<NoisePart>,
    intervals: Vec<IntervalPart>,
}

#[derive(Serialize)]
struct PlanPart<'a> {
    target: &'a str,
    address: String,
    #[serde(rename = "loop")]
    kind: &'static str,
    rate_from: Option<f64>,
    rate_to: Option<f64>,
    connections: usize,
    threads: usize,
    engine: String,
    spin: bool,
    warmup_s: f64,
    duration_s: Option<f64>,
    count: Option<u64>,
    timeout_s: f64,
}

/// A histogram in figures, nanoseconds.
#[derive(Serialize)]
struct Summary {
    count: u64,
    min: u64,
    mean: f64,
    stdev: f64,
    p50: u64,
    p75: u64,
    p90: u64,
    p95: u64,
    p99: u64,
    p99_9: u64,
    p99_99: u64,
    max: u64,
}

#[derive(Serialize)]
struct NoisePart {
    idle_lag_ns: Summary,
    echo_latency_ns: Summary,
    echo_requests_per_s: f64,
}

#[derive(Serialize)]
struct IntervalPart {
    from_s: f64,
    seconds: f64,
    requests: u64,
    errors: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl Summary {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            stdev: histogram.stdev(),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max(),
        }
    }
}

/// Renders the document.
pub fn render(report: &Report<'_>) -> String {
    let (plan, outcome) = (report.plan, report.outcome);
    let document = Document {
        schema: SCHEMA,
        environment: report.environment,
        plan: PlanPart {
            target: report.target,
            address: plan.workload.address.to_string(),
            kind: if plan.rate.is_some() {
                "open"
            } else {
                "closed"
            },
            rate_from: plan.rate.map(|rate| rate.from),
            rate_to: plan.rate.map(|rate| rate.to),
            connections: plan.connection_count,
            threads: plan.thread_count,
            engine: plan.engine.to_string(),
            spin: plan.spin,
            warmup_s: plan.warmup.as_secs_f64(),
            duration_s: match plan.length {
                Length::Time(time) => Some(time.as_secs_f64()),
                Length::Count(_) => None,
            },
            count: match plan.length {
                Length::Time(_) => None,
                Length::Count(count) => Some(count),
            },
            timeout_s: plan.timeout.as_secs_f64(),
        },
        warnings: report.warnings(),
        partial: outcome.partial.is_some(),
        trustworthy: report.trust.distrust.is_none(),
        requests: outcome.total.response_count,
        requests_per_s: outcome.rate(),
        unsent: outcome.unsent_count,
        waited: outcome.total.waited_count,
        elapsed_s: outcome.elapsed.as_secs_f64(),
        generator_cpu_s: outcome.cpu.as_secs_f64(),
        generator_busy_share: outcome.busy_share(),
        errors: outcome.errors().count(),
        errors_by_kind: outcome
            .errors()
            .iter()
            .map(|(kind, count)| (kind.to_string(), count))
            .collect(),
        latency_ns: Summary::of(&outcome.total.latency),
        service_ns: Summary::of(outcome.service()),
        lag_ns: Summary::of(&outcome.total.lag),
        phases_ns: PHASE_NAMES
            .into_iter()
            .zip(outcome.total.phases.iter().flat_map(|phases| phases.iter()))
            .map(|(name, histogram)| (name, Summary::of(histogram)))
            .collect(),
        noise_floor: report.noise.map(|noise| NoisePart {
            idle_lag_ns: Summary::of(&noise.idle_lag),
            echo_latency_ns: Summary::of(&noise.echo_latency),
            echo_requests_per_s: noise.echo_rate,
        }),
        intervals: outcome
            .points
            .iter()
            .map(|point| IntervalPart {
                from_s: point.from_seconds,
                seconds: point.seconds,
                requests: point.response_count,
                errors: point.error_count,
                p50_ns: point.p50_ns,
                p99_ns: point.p99_ns,
                max_ns: point.max_ns,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&document).expect("plain data") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_document_is_as_it_was() {
        sample::assert_golden("report.json", &sample::with_report(render));
    }

    #[test]
    fn read_back_it_has_the_figures() {
        let text = sample::with_report(render);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["schema"], SCHEMA);
        assert_eq!(document["requests"], 6_800);
        assert_eq!(document["errors_by_kind"]["status 503"], 3);
        assert_eq!(document["intervals"].as_array().unwrap().len(), 2);
        let p99 = document["latency_ns"]["p99"].as_u64().unwrap();
        assert!(p99.abs_diff(9_000_000) < 9_000, "three digits: {p99}");
    }
}
