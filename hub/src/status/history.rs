//! The last minutes of each route, second by second: what the status page draws.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use crate::limits::HISTORY_SECOND_COUNT;
use crate::metrics::recorder::{ReactorMetrics, RouteTotals};
use crate::metrics::route::{Group, RouteId};

/// The requests that ended within one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The second, since 1970.
    pub second: u64,
    /// Requests.
    pub count: u32,
    /// Those of them that failed: 5xx, or aborted.
    pub failed: u32,
    /// 50, 99 and 99.9 % of them took at most so many microseconds.
    pub quantiles_us: [u32; 3],
}

impl Sample {
    fn new(second: u64, totals: &RouteTotals) -> Self {
        let quantile = |share| {
            let duration = totals.durations.quantile(share).unwrap_or_default();
            duration.as_micros().try_into().unwrap_or(u32::MAX)
        };
        Self {
            second,
            count: totals.count() as u32,
            failed: totals.failed() as u32,
            quantiles_us: [0.5, 0.99, 0.999].map(quantile),
        }
    }
}

/// `[second, count, failed, p50, p99, p99.9]`, the last three in microseconds.
impl Serialize for Sample {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [p50, p99, p999] = self.quantiles_us;
        (self.second, self.count, self.failed, p50, p99, p999).serialize(serializer)
    }
}

/// Samples of one route; seconds without a request have none.
#[derive(Debug, Default)]
struct Series {
    samples: VecDeque<Sample>,
    /// All of them added up, at the last look.
    totals: RouteTotals,
}

impl Series {
    fn push(&mut self, sample: Sample) {
        self.forget_before(sample.second.saturating_sub(HISTORY_SECOND_COUNT));
        self.samples.push_back(sample);
    }

    fn forget_before(&mut self, second: u64) {
        while self.samples.front().is_some_and(|old| old.second <= second) {
            self.samples.pop_front();
        }
    }
}

/// The last minutes of all routes.
#[derive(Debug, Default)]
pub struct History {
    all: Series,
    routes: HashMap<RouteId, Series>,
}

/// What the last second has brought.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Of all routes together, if there was a request.
    pub all: Option<Sample>,
    /// Of each route that had one.
    pub routes: Vec<(RouteId, Sample)>,
}

impl History {
    /// Looks what has come since the last look. Routes without a request cost a comparison.
    pub fn look(
        &mut self,
        second: u64,
        ids: impl Iterator<Item = RouteId>,
        reactors: &[impl AsRef<ReactorMetrics>],
    ) -> Second {
        let mut seen = Second::default();
        let mut all = RouteTotals::default();
        for id in ids {
            let reactors = || reactors.iter().map(AsRef::as_ref);
            let count: u64 = reactors().map(|reactor| reactor.request_count(id)).sum();
            let before = self
                .routes
                .get(&id)
                .map_or(0, |series| series.totals.count());
            if count == before {
                continue;
            }
            let series = self.routes.entry(id).or_default();
            let mut totals = RouteTotals::default();
            reactors().for_each(|reactor| reactor.add_route_to(id, &mut totals));
            let new = totals.since(&series.totals);
            let sample = Sample::new(second, &new);
            series.push(sample);
            series.totals = totals;
            if !id.is_of(Group::Hub) {
                all.merge(&new);
            }
            seen.routes.push((id, sample));
        }
        if all.count() > 0 {
            let sample = Sample::new(second, &all);
            self.all.push(sample);
            seen.all = Some(sample);
        }
        seen
    }

    /// The samples of a route, or of all together.
    pub fn of(&self, id: Option<RouteId>) -> Vec<Sample> {
        let series = match id {
            Some(id) => self.routes.get(&id),
            None => Some(&self.all),
        };
        series.map_or(Vec::new(), |series| {
            series.samples.iter().copied().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::recorder::{Recorder, StatusClass};
    use slotway_shm_proto::Method;
    use std::sync::Arc;

    #[test]
    fn a_second_has_what_came_in_it_and_old_ones_are_forgotten() {
        let metrics = Arc::new(ReactorMetrics::default());
        let recorder = Recorder::new(Arc::clone(&metrics));
        let id = RouteId::of_group(Group::None, Some(Method::Get));
        let mut history = History::default();
        let look = |history: &mut History, second| {
            history.look(second, [id].into_iter(), std::slice::from_ref(&metrics))
        };
        assert!(look(&mut history, 1).all.is_none());
        recorder.request(id, StatusClass::Success, 1_000_000);
        recorder.request(id, StatusClass::ServerError, 2_000_000);
        let seen = look(&mut history, 2);
        let all = seen.all.unwrap();
        assert_eq!((all.count, all.failed, all.second), (2, 1, 2));
        assert!((900..1100).contains(&all.quantiles_us[0]), "{all:?}");
        assert_eq!(seen.routes, [(id, all)]);
        recorder.request(id, StatusClass::Success, 1);
        assert_eq!(look(&mut history, 3).all.unwrap().count, 1);
        assert_eq!(history.of(Some(id)).len(), 2);
        recorder.request(id, StatusClass::Success, 1);
        look(&mut history, 2 + HISTORY_SECOND_COUNT);
        let kept: Vec<_> = history.of(None).iter().map(|s| s.second).collect();
        assert_eq!(kept, [3, 2 + HISTORY_SECOND_COUNT]);
    }
}
