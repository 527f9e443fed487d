//! Where the next route table comes from: it is the last one, changed in place of what has
//! changed. What a worker that comes or goes costs depends on its own routes, and not on
//! those of all others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::absence::Absence;
use super::entry::{MethodEntry, PathEntry, Target, allow_value};
use super::limit_rules::LimitRules;
use super::limits::RouteLimits;
use super::registration::{RouteKey, RouteSpec};
use super::session::Session;
use super::table::RouteTable;
use super::tree::Tree;

/// Keeps the table of which the next one is a clone. Whatever has been let in can be in it,
/// in any order and without any part of it. Routes of workers that have gone are known, and
/// have none.
#[derive(Debug, Default)]
pub struct TableEditor {
    table: RouteTable,
    /// Whose routes are in the table, by their ids.
    served: HashMap<u64, Arc<Session>>,
    /// What has changed, and has to be settled.
    touched: HashSet<RouteKey>,
}

impl TableEditor {
    /// From the next table on these sessions serve their routes, and no others.
    pub fn serve<'s>(&mut self, live: impl Iterator<Item = &'s Arc<Session>> + Clone) {
        let ids: HashSet<u64> = live.clone().map(|session| session.id).collect();
        let gone = self.served.extract_if(|id, _| !ids.contains(id));
        for (_, session) in gone.collect::<Vec<_>>() {
            self.take_out(&session);
        }
        for session in live {
            if self
                .served
                .insert(session.id, Arc::clone(session))
                .is_none()
            {
                self.put_in(session);
            }
        }
    }

    /// What is known of a route without workers.
    pub fn set_absence(&mut self, route: RouteKey, absence: Option<&Absence>) {
        if let Some(absence) = absence {
            let entry = self.entry(&absence.route);
            entry.method(route.method, absence.route_id).gone = Some(absence.clone());
        } else if let Some(entry) = self.entry_of(&route) {
            let methods = entry.methods.iter_mut();
            for method in methods.filter(|entry| entry.method == route.method) {
                method.gone = None;
            }
        }
        self.touched.insert(route);
    }

    /// The rules may give any route other limits.
    pub fn touch_all(&mut self) {
        let methods = self.table.entries.iter().flat_map(|entry| &entry.methods);
        let routes = methods.filter_map(|method| method.route());
        self.touched.extend(routes.map(|(route, _)| route.key()));
    }

    /// The next table, without its sessions.
    pub fn table(&mut self, rules: &mut impl LimitRules) -> RouteTable {
        for route in std::mem::take(&mut self.touched) {
            self.settle(&route, rules);
        }
        self.table.clone()
    }

    fn put_in(&mut self, session: &Arc<Session>) {
        for (route_index, route) in session.routes.iter().enumerate() {
            let target = Target {
                session: Arc::clone(session),
                route_index: route_index as u32,
                is_sse: session.options[route_index].is_sse,
            };
            let method = self.entry(route).method(route.method, target.route_id());
            method.targets.push(target);
            self.touched.insert(route.key());
        }
    }

    fn take_out(&mut self, session: &Session) {
        for route in &session.routes {
            let key = route.key();
            if let Some(entry) = self.entry_of(&key) {
                for method in &mut entry.methods {
                    method
                        .targets
                        .retain(|target| target.session.id != session.id);
                }
            }
            self.touched.insert(key);
        }
    }

    /// The patterns for a host, which has some from now on.
    fn patterns(&mut self, host: Option<&Arc<str>>) -> &mut Tree {
        let Some(host) = host else {
            return &mut self.table.any_host;
        };
        let hosts = &mut self.table.hosts;
        let place = hosts.binary_search_by(|(known, _)| known.cmp(host));
        let index = place.unwrap_or_else(|index| {
            hosts.insert(index, (Arc::clone(host), Tree::default()));
            index
        });
        &mut hosts[index].1
    }

    fn index_of(&self, route: &RouteKey) -> Option<usize> {
        self.table.index_of(route.host.as_deref(), &route.shape)
    }

    fn entry_of(&mut self, route: &RouteKey) -> Option<&mut PathEntry> {
        let index = self.index_of(route)?;
        Some(self.table.entries.get_mut(index))
    }

    fn entry(&mut self, route: &RouteSpec) -> &mut PathEntry {
        let key = route.key();
        let index = self.index_of(&key).unwrap_or_else(|| {
            let index = self.table.entries.add(PathEntry::new(route.path.clone()));
            self.patterns(key.host.as_ref()).insert(&key.shape, index);
            index
        });
        self.table.entries.get_mut(index)
    }

    /// Makes what follows from a route's workers, or from there being none.
    fn settle(&mut self, route: &RouteKey, rules: &mut impl LimitRules) {
        let Some(index) = self.index_of(route) else {
            return;
        };
        let entry = self.table.entries.get_mut(index);
        entry.methods.retain(|method| !method.is_void());
        let is_served = |method: &&MethodEntry| !method.targets.is_empty();
        let served = entry.methods.iter().find(is_served);
        let first = served.or(entry.methods.first());
        let Some((RouteSpec { path, .. }, _)) = first.and_then(MethodEntry::route) else {
            return self.remove(route, index);
        };
        // Who named the parameters first may have gone: those that serve the route count.
        entry.pattern = path.clone();
        entry.allow = allow_value(&entry.methods);
        let methods = entry.methods.iter_mut();
        for method in methods.filter(|entry| entry.method == route.method) {
            let Some((spec, route_id)) = method.route() else {
                continue;
            };
            // Of what the workers of a route say, the strictest counts.
            let of_workers = method.targets.iter().map(Target::limits);
            let of_workers = of_workers.fold(RouteLimits::default(), RouteLimits::stricter);
            let limits = rules.of_route(spec, of_workers);
            let gate = limits.concurrency.map(|most| rules.gate(spec, most));
            method.limits = rules.usual().of_route(&limits);
            method.gate = gate;
            method.route_id = route_id;
        }
    }

    fn remove(&mut self, route: &RouteKey, index: usize) {
        self.table.entries.remove(index);
        let patterns = self.patterns(route.host.as_ref());
        patterns.remove(&route.shape);
        if patterns.is_empty()
            && let Some(host) = &route.host
        {
            let hosts = &mut self.table.hosts;
            if let Ok(place) = hosts.binary_search_by(|(known, _)| known.cmp(host)) {
                hosts.remove(place);
            }
        }
    }
}

