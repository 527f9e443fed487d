//! Several reports as one: of runs one after the other, or of machines at once.

use std::time::{Duration, SystemTime};

use crate::load::outcome::{Outcome, Point};
use crate::load::steps;
use crate::report::saved::Saved;

/// Adds reports. Histograms add up exactly. The time measured is that in which at least one of
/// them measured, so machines that ran at once add their rates, and runs one after the other do
/// not.
pub fn merge(all: &[Saved]) -> Result<Saved, String> {
    let (first, others) = all.split_first().ok_or("no report to merge")?;
    let mut merged = first.clone();
    for other in others {
        if other.plan.kind != first.plan.kind {
            return Err(format!(
                "{} is of an {} loop and {} of a {} one: their latencies do not mean the same",
                other.plan.target, other.plan.kind, first.plan.target, first.plan.kind
            ));
        }
        merged.outcome.total.merge(&other.outcome.total);
        merged.outcome.unsent_count += other.outcome.unsent_count;
        merged.outcome.cpu += other.outcome.cpu;
        merged.outcome.busy += other.outcome.busy;
        if let (None, Some(why)) = (&merged.outcome.partial, &other.outcome.partial) {
            merged.outcome.partial = Some(why.clone());
        }
        merge_noise(&mut merged, other);
        let (own, more) = (&mut merged.outcome.disturbance, &other.outcome.disturbance);
        // Of several machines the most disturbed one counts.
        own.steal_share = own
            .steal_share
            .into_iter()
            .chain(more.steal_share)
            .reduce(f64::max);
        own.throttled = own.throttled.max(more.throttled);
        merged.lag_share_max = merged.lag_share_max.min(other.lag_share_max);
    }
    if others
        .iter()
        .any(|other| other.plan.requests != first.plan.requests)
    {
        // Their indexes do not mean the same.
        merged.outcome.total.groups.by_request.clear();
        merged.plan.requests.clear();
    }
    let began = all.iter().map(|saved| saved.outcome.began).min();
    merged.outcome.began = began.unwrap_or(first.outcome.began);
    merged.outcome.elapsed = time_measured(all);
    merged.outcome.points = points(all, merged.outcome.began);
    describe(&mut merged, all);
    Ok(merged)
}

/// The floor is that of the noisiest.
fn merge_noise(merged: &mut Saved, other: &Saved) {
    match (&mut merged.noise, &other.noise) {
        (Some(noise), Some(more)) => {
            noise.idle_lag.add(&more.idle_lag).expect("the same bounds");
            noise
                .echo_latency
                .add(&more.echo_latency)
                .expect("the same bounds");
            noise.echo_rate = noise.echo_rate.min(more.echo_rate);
        }
        (none, more) => *none = none.take().or_else(|| more.clone()),
    }
}

/// Start and end of each, in their order.
fn spans(all: &[Saved]) -> Vec<(SystemTime, SystemTime)> {
    let span = |outcome: &Outcome| (outcome.began, outcome.began + outcome.elapsed);
    let mut spans: Vec<_> = all.iter().map(|saved| span(&saved.outcome)).collect();
    spans.sort();
    spans
}

fn time_measured(all: &[Saved]) -> Duration {
    let mut covered = Duration::ZERO;
    let mut until = SystemTime::UNIX_EPOCH;
    for (start, end) in spans(all) {
        covered += end.duration_since(start.max(until)).unwrap_or_default();
        until = until.max(end);
    }
    covered
}

/// How many of them ran at once, at most.
fn most_at_once(all: &[Saved]) -> usize {
    let spans = spans(all);
    let at = |moment: SystemTime| {
        let runs = |span: &&(SystemTime, SystemTime)| span.0 <= moment && moment < span.1;
        spans.iter().filter(runs).count()
    };
    spans
        .iter()
        .map(|span| at(span.0))
        .max()
        .unwrap_or(1)
        .max(1)
}

