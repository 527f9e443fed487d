//! A report as a file keeps it (`--json`), read back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::environment::Environment;
use crate::load::disturbance::Disturbance;
use crate::load::groups::{Groups, new_group};
use crate::load::outcome::Outcome;
use crate::load::{Errors, Interval};
use crate::noise::{NoiseFloor, Trust};
use crate::report::Report;
use crate::report::described::DescribedPlan;
use crate::report::encoded::{decode, decode_group};
use crate::report::json::{Document, Histograms, SCHEMA};

/// Any time of a report is below this: the year 9999.
const TIME_MAX: Duration = Duration::from_secs(253_402_300_800);

/// Everything that a report shows.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What was to be done.
    pub plan: DescribedPlan,
    /// Where it ran.
    pub environment: Environment,
    /// What came of it.
    pub outcome: Outcome,
    /// What was measured before, unless that was left out.
    pub noise: Option<NoiseFloor>,
    /// The generator's lag may be this share of a latency.
    pub lag_share_max: f64,
}

impl Saved {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(&text).map_err(|why| format!("{name}: {why}"))
    }

    /// Reads a document.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text)
            .map_err(|error| format!("not a report that --json has written: {error}"))?;
        if document.schema != SCHEMA {
            return Err(format!("schema {}, expected {SCHEMA}", document.schema));
        }
        if document.histograms.latency.is_empty() {
            return Err("it was written by an older version, without its histograms".to_owned());
        }
        let noise = match &document.noise_floor {
            Some(part) => noise(&document.histograms, part.echo_requests_per_s)?,
            None => None,
        };
        let seconds = |seconds: f64, name: &str| {
            Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|time| *time < TIME_MAX)
                .ok_or_else(|| format!("{name}: {seconds} is no time"))
        };
        let elapsed = seconds(document.elapsed_s, "elapsed_s")?;
        let busy_s = document.generator_busy_share * document.elapsed_s;
        let outcome = Outcome {
            total: total(&document)?,
            points: document.intervals,
            began: UNIX_EPOCH
                .checked_add(seconds(document.began_unix_s, "began_unix_s")?)
                .filter(|began| began.checked_add(elapsed).is_some())
                .ok_or("began_unix_s: too late")?,
            elapsed,
            asked_rate: document.plan.mean_rate(),
            unsent_count: document.unsent,
            cpu: seconds(document.generator_cpu_s, "generator_cpu_s")?,
            busy: seconds(
                busy_s * document.plan.threads as f64,
                "generator_busy_share",
            )?,
            thread_count: document.plan.threads,
            disturbance: Disturbance {
                steal_share: document.steal_share,
                throttled: match document.throttled_s {
                    Some(throttled_s) => Some(seconds(throttled_s, "throttled_s")?),
                    None => None,
                },
            },
            streams: document.event_streams,
            partial: document.partial_reason,
        };
        Ok(Self {
            plan: document.plan,
            environment: document.environment,
            outcome,
            noise,
            lag_share_max: document.lag_share_max,
        })
    }

    /// Shows it to `look`.
    pub fn with_report<R>(&self, look: impl FnOnce(&Report<'_>) -> R) -> R {
        let total = &self.outcome.total;
        look(&Report {
            plan: &self.plan,
            outcome: &self.outcome,
            noise: self.noise.as_ref(),
            trust: &Trust::judge(&total.latency, &total.lag, self.lag_share_max),
            environment: &self.environment,
        })
    }
}

fn noise(histograms: &Histograms, echo_rate: f64) -> Result<Option<NoiseFloor>, String> {
    let (Some(idle_lag), Some(echo_latency)) = (&histograms.idle_lag, &histograms.echo_latency)
    else {
        return Ok(None);
    };
    Ok(Some(NoiseFloor {
        idle_lag: decode(idle_lag)?,
        echo_latency: decode(echo_latency)?,
        echo_rate,
    }))
}

fn decode_all<K: Ord + Copy>(
    texts: &BTreeMap<K, String>,
) -> Result<BTreeMap<K, Histogram<u64>>, String> {
    let decoded = texts
        .iter()
        .map(|(key, text)| Ok((*key, decode_group(text)?)));
    decoded.collect()
}

fn total(document: &Document) -> Result<Interval, String> {
    let histograms = &document.histograms;
    let phases: Vec<_> = histograms
        .phases
        .iter()
        .map(|text| decode(text))
        .collect::<Result<_, _>>()?;
    let mut total = Interval {
        latency: decode(&histograms.latency)?,
        service: decode(&histograms.service)?,
        lag: decode(&histograms.lag)?,
        phases: phases.try_into().ok().map(Box::new),
        response_count: document.requests,
        waited_count: document.waited,
        errors: Errors::of_names(BTreeMap::clone(&document.errors_by_kind)),
        received_bytes: document.received_bytes,
        connect: match &histograms.connect[..] {
            "" => new_group(),
            text => decode_group(text)?,
        },
        groups: Groups {
            by_request: decode_all(&histograms.by_request)?,
            by_status: decode_all(&histograms.by_status)?,
        },
        ..Interval::new()
    };
    for (status, count) in &document.statuses {
        total.statuses.add(*status, *count);
    }
    if total.waited_count > total.latency.len() {
        return Err("more waited than there were latencies".to_owned());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{html, json, sample, terminal};

    #[test]
    fn a_report_that_is_read_back_looks_the_same() {
        for render in [html::render, terminal::render, json::render] {
            let saved = Saved::parse(&sample::with_report(json::render)).unwrap();
            assert_eq!(saved.with_report(render), sample::with_report(render));
        }
    }

    #[test]
    fn what_is_no_report_is_refused_in_a_sentence() {
        let text = sample::with_report(json::render);
        let refused = |from: &str, to: &str| Saved::parse(&text.replace(from, to)).unwrap_err();
        assert!(refused("slotway-loadgen/1", "slotway-loadgen/9").contains("expected"));
        assert!(refused("\"elapsed_s\": 2.0", "\"elapsed_s\": -2.0").contains("no time"));
        assert!(refused("HISTF", "HISTX").contains("histogram"));
        assert!(refused("\"histograms\"", "\"others\"").contains("older version"));
        assert!(Saved::parse("{}").unwrap_err().contains("--json"));
    }
}
