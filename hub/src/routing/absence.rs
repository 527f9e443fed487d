//! Routes whose workers have gone: they were there, so a request for one is no 404.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::registration::{RouteOptions, RouteSpec};
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
    all: VecDeque<Absence>,
}

impl Absences {
    /// None yet.
    pub fn new(count_max: usize) -> Self {
        Self {
            count_max,
            all: VecDeque::new(),
        }
    }

    /// All that have not been gone for so long that they must be for good.
    pub fn recent(&mut self, now_ms: u64) -> impl Iterator<Item = &Absence> {
        let most = ABSENCE_TIME.as_millis() as u64;
        self.all
            .retain(|absence| now_ms.saturating_sub(absence.gone_at_ms) < most);
        self.all.iter()
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
        routes: impl Iterator<Item = (&'r RouteSpec, RouteId, &'r RouteOptions)> + Clone,
        now_ms: u64,
    ) {
        let worker: Arc<str> = name.into();
        let own: HashSet<&RouteSpec> = routes.clone().map(|(route, ..)| route).collect();
        self.all.retain(|absence| !own.contains(&absence.route));
        for (route, route_id, options) in routes {
            self.all.push_back(Absence {
                worker: Arc::clone(&worker),
                route: route.clone(),
                route_id,
                is_sse: options.is_sse,
                gone_at_ms: now_ms,
            });
        }
        let excess = self.all.len().saturating_sub(self.count_max);
        self.all.drain(..excess);
    }

    /// A worker has come. If it is alone, what it registers is all that its name stands for.
    pub fn came(&mut self, session: &Session, is_alone: bool) {
        let own: HashSet<&RouteSpec> = session.routes.iter().collect();
        self.all.retain(|absence| {
            let is_its = is_alone && *absence.worker == *session.name;
            !is_its && !own.contains(&absence.route)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use slotway_shm_proto::layout::Geometry;

    fn session(name: &str, paths: &[&str]) -> Arc<Session> {
        let routes = paths.iter().map(|path| RouteSpec::for_tests(path));
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        Arc::new(Session::for_tests(1, name, routes.collect(), geometry))
    }

    fn paths(absences: &mut Absences) -> Vec<&str> {
        let all = absences.recent(9);
        all.map(|absence| absence.route.path.as_str()).collect()
    }

    #[test]
    fn what_a_name_stood_for_is_forgotten_when_it_comes_with_other_routes() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.gone(&session("b", &["/z"]), 6);
        absences.came(&session("a", &["/x"]), true);
        assert_eq!(paths(&mut absences), ["/z"]);
    }

    #[test]
    fn one_instance_that_comes_back_does_not_stand_for_the_routes_of_another() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.came(&session("a", &["/x"]), false);
        assert_eq!(paths(&mut absences), ["/y"]);
    }

    #[test]
    fn who_has_been_gone_for_long_is_forgotten() {
        let mut absences = Absences::new(9);
        absences.gone(&session("a", &["/x"]), 5);
        let most = ABSENCE_TIME.as_millis() as u64;
        assert_eq!(absences.recent(4 + most).count(), 1);
        assert_eq!(absences.recent(5 + most).count(), 0);
    }

    #[test]
    fn the_oldest_are_forgotten_and_each_route_is_there_once() {
        let mut absences = Absences::new(2);
        absences.gone(&session("a", &["/x", "/y"]), 5);
        absences.gone(&session("a", &["/x"]), 6);
        assert_eq!(paths(&mut absences), ["/y", "/x"]);
        absences.gone(&session("a", &["/z"]), 7);
        assert_eq!(paths(&mut absences), ["/x", "/z"]);
    }
}
