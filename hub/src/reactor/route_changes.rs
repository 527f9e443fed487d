//! Wakes the clients of an SSE route when other workers serve it, and only then: a
//! worker that comes or goes elsewhere must not cost a turn of every client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;

use crate::routing::registration::RouteSpec;

/// The routes of one reactor that have clients.
#[derive(Debug, Default)]
pub struct RouteChanges(RefCell<HashMap<RouteSpec, Weak<WatchedRoute>>>);

/// One of them; by default one that never changes.
#[derive(Debug, Default)]
pub struct WatchedRoute {
    /// Ids of the sessions that serve it.
    workers: RefCell<Vec<u64>>,
    /// Told when those are others.
    pub changed: Notify,
}

impl RouteChanges {
    /// A route, for a client of it; `workers` are the ids of the sessions that serve it.
    pub fn watch(&self, route: &RouteSpec, workers: Vec<u64>) -> Rc<WatchedRoute> {
        let mut routes = self.0.borrow_mut();
        if let Some(watched) = routes.get(route).and_then(Weak::upgrade) {
            return watched;
        }
        let watched = Rc::new(WatchedRoute {
            workers: RefCell::new(workers),
            changed: Notify::new(),
        });
        routes.insert(route.clone(), Rc::downgrade(&watched));
        watched
    }

    /// To be called after every change of routes or lanes.
    pub fn update(&self, workers_of: impl Fn(&RouteSpec) -> Vec<u64>) {
        self.0.borrow_mut().retain(|route, watched| {
            let Some(watched) = watched.upgrade() else {
                return false;
            };
            let workers = workers_of(route);
            if watched.workers.replace(workers.clone()) != workers {
                watched.changed.notify_waiters();
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn clients_wake_for_the_workers_of_their_own_route_only() {
        let route = |path: &str| RouteSpec::for_tests(path);
        let routes = RouteChanges::default();
        let (own, other) = (route("/own"), route("/other"));
        let watched = routes.watch(&own, vec![1]);
        let mut cx = Context::from_waker(Waker::noop());
        let mut changed = pin!(watched.changed.notified());
        changed.as_mut().enable();
        routes.update(|route| if *route == own { vec![1] } else { vec![2] });
        assert!(changed.as_mut().poll(&mut cx).is_pending());
        routes.update(|_| vec![3]);
        assert!(changed.as_mut().poll(&mut cx).is_ready());
        assert!(Rc::ptr_eq(&watched, &routes.watch(&own, vec![3])));
        // A route that nobody watches any more is forgotten.
        drop(routes.watch(&other, vec![]));
        routes.update(|_| vec![3]);
        assert_eq!(routes.0.borrow().len(), 1);
    }
}
