//! The numbers of one reactor: its thread records them, and any thread may look.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use super::counter::Counter;
use super::histogram::{Durations, Histogram};
use super::route::RouteId;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum StatusClass {
    /// 101: the connection went over to the worker.
    Upgraded,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// Its client left before there was a response, or the response was cut off.
    Aborted,
}

impl StatusClass {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Upgraded,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Aborted,
    ];

    /// That of a status code.
    #[inline]
    pub fn of(status: u16) -> Self {
        match status {
            100..200 => Self::Upgraded,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500..600 => Self::ServerError,
            _ => Self::Aborted,
        }
    }

    /// As a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Upgraded => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Aborted => "aborted",
        }
    }
}

/// Where a request's time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// From the whole head to the slot's submission: finding the route, waiting for a slot,
    /// filling it.
    Parse,
    /// Until a thread of the worker took it.
    Queue,
    /// Until its handler had responded.
    Worker,
    /// Until the hub saw the response.
    Response,
    /// Until the response was handed to the socket.
    Write,
}

impl Phase {
    /// All of them, in the order of time.
    pub const ALL: [Self; 5] = [
        Self::Parse,
        Self::Queue,
        Self::Worker,
        Self::Response,
        Self::Write,
    ];

    /// As a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Queue => "queue",
            Self::Worker => "worker",
            Self::Response => "response",
            Self::Write => "write",
        }
    }
}

/// The requests of one route.
#[derive(Debug, Default)]
struct RouteMetrics {
    requests: [Counter; StatusClass::ALL.len()],
    durations: Histogram,
}

/// The numbers of one reactor.
#[derive(Debug)]
pub struct ReactorMetrics {
    routes: Box<[OnceLock<Box<RouteMetrics>>]>,
    phases: [Histogram; Phase::ALL.len()],
    /// Bytes read from clients.
    pub received_bytes: Counter,
    /// Bytes sent to clients.
    pub sent_bytes: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Bells of workers rung.
    pub wakes: Counter,
    /// Event streams begun.
    pub event_streams: Counter,
}

impl Default for ReactorMetrics {
    fn default() -> Self {
        Self {
            routes: (0..RouteId::COUNT_MAX).map(|_| OnceLock::new()).collect(),
            phases: std::array::from_fn(|_| Histogram::default()),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            connections: Counter::default(),
            wakes: Counter::default(),
            event_streams: Counter::default(),
        }
    }
}

/// What has been counted of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// Requests by how they ended, in the order of [`StatusClass::ALL`].
    pub requests: [u64; StatusClass::ALL.len()],
    /// How long they took.
    pub durations: Durations,
}

impl RouteTotals {
    /// Requests in all.
    pub fn count(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Those that the hub or a worker failed: 5xx, or aborted.
    pub fn failed(&self) -> u64 {
        let of = |class: StatusClass| self.requests[class as usize];
        of(StatusClass::ServerError) + of(StatusClass::Aborted)
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.requests.iter_mut().zip(&other.requests) {
            *count += more;
        }
        self.durations.merge(&other.durations);
    }

    /// What has come since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let count = |class: usize| self.requests[class].saturating_sub(earlier.requests[class]);
        Self {
            requests: std::array::from_fn(count),
            durations: self.durations.since(&earlier.durations),
        }
    }
}

impl ReactorMetrics {
    /// Makes room for a route, so that its first request need not.
    pub fn prepare(&self, id: RouteId) {
        self.routes[id.index()].get_or_init(Box::default);
    }

    /// Requests of a route so far, without its durations: cheap to ask for again.
    pub fn request_count(&self, id: RouteId) -> u64 {
        let route = self.routes[id.index()].get();
        route.map_or(0, |route| route.requests.iter().map(Counter::get).sum())
    }

    /// Adds what has been counted of a route.
    pub fn add_route_to(&self, id: RouteId, totals: &mut RouteTotals) {
        let Some(route) = self.routes[id.index()].get() else {
            return;
        };
        for (total, counter) in totals.requests.iter_mut().zip(&route.requests) {
            *total += counter.get();
        }
        totals.durations.add(&route.durations);
    }

    /// Adds what has been measured of a phase.
    pub fn add_phase_to(&self, phase: Phase, durations: &mut Durations) {
        durations.add(&self.phases[phase as usize]);
    }
}

/// The right to record a reactor's numbers: it stays with the reactor's thread.
#[derive(Debug)]
pub struct Recorder {
    metrics: Arc<ReactorMetrics>,
    /// Not [`Send`]: a second thread would lose counts.
    _here: PhantomData<*const ()>,
}

impl Recorder {
    /// The only one for these numbers.
    pub fn new(metrics: Arc<ReactorMetrics>) -> Self {
        Self {
            metrics,
            _here: PhantomData,
        }
    }

    /// A request has ended.
    #[inline]
    pub fn request(&self, id: RouteId, class: StatusClass, ns: u64) {
        // A route's place is made before any request can find the route.
        let route = self.metrics.routes[id.index()].get_or_init(Box::default);
        route.requests[class as usize].add(1);
        route.durations.record(ns);
    }

    /// The times of one request in the order of [`Phase::ALL`].
    pub fn phases(&self, times_ns: [u64; Phase::ALL.len()]) {
        for (histogram, ns) in self.metrics.phases.iter().zip(times_ns) {
            histogram.record(ns);
        }
    }

    /// Bytes have come from a client.
    #[inline]
    pub fn received(&self, bytes: usize) {
        self.metrics.received_bytes.add(bytes as u64);
    }

    /// Bytes have gone to a client.
    #[inline]
    pub fn sent(&self, bytes: usize) {
        self.metrics.sent_bytes.add(bytes as u64);
    }

    /// A client has been accepted.
    pub fn accepted(&self) {
        self.metrics.connections.add(1);
    }

    /// Bells of workers have been rung.
    #[inline]
    pub fn rang(&self, count: u32) {
        self.metrics.wakes.add(u64::from(count));
    }

    /// A client has got the head of an event stream.
    pub fn began_event_stream(&self) {
        self.metrics.event_streams.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::route::Group;
    use slotway_shm_proto::Method;

    #[test]
    fn a_request_is_counted_once_with_its_class_and_its_duration() {
        let metrics = Arc::new(ReactorMetrics::default());
        let recorder = Recorder::new(Arc::clone(&metrics));
        let id = RouteId::of_group(Group::None, Some(Method::Get));
        for (status, ns) in [(200, 10), (204, 20), (404, 30), (503, 40), (0, 50)] {
            recorder.request(id, StatusClass::of(status), ns);
        }
        let mut totals = RouteTotals::default();
        metrics.add_route_to(id, &mut totals);
        assert_eq!(totals.requests, [0, 2, 0, 1, 1, 1]);
        assert_eq!((totals.count(), totals.failed()), (5, 2));
        assert_eq!(totals.durations.sum().as_nanos(), 150);
        assert_eq!(metrics.request_count(id), 5);
        let other = RouteId::of_group(Group::Hub, Some(Method::Get));
        let mut none = RouteTotals::default();
        metrics.add_route_to(other, &mut none);
        assert_eq!(none, RouteTotals::default());
    }
}
