//! Requests as they end, for who looks on (`slotway-hub trace`). While nobody does, this costs a
//! look at one flag.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::TRACE_QUEUE_COUNT_MAX;
use crate::metrics::recorder::Phase;
use crate::metrics::route::RouteId;
use crate::routing::session::Session;

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct EndedRequest {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where it is counted.
    pub route_id: RouteId,
    /// Its method; empty for one that the hub does not know.
    pub method: &'static str,
    /// Status of its response; 0 if there was none.
    pub status: u16,
    /// The response was cut off, or there was none.
    pub is_aborted: bool,
    /// From the whole head to the end of the response.
    pub took_ns: u64,
    /// How long each phase took, in the order of [`Phase::ALL`]; `None` if no worker responded.
    pub phases_ns: Option<[u64; Phase::ALL.len()]>,
    /// The worker that responded.
    pub session: Option<Arc<Session>>,
}

/// Where requests are looked at.
#[derive(Debug, Default)]
pub struct Tap {
    is_open: AtomicBool,
    watchers: Mutex<Vec<Watcher>>,
    next_key: AtomicU64,
}

#[derive(Debug)]
struct Watcher {
    key: u64,
    /// All if empty.
    routes: Vec<RouteId>,
    requests: SyncSender<EndedRequest>,
    lost: Arc<AtomicU64>,
}

/// Somebody looks on for as long as this lives.
#[derive(Debug)]
pub struct Watching<'t> {
    tap: &'t Tap,
    key: u64,
    /// The requests.
    pub requests: Receiver<EndedRequest>,
    /// Requests that came quicker than they were read.
    pub lost: Arc<AtomicU64>,
}

impl Tap {
    fn lock(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody looks on.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Looks at the requests of these routes, or of all if there are none.
    pub fn watch(&self, routes: Vec<RouteId>) -> Watching<'_> {
        let (requests, receiver) = sync_channel(TRACE_QUEUE_COUNT_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let mut watchers = self.lock();
        watchers.push(Watcher {
            key,
            routes,
            requests,
            lost: Arc::clone(&lost),
        });
        self.is_open.store(true, Ordering::Relaxed);
        drop(watchers);
        Watching {
            tap: self,
            key,
            requests: receiver,
            lost,
        }
    }

    /// A request has ended.
    #[cold]
    pub fn note(&self, request: &EndedRequest) {
        for watcher in &*self.lock() {
            let is_wanted = watcher.routes.is_empty() || watcher.routes.contains(&request.route_id);
            if is_wanted && watcher.requests.try_send(request.clone()).is_err() {
                watcher.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut watchers = self.tap.lock();
        watchers.retain(|watcher| watcher.key != self.key);
        self.tap
            .is_open
            .store(!watchers.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::route::Group;

    #[test]
    fn who_looks_on_gets_the_requests_of_his_routes_and_a_count_of_what_he_missed() {
        let tap = Tap::default();
        let [own, other] = [Group::None, Group::Hub].map(|group| RouteId::of_group(group, None));
        let ended = |route_id| EndedRequest {
            at_ms: 0,
            route_id,
            method: "GET",
            status: 200,
            is_aborted: false,
            took_ns: 1,
            phases_ns: None,
            session: None,
        };
        assert!(!tap.is_open());
        let watching = tap.watch(vec![own]);
        assert!(tap.is_open());
        tap.note(&ended(other));
        for _ in 0..TRACE_QUEUE_COUNT_MAX + 3 {
            tap.note(&ended(own));
        }
        assert_eq!(watching.requests.try_iter().count(), TRACE_QUEUE_COUNT_MAX);
        assert_eq!(watching.lost.load(Ordering::Relaxed), 3);
        drop(watching);
        assert!(!tap.is_open());
    }
}
