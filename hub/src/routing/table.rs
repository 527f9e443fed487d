//! The route table: an immutable snapshot, rebuilt on every change and swapped
//! in one step.

use std::collections::HashMap;
use std::sync::Arc;

use slotway_shm_proto::Method;

use super::absence::Absence;
use super::concurrency::Gate;
pub use super::entry::Target;
use super::entry::{Answer, MethodEntry, PathEntry, allow_value};
use super::found::{FoundRoute, NoRoute};
use super::host;
use super::limit_rules::LimitRules;
use super::limits::{Limits, RouteLimits};
use super::params::Params;
use super::pattern::{Pattern, Segment};
use super::registration::RouteSpec;
use super::session::{Session, SessionState};
use super::tree::Tree;
use crate::metrics::route::RouteId;

/// The patterns for one host, or for those without patterns of their own.
#[derive(Debug, Default)]
struct HostPaths {
    paths: Tree,
    /// Indexes of the entries, by shape.
    shapes: HashMap<Arc<[Segment]>, usize>,
}

/// A snapshot of all routes and sessions.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Tells it from all tables before it.
    pub(super) version: u64,
    any_host: HostPaths,
    /// By name, sorted.
    hosts: Vec<(Arc<str>, HostPaths)>,
    entries: Vec<PathEntry>,
    /// All sessions, those included that some reactor has yet to let go of, and their
    /// states.
    pub sessions: Vec<(Arc<Session>, SessionState)>,
    /// Workers that must be there and have never been.
    pub missing: Vec<String>,
}