/// The table of these sessions, and of what is known of others.
#[cfg(test)]
pub fn table_of(
    sessions: Vec<(Arc<Session>, super::session::SessionState)>,
    absences: &mut super::absence::Absences,
) -> RouteTable {
    use super::session::SessionState;

    let mut editor = TableEditor::default();
    let live = sessions
        .iter()
        .filter(|(_, state)| *state == SessionState::Live);
    editor.serve(live.map(|(session, _)| session));
    for route in absences.take_changed() {
        let absence = absences.get(&route).cloned();
        editor.set_absence(route, absence.as_ref());
    }
    let mut table = editor.table(&mut super::limit_rules::NoLimits);
    table.sessions = sessions;
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::absence::Absences;
    use crate::routing::cell::RouteCell;
    use crate::routing::conflict::check_conflicts;
    use crate::routing::found::{FoundRoute, NoRoute};
    use crate::routing::limit_rules::NoLimits;
    use crate::routing::params::Params;
    use crate::routing::pattern::Pattern;
    use crate::routing::registration::Registration;
    use crate::routing::session::SessionState;
    use slotway_shm_proto::Method;
    use slotway_shm_proto::geometry::Geometry;

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
        let table = table_of(live(vec![a]), &mut Absences::new(9));
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
        let table = table_of(live(vec![a]), &mut Absences::new(9));
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
            let table = table_of(live(sessions.clone()), &mut Absences::new(9));
            for session in &sessions {
                let registration = Registration {
                    name: "new".to_owned(),
                    is_instance: false,
                    shares_routes: true,
                    started_ms: None,
                    upgrades: false,
                    returns: false,
                    version: None,
                    routes: session.routes.clone(),
                    options: session.options.clone(),
                };
                assert_eq!(check_conflicts(&table, &registration), Ok(()));
            }
            while let Some(gone) = sessions.pop() {
                let table = table_of(live(sessions.clone()), &mut Absences::new(9));
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
            let sessions = live(vec![Arc::clone(&a)]);
            cell.publish(table_of(sessions, &mut Absences::new(9)));
            cell.current()
        });
        let found = lookup(&tables[0], Method::Get, "/x").unwrap();
        assert!(tables[0].targets(found).is_some() && tables[1].targets(found).is_none());
    }

    #[test]
    fn a_session_that_drains_has_no_routes() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        let sessions = vec![(a, SessionState::Draining)];
        let table = table_of(sessions, &mut Absences::new(9));
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
        let table = table_of(Vec::new(), &mut absences);
        let found = lookup(&table, Method::Get, "/x").unwrap();
        assert!(table.targets(found).unwrap().is_empty());
        assert_eq!(table.absence(found).unwrap().gone_at_ms, 5);
        assert!(table.absence_of(&a.routes[1]).is_some());
        let b = session(2, "b", &[(Method::Get, "/x")]);
        absences.gone(&a, 5);
        let table = table_of(live(vec![b]), &mut absences);
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
        let table = table_of(live(vec![general, own]), &mut Absences::new(9));
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

    /// What can be asked of a table, for every route.
    fn described(table: &RouteTable, routes: &[RouteSpec]) -> String {
        let mut lines = Vec::new();
        for route in routes {
            let workers = table.targets_of(route).iter();
            let mut workers: Vec<_> = workers.map(|target| target.session.id).collect();
            workers.sort_unstable();
            let absence = table.absence_of(route).map(|absence| &*absence.worker);
            let host = route.host.as_deref().map(str::as_bytes);
            let path = route.path.as_str();
            let allow = table.allow_of(host, path);
            let params = &mut Params::default();
            let found = table.find(route.method, || host, path, params).ok();
            let found = found.and_then(|found| table.answer(found));
            let found = found.map(|answer| answer.targets.len());
            lines.push(format!(
                "{route}: {workers:?} {absence:?} {allow:?} {found:?}"
            ));
        }
        lines.join("\n")
    }

    #[test]
    fn a_table_that_was_changed_is_the_one_that_would_be_made_anew() {
        let mut random = fastrand::Rng::with_seed(11);
        let paths = ["/a", "/a/{x}", "/a/{*x}", "/b-{x}", "/{x}/c", "/{*x}"];
        let mut all = Vec::new();
        for path in paths {
            for method in [Method::Get, Method::Post] {
                for host in [None, Some("a.example"), Some("b.example")] {
                    all.push(RouteSpec {
                        method,
                        host: host.map(Into::into),
                        path: Pattern::parse(path).unwrap(),
                    });
                }
            }
        }
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        let (mut editor, mut absences) = (TableEditor::default(), Absences::new(9));
        let mut live: Vec<Arc<Session>> = Vec::new();
        let mut older = None;
        for id in 0..400 {
            if live.len() > 6 || (!live.is_empty() && random.bool()) {
                let gone = live.swap_remove(random.usize(..live.len()));
                absences.gone(&gone, id);
            } else {
                random.shuffle(&mut all);
                let routes = all[..random.usize(1..5)].to_vec();
                let new = Arc::new(Session::for_tests(
                    id,
                    &format!("w{}", id % 5),
                    routes,
                    geometry,
                ));
                absences.came(&new, random.bool());
                live.push(new);
            }
            editor.serve(live.iter());
            for route in absences.take_changed() {
                editor.set_absence(route.clone(), absences.get(&route));
            }
            let edited = editor.table(&mut NoLimits);
            let mut fresh = TableEditor::default();
            fresh.serve(live.iter());
            for route in &all {
                if let Some(absence) = absences.get(&route.key()) {
                    fresh.set_absence(route.key(), Some(absence));
                }
            }
            let fresh = fresh.table(&mut NoLimits);
            assert_eq!(described(&edited, &all), described(&fresh, &all));
            assert_eq!(edited.hosts.len(), fresh.hosts.len());
            assert_eq!(edited.entries.iter().count(), fresh.entries.iter().count());
            // The one before has stayed as it was.
            let now = (described(&edited, &all), all.clone());
            let before = older.replace((edited, now));
            if let Some((table, (was, routes))) = before {
                assert_eq!(described(&table, &routes), was);
            }
        }
    }

    #[test]
    fn parameters_are_called_what_those_call_them_that_serve_the_route() {
        let a = session(1, "a", &[(Method::Get, "/x/{id}")]);
        let b = session(2, "b", &[(Method::Post, "/x/{key}")]);
        let mut absences = Absences::new(9);
        absences.gone(&a, 5);
        let mut editor = TableEditor::default();
        for served in [vec![], vec![Arc::clone(&b)]] {
            editor.serve(served.iter());
            for route in absences.take_changed() {
                editor.set_absence(route.clone(), absences.get(&route));
            }
            editor.table(&mut NoLimits);
        }
        let table = editor.table(&mut NoLimits);
        let pattern = table.pattern_of(&b.routes[0], |_| true);
        assert_eq!(pattern.map(Pattern::as_str), Some("/x/{key}"));
    }
}