/// Intervals by their time. Of those that overlap, requests and errors add up, and percentiles
/// are the highest of them: there is no telling what theirs together was.
fn points(all: &[Saved], began: SystemTime) -> Vec<Point> {
    let mut merged: Vec<Point> = Vec::new();
    for saved in all {
        let offset = saved.outcome.began.duration_since(began);
        let offset_s = offset.unwrap_or_default().as_secs_f64();
        for point in &saved.outcome.points {
            let from_seconds = point.from_seconds + offset_s;
            let overlaps = |other: &&mut Point| {
                (other.from_seconds - from_seconds).abs() < point.seconds.min(other.seconds) / 2.0
            };
            match merged.iter_mut().find(overlaps) {
                Some(other) => {
                    other.response_count += point.response_count;
                    other.error_count += point.error_count;
                    other.p50_ns = other.p50_ns.max(point.p50_ns);
                    other.p99_ns = other.p99_ns.max(point.p99_ns);
                    other.max_ns = other.max_ns.max(point.max_ns);
                    steps::add(&mut other.steps, &point.steps);
                }
                None => merged.push(Point {
                    from_seconds,
                    ..point.clone()
                }),
            }
        }
    }
    merged.sort_by(|a, b| a.from_seconds.total_cmp(&b.from_seconds));
    merged
}

fn describe(merged: &mut Saved, all: &[Saved]) {
    let at_once = most_at_once(all);
    let share = |of: usize| of * at_once / all.len();
    let plan = &mut merged.plan;
    let mut targets: Vec<&str> = Vec::new();
    for saved in all {
        if !targets.contains(&saved.plan.target.as_str()) {
            targets.push(&saved.plan.target);
        }
    }
    plan.target = format!("{} ({} reports)", targets.join(", "), all.len());
    let sum = |of: fn(&Saved) -> usize| share(all.iter().map(of).sum::<usize>());
    plan.connections = sum(|saved| saved.plan.connections);
    plan.threads = sum(|saved| saved.plan.threads);
    merged.outcome.thread_count = plan.threads.max(1);
    if let Some(rate) = merged.outcome.asked_rate {
        // Those that ran at once asked together.
        let rates = all.iter().filter_map(|saved| saved.outcome.asked_rate);
        let mean = rates.sum::<f64>() / all.len() as f64 * at_once as f64;
        let factor = mean / rate;
        plan.rate_from = plan.rate_from.map(|from| from * factor);
        plan.rate_to = plan.rate_to.map(|to| to * factor);
        merged.outcome.asked_rate = Some(mean);
    }
    if plan.count.is_some() {
        plan.count = Some(all.iter().filter_map(|saved| saved.plan.count).sum());
    } else {
        plan.duration_s = Some(merged.outcome.elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{json, sample};

    fn saved(began_after: u64) -> Saved {
        let mut saved = Saved::parse(&sample::with_report(json::render)).unwrap();
        saved.outcome.began += Duration::from_secs(began_after);
        saved
    }

    #[test]
    fn machines_at_once_add_their_rates() {
        let merged = merge(&[saved(0), saved(0)]).unwrap();
        let one = saved(0);
        assert_eq!(
            merged.outcome.total.latency.len(),
            2 * one.outcome.total.latency.len()
        );
        assert_eq!(merged.outcome.elapsed, one.outcome.elapsed);
        assert!((merged.outcome.rate() - 2.0 * one.outcome.rate()).abs() < 1e-6);
        assert_eq!(merged.outcome.asked_rate, Some(6800.0));
        assert_eq!(
            (merged.plan.connections, merged.plan.rate_from),
            (8, Some(6800.0))
        );
        assert_eq!(merged.outcome.points.len(), 2);
        assert_eq!(merged.outcome.points[0].response_count, 6_800);
        assert_eq!(merged.outcome.errors().count(), 6);
        assert_eq!(merged.outcome.total.statuses.sorted()[0].1, 2 * 6_800);
        assert!((merged.outcome.busy_share() - one.outcome.busy_share()).abs() < 1e-6);
    }

    #[test]
    fn runs_one_after_the_other_have_the_rate_of_each() {
        let merged = merge(&[saved(3600), saved(0)]).unwrap();
        let one = saved(0);
        assert_eq!(merged.outcome.elapsed, 2 * one.outcome.elapsed);
        assert!((merged.outcome.rate() - one.outcome.rate()).abs() < 1e-6);
        assert_eq!(
            (merged.plan.connections, merged.plan.rate_from),
            (4, Some(3400.0))
        );
        assert_eq!(merged.outcome.began, one.outcome.began);
        let starts: Vec<_> = merged
            .outcome
            .points
            .iter()
            .map(|point| point.from_seconds)
            .collect();
        assert_eq!(starts, [0.0, 1.0, 3600.0, 3601.0]);
        assert!((merged.outcome.busy_share() - one.outcome.busy_share()).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_mean_the_same_is_not_merged() {
        let mut other = saved(0);
        other.plan.kind = "closed".to_owned();
        assert!(
            merge(&[saved(0), other])
                .unwrap_err()
                .contains("do not mean the same")
        );
        assert!(merge(&[]).is_err());
    }
}