impl RouteTable {
    /// Builds the table of these sessions; those that are not live keep their
    /// place in `sessions` but get no routes. Whatever has been let in can be built, in
    /// any order and without any part of it. Routes of workers that have gone are known, and
    /// have none.
    pub fn build<'a>(
        sessions: Vec<(Arc<Session>, SessionState)>,
        absences: impl IntoIterator<Item = &'a Absence>,
        missing: Vec<String>,
        rules: &mut impl LimitRules,
    ) -> Self {
        let mut table = Self {
            missing,
            ..Self::default()
        };
        let mut routes = Vec::new();
        for (session, state) in &sessions {
            if *state != SessionState::Live {
                continue;
            }
            for (route_index, route) in session.routes.iter().enumerate() {
                let target = Target {
                    session: Arc::clone(session),
                    route_index: route_index as u32,
                    is_sse: session.options[route_index].is_sse,
                };
                let route_id = session.route_ids[route_index];
                let targets = &mut table.entry(route, route_id).targets;
                if targets.is_empty() {
                    routes.push(route);
                }
                targets.push(target);
            }
        }
        let absences: Vec<_> = absences.into_iter().collect();
        for absence in &absences {
            let entry = table.entry(&absence.route, absence.route_id);
            if entry.targets.is_empty() {
                entry.absence = Some((*absence).clone());
            }
        }
        for entry in &mut table.entries {
            entry.allow = allow_value(&entry.methods);
        }
        routes.extend(absences.iter().map(|absence| &absence.route));
        table.limit(&routes, rules);
        table.sessions = sessions;
        table
    }

    /// Gives these routes their limits. Of what the workers of a route say, the strictest counts.
    fn limit(&mut self, routes: &[&RouteSpec], rules: &mut impl LimitRules) {
        for route in routes {
            let Some(entry) = self.method_of(route) else {
                continue;
            };
            let of_workers = entry.targets.iter().map(Target::limits);
            let of_workers = of_workers.fold(RouteLimits::default(), RouteLimits::stricter);
            let limits = rules.of_route(route, of_workers);
            let usual = rules.usual().of_route(&limits);
            let gate = limits.concurrency.map(|most| rules.gate(route, most));
            let entry = self.entry(route, entry.route_id);
            (entry.limits, entry.gate) = (usual, gate);
        }
    }

    /// Workers that take requests.
    pub fn live_count(&self) -> usize {
        let states = self.sessions.iter().map(|(_, state)| state);
        states.filter(|state| **state == SessionState::Live).count()
    }

    fn entry(&mut self, route: &RouteSpec, route_id: RouteId) -> &mut MethodEntry {
        let host_paths = match &route.host {
            None => &mut self.any_host,
            Some(host) => {
                let place = self.hosts.binary_search_by(|(known, _)| known.cmp(host));
                let index = place.unwrap_or_else(|index| {
                    let new = (Arc::clone(host), HostPaths::default());
                    self.hosts.insert(index, new);
                    index
                });
                &mut self.hosts[index].1
            }
        };
        let shape = route.path.shape();
        let entry_index = *host_paths
            .shapes
            .entry(Arc::clone(shape))
            .or_insert_with(|| {
                let index = self.entries.len();
                host_paths.paths.insert(shape, index);
                self.entries.push(PathEntry {
                    pattern: route.path.clone(),
                    methods: Vec::new(),
                    allow: String::new(),
                });
                index
            });
        self.entries[entry_index].method(route.method, route_id)
    }

    /// The patterns for a host of its own.
    fn of_host(&self, host: &[u8]) -> Option<&HostPaths> {
        let host = host::name_of(host);
        let place = self
            .hosts
            .binary_search_by(|(known, _)| host::compare(known, host));
        place.ok().map(|index| &self.hosts[index].1)
    }

    fn entry_of(&self, route: &RouteSpec) -> Option<&PathEntry> {
        let host_paths = match &route.host {
            None => &self.any_host,
            Some(host) => self.of_host(host.as_bytes())?,
        };
        let index = host_paths.shapes.get(route.path.shape())?;
        Some(&self.entries[*index])
    }

    fn method_of(&self, route: &RouteSpec) -> Option<&MethodEntry> {
        let methods = &self.entry_of(route)?.methods;
        methods.iter().find(|entry| entry.method == route.method)
    }

    /// The pattern of this route's shape and host, if one of the workers that serve it
    /// `counts`.
    pub fn pattern_of(
        &self,
        route: &RouteSpec,
        counts: impl Fn(&&Target) -> bool,
    ) -> Option<&Pattern> {
        let entry = self.entry_of(route)?;
        let mut targets = entry.methods.iter().flat_map(|entry| &entry.targets);
        targets
            .any(|target| counts(&target))
            .then_some(&entry.pattern)
    }

    /// Workers for one route.
    pub fn targets_of(&self, route: &RouteSpec) -> &[Target] {
        self.method_of(route)
            .map_or(&[], |entry| entry.targets.as_slice())
    }

    /// What is known of a route whose workers have all gone.
    pub fn absence_of(&self, route: &RouteSpec) -> Option<&Absence> {
        self.method_of(route)?.absence.as_ref()
    }

    /// The methods of a path, as the Allow field has them.
    pub fn allow_of(&self, host: Option<&[u8]>, path: &str) -> Option<&str> {
        let index = self.find_entry(|| host, path, &mut Params::default())?;
        Some(&self.entries[index].allow)
    }

    /// Whether a path's route has a worker, for any method and any host; `None` if it has no
    /// route.
    pub fn is_served(&self, path: &str) -> Option<bool> {
        let index = self.find_entry(|| None, path, &mut Params::default())?;
        let methods = &self.entries[index].methods;
        Some(methods.iter().any(|method| !method.targets.is_empty()))
    }

    /// Whether a route is registered for just this path, without parameters.
    pub fn has_literal(&self, host: Option<&[u8]>, path: &str) -> bool {
        let found = self.find_entry(|| host, path, &mut Params::default());
        found.is_some_and(|index| self.entries[index].pattern.as_str() == path)
    }

    #[inline]
    fn find_entry<'h>(
        &self,
        host: impl FnOnce() -> Option<&'h [u8]>,
        path: &str,
        params: &mut Params,
    ) -> Option<usize> {
        if !self.hosts.is_empty()
            && let Some(own) = host().and_then(|host| self.of_host(host))
            && let Some(found) = own.paths.find(path, params)
        {
            return Some(found);
        }
        self.any_host.paths.find(path, params)
    }

    /// What answers `method` on `path` (raw, as sent) of a host (as the Host field has it, looked
    /// for where it matters); its parameters are written to `params`.
    #[inline]
    pub fn find<'h>(
        &self,
        method: Method,
        host: impl FnOnce() -> Option<&'h [u8]>,
        path: &str,
        params: &mut Params,
    ) -> Result<FoundRoute, NoRoute<'_>> {
        let found = self.find_entry(host, path, params);
        let entry_index = found.ok_or(NoRoute::NotFound)?;
        let entry = &self.entries[entry_index];
        let of = |method| entry.methods.iter().position(|e| e.method == method);
        // A worker that answers GET answers HEAD: the hub leaves the body out.
        let of_get = || (method == Method::Head).then(|| of(Method::Get)).flatten();
        let method_index = of(method).or_else(of_get);
        Ok(FoundRoute {
            version: self.version as u32,
            entry_index: entry_index as u32,
            method_index: method_index.ok_or(NoRoute::WrongMethod {
                allow: &entry.allow,
            })? as u32,
        })
    }

    #[inline]
    fn found(&self, found: FoundRoute) -> Option<&MethodEntry> {
        let is_own = found.version == self.version as u32;
        is_own
            .then(|| &self.entries[found.entry_index as usize].methods[found.method_index as usize])
    }

    /// The workers of what was found, none if they have all gone; `None` if it was found in
    /// another table.
    #[inline]
    pub fn targets(&self, found: FoundRoute) -> Option<&[Target]> {
        self.found(found).map(|entry| entry.targets.as_slice())
    }

    /// What answers it.
    #[inline]
    pub fn answer(&self, found: FoundRoute) -> Option<Answer<'_>> {
        self.found(found).map(|entry| Answer {
            targets: entry.targets.as_slice(),
            route_id: entry.route_id,
            limits: entry.limits,
        })
    }

    /// What it may use; `None` if it was not found, or in another table.
    pub fn limits(&self, found: Option<FoundRoute>) -> Option<Limits> {
        self.found(found?).map(|entry| entry.limits)
    }

    /// What a route may use that is there.
    pub fn limits_of(&self, route: &RouteSpec) -> Option<Limits> {
        self.method_of(route).map(|entry| entry.limits)
    }

    /// How many requests workers may have of it at a time, if that is bounded.
    #[inline]
    pub fn gate(&self, found: FoundRoute) -> Option<&Arc<Gate>> {
        self.found(found)?.gate.as_ref()
    }

    /// What is known of a route that was found, whose workers have all gone.
    pub fn absence(&self, found: FoundRoute) -> Option<&Absence> {
        self.found(found)?.absence.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::absence::Absences;
    use crate::routing::cell::RouteCell;
    use crate::routing::conflict::check_conflicts;
    use crate::routing::limit_rules::NoLimits;
    use crate::routing::registration::Registration;
    use slotway_shm_proto::layout::Geometry;

    fn session(id: u64, name: &str, routes: &[(Method, &str)]) -> Arc<Session> {
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        let routes = routes
            .iter()
            .map(|(method, path)| RouteSpec {
                method: *method,
                host: None,
                path: Pattern::parse(path).unwrap(),
            })
            .collect();
        Arc::new(Session::for_tests(id, name, routes, geometry))
    }

    fn lookup<'t>(
        table: &'t RouteTable,
        method: Method,
        path: &str,
    ) -> Result<FoundRoute, NoRoute<'t>> {
        table.find(method, || None, path, &mut Params::default())
    }

    fn live(sessions: Vec<Arc<Session>>) -> Vec<(Arc<Session>, SessionState)> {
        let sessions = sessions.into_iter();
        sessions
            .map(|session| (session, SessionState::Live))
            .collect()
    }

    #[test]
    fn a_path_finds_its_worker_and_its_raw_parameters() {
        let a = session(
            1,
            "a",
            &[
                (Method::Get, "/items/{id}"),
                (Method::Post, "/files/{*rest}"),
            ],
        );
        let table = RouteTable::build(live(vec![a]), [], Vec::new(), &mut NoLimits);
        let (path, mut params) = ("/items/a%2Fb", Params::default());
        let found = table.find(Method::Get, || None, path, &mut params).unwrap();
        assert_eq!(table.targets(found).unwrap()[0].route_index, 0);
        assert_eq!(params.values(path).collect::<Vec<_>>(), ["a%2Fb"]);
        assert!(lookup(&table, Method::Post, "/files/x/y").is_ok());
        assert_eq!(
            lookup(&table, Method::Get, "/items").unwrap_err(),
            NoRoute::NotFound
        );
    }

    #[test]
    fn a_wrong_method_is_told_which_are_allowed_and_head_goes_where_get_goes() {
        let a = session(1, "a", &[(Method::Post, "/x"), (Method::Get, "/x")]);
        let table = RouteTable::build(live(vec![a]), [], Vec::new(), &mut NoLimits);
        assert!(lookup(&table, Method::Head, "/x").is_ok());
        let allow = "GET, HEAD, POST";
        assert_eq!(
            lookup(&table, Method::Put, "/x").unwrap_err(),
            NoRoute::WrongMethod { allow }
        );
    }

    #[test]
    fn whatever_has_been_let_in_is_served_in_any_order_and_when_any_of_it_has_gone() {
        let patterns = [
            "/files/{name}",
            "/files/report-{id}",
            "/files/{name}/meta",
            "/files/{*rest}",
            "/{*all}",
        ];
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut sessions: Vec<_> = (0..5)
                .map(|id| session(id, &id.to_string(), &[(Method::Get, patterns[id as usize])]))
                .collect();
            random.shuffle(&mut sessions);
            let table = RouteTable::build(live(sessions.clone()), [], Vec::new(), &mut NoLimits);
            for session in &sessions {
                let registration = Registration {
                    name: "new".to_owned(),
                    is_instance: false,
                    shares_routes: true,
                    started_ms: None,
                    returns: false,
                    version: None,
                    routes: session.routes.clone(),
                    options: session.options.clone(),
                };
                assert_eq!(check_conflicts(&table, &registration), Ok(()));
            }
            while let Some(gone) = sessions.pop() {
                let table =
                    RouteTable::build(live(sessions.clone()), [], Vec::new(), &mut NoLimits);
                assert!(table.targets_of(&gone.routes[0]).is_empty());
                for session in &sessions {
                    assert_eq!(table.targets_of(&session.routes[0]).len(), 1);
                }
            }
        }
    }

    #[test]
    fn what_was_found_in_another_table_is_nothing() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        let cell = RouteCell::default();
        let tables = [(); 2].map(|()| {
            cell.publish(RouteTable::build(
                live(vec![Arc::clone(&a)]),
                [],
                Vec::new(),
                &mut NoLimits,
            ));
            cell.current()
        });
        let found = lookup(&tables[0], Method::Get, "/x").unwrap();
        assert!(tables[0].targets(found).is_some() && tables[1].targets(found).is_none());
    }

    #[test]
    fn a_session_that_drains_has_no_routes() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        let table = RouteTable::build(
            vec![(a, SessionState::Draining)],
            [],
            Vec::new(),
            &mut NoLimits,
        );
        assert_eq!(
            lookup(&table, Method::Get, "/x").unwrap_err(),
            NoRoute::NotFound
        );
        assert_eq!(table.sessions.len(), 1);
    }
    #[test]
    fn a_route_whose_worker_has_gone_is_known_until_another_serves_it() {
        let a = session(1, "a", &[(Method::Get, "/x"), (Method::Post, "/x")]);
        let mut absences = Absences::new(9);
        absences.gone(&a, 5);
        let table = RouteTable::build(Vec::new(), absences.recent(6), Vec::new(), &mut NoLimits);
        let found = lookup(&table, Method::Get, "/x").unwrap();
        assert!(table.targets(found).unwrap().is_empty());
        assert_eq!(table.absence(found).unwrap().gone_at_ms, 5);
        assert!(table.absence_of(&a.routes[1]).is_some());
        let b = session(2, "b", &[(Method::Get, "/x")]);
        let table = RouteTable::build(live(vec![b]), absences.recent(6), Vec::new(), &mut NoLimits);
        let found = lookup(&table, Method::Get, "/x").unwrap();
        assert!(table.absence(found).is_none() && table.targets(found).unwrap().len() == 1);
        assert_eq!(table.allow_of(None, "/x"), Some("GET, HEAD, POST"));
    }

    #[test]
    fn a_host_s_own_routes_come_first_and_those_of_every_host_after_them() {
        let general = session(
            1,
            "general",
            &[(Method::Get, "/x"), (Method::Get, "/{*all}")],
        );
        let mut own = session(2, "own", &[(Method::Get, "/x")]);
        Arc::get_mut(&mut own).unwrap().routes[0].host = Some("shop.example".into());
        let table = RouteTable::build(live(vec![general, own]), [], Vec::new(), &mut NoLimits);
        let worker = |host: &str, path: &str| {
            let params = &mut Params::default();
            let found = table.find(Method::Get, || Some(host.as_bytes()), path, params);
            table.targets(found.unwrap()).unwrap()[0]
                .session
                .name
                .clone()
        };
        for host in ["shop.example", "Shop.Example:8080", "shop.example."] {
            assert_eq!(worker(host, "/x"), "own", "{host}");
            assert_eq!(worker(host, "/y"), "general", "{host}");
        }
        for host in ["", "x.shop.example", "shop.exampl", "[::1]:80"] {
            assert_eq!(worker(host, "/x"), "general", "{host}");
        }
    }
}
