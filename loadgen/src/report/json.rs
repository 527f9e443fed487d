//! The report for programs. Its names and units are promised: fields may be
//! added, none is changed or taken away without a new `schema`. The document is
//! described in `loadgen/README.md`. It holds all that [`super::saved`] needs to draw the report
//! again.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::load::PHASE_NAMES;
use crate::load::groups::new_group;
use crate::load::outcome::Point;
use crate::load::streams::Streams;
use crate::noise::Bound;
use crate::report::Report;
use crate::report::described::DescribedPlan;
use crate::report::encoded;

/// Name and version of the document.
pub const SCHEMA: &str = "slotway-loadgen/1";

/// The document.
#[derive(Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it ran.
    pub environment: Environment,
    /// What was to be done.
    pub plan: DescribedPlan,
    warnings: Vec<String>,
    partial: bool,
    /// Why it is partial.
    #[serde(default)]
    pub partial_reason: Option<String>,
    trustworthy: bool,
    #[serde(default)]
    trust: Vec<TrustPart>,
    /// The generator's lag may be this share of a latency.
    #[serde(default)]
    pub lag_share_max: f64,
    #[serde(default)]
    right_share: Option<f64>,
    /// Right responses.
    pub requests: u64,
    requests_per_s: f64,
    /// Due and never sent.
    pub unsent: u64,
    /// Without a response at the end.
    pub waited: u64,
    /// When measuring began, in seconds since 1970.
    #[serde(default)]
    pub began_unix_s: f64,
    /// Time measured.
    pub elapsed_s: f64,
    /// Processor time of the generator's threads.
    pub generator_cpu_s: f64,
    /// Which part of the time they were on a core or waiting for one.
    pub generator_busy_share: f64,
    /// Which part of the cores' time a hypervisor gave to other machines.
    #[serde(default)]
    pub steal_share: Option<f64>,
    /// How long the generator's cgroup was held back for its quota.
    #[serde(default)]
    pub throttled_s: Option<f64>,
    errors: u64,
    /// By the names of their kinds.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Responses by their status, right ones or not.
    #[serde(default)]
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of those.
    #[serde(default)]
    pub received_bytes: u64,
    #[serde(default)]
    received_bytes_per_s: f64,
    /// What event streams got, with `--sse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_streams: Option<Streams>,
    latency_ns: Summary,
    service_ns: Summary,
    lag_ns: Summary,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    phases_ns: BTreeMap<String, Summary>,
    connect_ns: Option<Summary>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    latency_by_status_ns: BTreeMap<u16, Summary>,
    /// In the order of `plan.requests`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    latency_by_request_ns: Vec<Summary>,
    /// What was measured before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<NoisePart>,
    /// Figures of each interval.
    pub intervals: Vec<Point>,
    /// All histograms, whole.
    #[serde(default)]
    pub histograms: Histograms,
}

/// A percentile, and between what the true one lies.
#[derive(Serialize, Deserialize)]
struct TrustPart {
    percentile: String,
    at_least_ns: u64,
    at_most_ns: u64,
    sound: bool,
}

/// Histograms in the encoding of `HdrHistogram`, V2, compressed, as base64.
#[derive(Default, Serialize, Deserialize)]
pub struct Histograms {
    /// Latencies.
    #[serde(default)]
    pub latency: String,
    /// Service times; empty in a closed loop.
    #[serde(default)]
    pub service: String,
    /// The generator's own lag.
    #[serde(default)]
    pub lag: String,
    /// Connecting.
    #[serde(default)]
    pub connect: String,
    /// Right responses by the index of their request in `plan.requests`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_request: BTreeMap<usize, String>,
    /// Whole responses, right or not, by their status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_status: BTreeMap<u16, String>,
    /// Phases of the server, in the order of [`PHASE_NAMES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<String>,
    /// An idle thread's lag, before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_lag: Option<String>,
    /// The echo's latencies, before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_latency: Option<String>,
}

/// A histogram in figures, nanoseconds.
#[derive(Serialize, Deserialize)]
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

