//! Routes whose workers have gone: they were there, so a request for one is no 404.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::registration::{RouteKey, RouteOptions, RouteSpec};
use super::session::Session;
use crate::limits::ABSENCE_TIME;
use crate::metrics::route::RouteId;

/// A route that has had a worker in this hub's life. It has none now, unless another serves
/// it.
#[derive(Clone, Debug)]
pub struct Absence {
    /// The name of the worker that has gone.
    pub worker: Arc<str>,
    /// The route.
    pub route: RouteSpec,
    /// Where its requests are counted.
    pub route_id: RouteId,
    /// It is an event stream.
    pub is_sse: bool,
    /// When it went, on the coarse clock.
    pub gone_at_ms: u64,
}

/// The routes that have lost their workers, a bounded number: the oldest are forgotten.
#[derive(Debug)]
pub struct Absences {
    count_max: usize,
    /// Each with its number.
    all: HashMap<RouteKey, (u64, Absence)>,
    /// Numbers and keys, the oldest first; those of absences that have ended since are among
    /// them.
    order: VecDeque<(u64, RouteKey)>,
    /// So many have been.
    last: u64,
    /// Routes of which something else is known than was when this was last taken.
    changed: Vec<RouteKey>,
}

impl Absences {
    /// None yet.
    pub fn new(count_max: usize) -> Self {
        Self {
            count_max,
            all: HashMap::new(),
            order: VecDeque::new(),
            last: 0,
            changed: Vec::new(),
        }
    }

    /// What is known of a route.
    pub fn get(&self, route: &RouteKey) -> Option<&Absence> {
        self.all.get(route).map(|(_, absence)| absence)
    }

    /// Routes of which something else is known than when this was last called.
    pub fn take_changed(&mut self) -> Vec<RouteKey> {
        std::mem::take(&mut self.changed)
    }

    /// Forgets those that have been gone for so long that they must be for good.
    pub fn forget_old(&mut self, now_ms: u64) {
        let most = ABSENCE_TIME.as_millis() as u64;
        while let Some((number, key)) = self.order.front() {
            let is_over = |absence: &Absence| now_ms.saturating_sub(absence.gone_at_ms) >= most;
            match self.all.get(key) {
                Some((own, absence)) if own == number && !is_over(absence) => return,
                _ => self.forget_oldest(),
            }
        }
    }

    fn forget_oldest(&mut self) {
        let Some((number, key)) = self.order.pop_front() else {
            return;
        };
        if self.all.get(&key).is_some_and(|(own, _)| *own == number) {
            self.all.remove(&key);
            self.changed.push(key);
        }
    }

    /// A worker takes no requests any more.
    pub fn gone(&mut self, session: &Session, now_ms: u64) {
        let routes = session.routes.iter().zip(&session.route_ids);
        let routes = routes.zip(&session.options);
        let routes = routes.map(|((route, id), options)| (route, *id, options));
        self.away(&session.name, routes, now_ms);
    }

    /// A worker with these routes should be there, and is not.
    pub fn away<'r>(
        &mut self,
        name: &str,
        routes: impl Iterator<Item = (&'r RouteSpec, RouteId, &'r RouteOptions)>,
        now_ms: u64,
    ) {
        let worker: Arc<str> = name.into();
        for (route, route_id, options) in routes {
            let absence = Absence {
                worker: Arc::clone(&worker),
                route: route.clone(),
                route_id,
                is_sse: options.is_sse,
                gone_at_ms: now_ms,
            };
            self.last += 1;
            let key = route.key();
            self.order.push_back((self.last, key.clone()));
            self.changed.push(key.clone());
            self.all.insert(key, (self.last, absence));
        }
        while self.all.len() > self.count_max {
            self.forget_oldest();
        }
        // Of a route that comes and goes, all but the last are left over.
        if self.order.len() > 2 * self.count_max {
            let all = &self.all;
            self.order
                .retain(|(number, key)| all.get(key).is_some_and(|(own, _)| own == number));
        }
    }

    /// A worker has come. If it is alone, what it registers is all that its name stands for.
    pub fn came(&mut self, session: &Session, is_alone: bool) {
        for route in &session.routes {
            let key = route.key();
            if self.all.remove(&key).is_some() {
                self.changed.push(key);
            }
        }
        if is_alone {
            let name = &*session.name;
            let its = self.all.extract_if(|_, (_, known)| *known.worker == *name);
            self.changed.extend(its.map(|(key, _)| key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::routing::pattern::Pattern;
    use slotway_shm_proto::geometry::Geometry;

    fn session(name: &str, paths: &[&str]) -> Arc<Session> {
        let routes = paths.iter().map(|path| RouteSpec::for_tests(path));
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        Arc::new(Session::for_tests(1, name, routes.collect(), geometry))
    }

    /// The oldest first.
    fn paths(absences: &Absences) -> Vec<&str> {
        let mut all: Vec<_> = absences.all.values().collect();
        all.sort_by_key(|(number, _)| *number);
        let paths = all.into_iter().map(|(_, absence)| &absence.route.path);
        paths.map(Pattern::as_str).collect()
    }

    #[test]
    fn what_a_name_stood_for_is_forgotten_when_it_comes_with_other_routes() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.gone(&session("b", &["/z"]), 6);
        absences.came(&session("a", &["/x"]), true);
        assert_eq!(paths(&absences), ["/z"]);
    }

    #[test]
    fn one_instance_that_comes_back_does_not_stand_for_the_routes_of_another() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.came(&session("a", &["/x"]), false);
        assert_eq!(paths(&absences), ["/y"]);
    }

    #[test]
    fn who_has_been_gone_for_long_is_forgotten() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x"]), 5);
        let most = ABSENCE_TIME.as_millis() as u64;
        let key = RouteSpec::for_tests("/x").key();
        assert_eq!(absences.take_changed(), std::slice::from_ref(&key));
        absences.forget_old(4 + most);
        assert!(absences.get(&key).is_some() && absences.take_changed().is_empty());
        absences.forget_old(5 + most);
        assert!(absences.get(&key).is_none());
        assert_eq!(absences.take_changed(), [key]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_each_route_is_there_once() {
        let mut absences = Absences::new(2);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.gone(&session("a", &["/x"]), 6);
        assert_eq!(paths(&absences), ["/y", "/x"]);
        absences.gone(&session("a", &["/z"]), 7);
        assert_eq!(paths(&absences), ["/x", "/z"]);
    }

    #[test]
    fn routes_that_come_and_go_leave_nothing_behind() {
        let mut absences = Absences::new(3);
        for now_ms in 0..100 {
            absences.gone(&session("a", &["/x"]), now_ms);
            absences.came(&session("a", &["/x"]), true);
            absences.gone(&session("a", &["/{y}"]), now_ms);
            absences.gone(&session("a", &["/{z}"]), now_ms);
        }
        assert_eq!(paths(&absences), ["/{z}"], "of one shape, one");
        assert!(absences.order.len() <= 2 * 3);
    }
}
