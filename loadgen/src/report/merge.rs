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
                "{} is of the kind {:?} and {} of the kind {:?}: their latencies do not mean the same",
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
        if let (Some(streams), Some(more)) = (&mut merged.outcome.streams, &other.outcome.streams) {
            streams.merge(more);
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

/// The most that there was of something at once.
fn most_at_once(all: &[Saved], of: impl Fn(&Saved) -> f64) -> f64 {
    let runs_at = |saved: &&Saved, moment: SystemTime| {
        let Outcome { began, elapsed, .. } = saved.outcome;
        began <= moment && moment < began + elapsed
    };
    let at = |moment| {
        let running = all.iter().filter(|saved| runs_at(saved, moment));
        running.map(&of).sum::<f64>()
    };
    let starts = all.iter().map(|saved| saved.outcome.began);
    starts.map(at).fold(0.0, f64::max)
}

/// Intervals by their time. Of those that overlap, requests and errors add up, and percentiles
/// are the highest of them: there is no telling what theirs together was.
fn points(all: &[Saved], began: SystemTime) -> Vec<Point> {
    let mut sorted: Vec<Point> = Vec::new();
    for saved in all {
        let offset = saved.outcome.began.duration_since(began);
        let offset_s = offset.unwrap_or_default().as_secs_f64();
        let points = saved.outcome.points.iter().cloned();
        sorted.extend(points.map(|point| Point {
            from_seconds: point.from_seconds + offset_s,
            ..point
        }));
    }
    sorted.sort_by(|a, b| a.from_seconds.total_cmp(&b.from_seconds));
    let mut merged: Vec<Point> = Vec::new();
    for point in sorted {
        match merged.last_mut() {
            Some(last)
                if point.from_seconds - last.from_seconds
                    < point.seconds.min(last.seconds) / 2.0 =>
            {
                add(last, &point);
            }
            _ => merged.push(point),
        }
    }
    merged
}

fn add(point: &mut Point, more: &Point) {
    point.response_count += more.response_count;
    point.error_count += more.error_count;
    point.p50_ns = point.p50_ns.max(more.p50_ns);
    point.p99_ns = point.p99_ns.max(more.p99_ns);
    point.max_ns = point.max_ns.max(more.max_ns);
    steps::add(&mut point.steps, &more.steps);
}

fn describe(merged: &mut Saved, all: &[Saved]) {
    let plan = &mut merged.plan;
    let mut targets: Vec<&str> = Vec::new();
    for saved in all {
        if !targets.contains(&saved.plan.target.as_str()) {
            targets.push(&saved.plan.target);
        }
    }
    plan.target = format!("{} ({} reports)", targets.join(", "), all.len());
    let most = |of: fn(&Saved) -> usize| most_at_once(all, |saved| of(saved) as f64) as usize;
    plan.connections = most(|saved| saved.plan.connections);
    plan.threads = most(|saved| saved.plan.threads).max(1);
    merged.outcome.thread_count = plan.threads;
    // The share of the time that threads were busy, of all threads and their times.
    let thread_time_s =
        |saved: &Saved| saved.outcome.elapsed.as_secs_f64() * saved.outcome.thread_count as f64;
    let busy_share = merged.outcome.busy.as_secs_f64()
        / all
            .iter()
            .map(thread_time_s)
            .sum::<f64>()
            .max(f64::MIN_POSITIVE);
    let elapsed_s = merged.outcome.elapsed.as_secs_f64();
    merged.outcome.busy = Duration::from_secs_f64(busy_share * elapsed_s * plan.threads as f64);
    if merged.outcome.asked_rate.is_some() {
        // Requests that were asked for, over the time in which any were.
        let asked = |saved: &Saved| {
            saved.outcome.asked_rate.unwrap_or(0.0) * saved.outcome.elapsed.as_secs_f64()
        };
        let rate = all.iter().map(asked).sum::<f64>() / elapsed_s.max(f64::MIN_POSITIVE);
        merged.outcome.asked_rate = Some(rate);
        // What they asked for over time together is no ramp or profile any more.
        plan.profile.clear();
        (plan.rate_from, plan.rate_to) = (Some(rate), Some(rate));
    }
    if plan.count.is_some() {
        plan.count = Some(all.iter().filter_map(|saved| saved.plan.count).sum());
    } else {
        plan.duration_s = Some(elapsed_s);
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

    #[test]
    fn runs_of_other_lengths_and_threads_weigh_as_long_as_they_took() {
        let mut other = saved(100);
        other.outcome.elapsed *= 3;
        other.outcome.asked_rate = Some(1000.0);
        other.outcome.thread_count = 2;
        other.plan.threads = 2;
        other.outcome.busy *= 6;
        let share = saved(0).outcome.busy_share();
        let merged = merge(&[saved(0), other]).unwrap();
        assert_eq!(merged.plan.threads, 2);
        assert!((merged.outcome.busy_share() - share).abs() < 1e-6);
        let rate = merged.outcome.asked_rate.unwrap();
        assert!((rate - 1600.0).abs() < 1e-6, "{rate}");
    }
}