/// What was measured before the run.
#[derive(Serialize, Deserialize)]
pub struct NoisePart {
    idle_lag_ns: Summary,
    echo_latency_ns: Summary,
    /// What the echo answered per second.
    pub echo_requests_per_s: f64,
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
    serde_json::to_string_pretty(&document(report)).expect("plain data") + "\n"
}

fn document(report: &Report<'_>) -> Document {
    let outcome = report.outcome;
    let phases = || outcome.total.phases.iter().flat_map(|phases| phases.iter());
    Document {
        schema: SCHEMA.to_owned(),
        environment: report.environment.clone(),
        plan: report.plan.clone(),
        warnings: report.warnings(),
        partial: outcome.partial.is_some(),
        partial_reason: outcome.partial.clone(),
        trustworthy: report.trust.is_trustworthy(),
        trust: trust(report),
        lag_share_max: report.trust.share_max,
        right_share: outcome.right_share(),
        requests: outcome.total.response_count,
        requests_per_s: outcome.rate(),
        unsent: outcome.unsent_count,
        waited: outcome.total.waited_count,
        began_unix_s: outcome
            .began
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |time| time.as_secs_f64()),
        elapsed_s: outcome.elapsed.as_secs_f64(),
        generator_cpu_s: outcome.cpu.as_secs_f64(),
        generator_busy_share: outcome.busy_share(),
        steal_share: outcome.disturbance.steal_share,
        throttled_s: outcome.disturbance.throttled.map(|time| time.as_secs_f64()),
        errors: outcome.errors().count(),
        errors_by_kind: outcome.errors().by_name(),
        statuses: outcome.total.statuses.sorted().into_iter().collect(),
        received_bytes: outcome.total.received_bytes,
        received_bytes_per_s: outcome.bytes_per_s(),
        event_streams: outcome.streams,
        latency_ns: Summary::of(&outcome.total.latency),
        service_ns: Summary::of(outcome.service()),
        lag_ns: Summary::of(&outcome.total.lag),
        phases_ns: PHASE_NAMES
            .into_iter()
            .zip(phases())
            .map(|(name, histogram)| (name.to_owned(), Summary::of(histogram)))
            .collect(),
        connect_ns: Some(Summary::of(&outcome.total.connect)),
        latency_by_status_ns: outcome
            .total
            .groups
            .by_status
            .iter()
            .map(|(status, histogram)| (*status, Summary::of(histogram)))
            .collect(),
        latency_by_request_ns: (0..report.plan.requests.len())
            .map(|index| match outcome.total.groups.by_request.get(&index) {
                Some(histogram) => Summary::of(histogram),
                None => Summary::of(&new_group()),
            })
            .collect(),
        noise_floor: report.noise.map(|noise| NoisePart {
            idle_lag_ns: Summary::of(&noise.idle_lag),
            echo_latency_ns: Summary::of(&noise.echo_latency),
            echo_requests_per_s: noise.echo_rate,
        }),
        intervals: outcome.points.clone(),
        histograms: Histograms {
            latency: encoded::encode(&outcome.total.latency),
            service: encoded::encode(&outcome.total.service),
            lag: encoded::encode(&outcome.total.lag),
            connect: encoded::encode(&outcome.total.connect),
            by_request: encode_all(&outcome.total.groups.by_request),
            by_status: encode_all(&outcome.total.groups.by_status),
            phases: phases().map(encoded::encode).collect(),
            idle_lag: report.noise.map(|noise| encoded::encode(&noise.idle_lag)),
            echo_latency: report
                .noise
                .map(|noise| encoded::encode(&noise.echo_latency)),
        },
    }
}

fn encode_all<K: Ord + Copy>(histograms: &BTreeMap<K, Histogram<u64>>) -> BTreeMap<K, String> {
    histograms
        .iter()
        .map(|(key, histogram)| (*key, encoded::encode(histogram)))
        .collect()
}

fn trust(report: &Report<'_>) -> Vec<TrustPart> {
    let part = |bound: &Bound| TrustPart {
        percentile: bound.name.to_owned(),
        at_least_ns: bound.at_least_ns,
        at_most_ns: bound.measured_ns,
        sound: report.trust.is_sound(bound),
    };
    report.trust.bounds.iter().map(part).collect()
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
