//! The route table: an immutable snapshot, rebuilt on every change and swapped
//! in one step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slotway_shm_proto::Method;

use crate::routing::params::Params;
use crate::routing::pattern::{Pattern, Segment};
use crate::routing::registration::Registration;
use crate::routing::registration::RouteSpec;
use crate::routing::session::{Session, SessionState};
use crate::routing::tree::Tree;

/// A worker that answers a route.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its session.
    pub session: Arc<Session>,
    /// The route's index in its registration.
    pub route_index: u32,
    /// Whether the route is an event stream; either all targets of a route are, or none.
    pub is_sse: bool,
}

/// What answers one path pattern.
#[derive(Debug)]
struct PathEntry {
    pattern: Pattern,
    methods: Vec<(Method, Vec<Target>)>,
    allow: String,
}

/// A snapshot of all routes and sessions.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Tells it from all tables before it.
    version: u64,
    paths: Tree,
    entries: Vec<PathEntry>,
    /// Indexes of the entries, by shape.
    shapes: HashMap<Arc<[Segment]>, usize>,
    /// All sessions, those included that some reactor has yet to let go of, and their
    /// states.
    pub sessions: Vec<(Arc<Session>, SessionState)>,
}

/// Why a route cannot stand beside others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteConflict {
    /// Two patterns match the same paths under different names.
    #[error("route {path} conflicts with {with}: its parameters have different names")]
    Names {
        /// The pattern that was to be added.
        path: Pattern,
        /// The pattern that is there.
        with: Pattern,
    },
    /// A route is an event stream for one worker and not for the other.
    #[error("route {path} is an event stream for one worker and an ordinary route for another")]
    Kind {
        /// Its pattern.
        path: Pattern,
    },
}

/// What answers a method on a path, in the table that it was found in.
#[derive(Clone, Copy, Debug)]
pub struct FoundRoute {
    /// Of the table, as far as it tells it from those of the last years.
    version: u32,
    entry_index: u32,
    method_index: u32,
}

/// Why nothing answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'t> {
    /// The path has routes, but none for the method.
    WrongMethod {
        /// Value of the Allow field.
        allow: &'t str,
    },
    /// No pattern matches the path.
    NotFound,
}

impl RouteTable {
    /// Builds the table of these sessions; those that are not live keep their
    /// place in `sessions` but get no routes. Whatever has been let in can be built, in
    /// any order and without any part of it.
    pub fn build(sessions: Vec<(Arc<Session>, SessionState)>) -> Self {
        let mut table = Self {
            sessions,
            ..Self::default()
        };
        for (session, state) in &table.sessions {
            if *state != SessionState::Live {
                continue;
            }
            for (route_index, route) in session.routes.iter().enumerate() {
                let shape = route.path.shape();
                let entry_index = if let Some(index) = table.shapes.get(shape) {
                    *index
                } else {
                    let index = table.entries.len();
                    table.paths.insert(shape, index);
                    table.shapes.insert(Arc::clone(shape), index);
                    table.entries.push(PathEntry::new(route.path.clone()));
                    index
                };
                let target = Target {
                    session: Arc::clone(session),
                    route_index: route_index as u32,
                    is_sse: session.options[route_index].is_sse,
                };
                table.entries[entry_index].add(route.method, target);
            }
        }
        for entry in &mut table.entries {
            entry.allow = allow_value(&entry.methods);
        }
        table
    }

    fn entry_of(&self, shape: &[Segment]) -> Option<&PathEntry> {
        self.shapes.get(shape).map(|index| &self.entries[*index])
    }

    /// Workers for one route.
    pub fn targets_of(&self, route: &RouteSpec) -> &[Target] {
        let entry = self.entry_of(route.path.shape());
        let targets = entry.and_then(|entry| entry.targets(route.method));
        targets.unwrap_or_default()
    }

    /// The methods of a path, as the Allow field has them.
    pub fn allow_of(&self, path: &str) -> Option<&str> {
        let index = self.paths.find(path, &mut Params::default())?;
        Some(&self.entries[index].allow)
    }

    /// What answers `method` on `path` (raw, as sent); its parameters are written to
    /// `params`.
    #[inline]
    pub fn find(
        &self,
        method: Method,
        path: &str,
        params: &mut Params,
    ) -> Result<FoundRoute, NoRoute<'_>> {
        let found = self.paths.find(path, params);
        let entry_index = found.ok_or(NoRoute::NotFound)?;
        let entry = &self.entries[entry_index];
        let of = |method| entry.methods.iter().position(|(known, _)| *known == method);
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

    /// The workers of what was found, at least one; `None` if it was found in another
    /// table.
    #[inline]
    pub fn targets(&self, found: FoundRoute) -> Option<&[Target]> {
        let is_own = found.version == self.version as u32;
        is_own.then(|| {
            &*self.entries[found.entry_index as usize].methods[found.method_index as usize].1
        })
    }
}

impl PathEntry {
    fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            methods: Vec::new(),
            allow: String::new(),
        }
    }

    fn add(&mut self, method: Method, target: Target) {
        match self.methods.iter_mut().find(|(known, _)| *known == method) {
            Some((_, targets)) => targets.push(target),
            None => self.methods.push((method, vec![target])),
        }
    }

    fn targets(&self, method: Method) -> Option<&[Target]> {
        self.methods
            .iter()
            .find(|(known, _)| *known == method)
            .map(|(_, targets)| targets.as_slice())
    }
}

fn allow_value(methods: &[(Method, Vec<Target>)]) -> String {
    let has = |method| methods.iter().any(|(known, _)| *known == method);
    let allowed: Vec<_> = Method::ALL
        .into_iter()
        .filter(|method| has(*method) || (*method == Method::Head && has(Method::Get)))
        .map(Method::as_str)
        .collect();
    allowed.join(", ")
}

/// Whether these routes can be served beside each other and beside the live sessions
/// that this one would not replace.
pub fn check_conflicts(
    table: &RouteTable,
    registration: &Registration,
) -> Result<(), RouteConflict> {
    let Registration {
        name,
        is_instance,
        routes,
        options,
    } = registration;
    let stays = |target: &&Target| *is_instance || target.session.name != *name;
    let mut own = HashMap::new();
    for (route, options) in routes.iter().zip(options) {
        check_names(
            &route.path,
            own.entry(route.path.shape()).or_insert(&route.path),
        )?;
        let Some(entry) = table.entry_of(route.path.shape()) else {
            continue;
        };
        let mut others = entry.methods.iter().flat_map(|(_, targets)| targets);
        if others.any(|target| stays(&target)) {
            check_names(&route.path, &entry.pattern)?;
        }
        let targets = entry.targets(route.method).unwrap_or_default();
        let mut others = targets.iter().filter(stays);
        if others.any(|target| target.is_sse != options.is_sse) {
            let path = route.path.clone();
            return Err(RouteConflict::Kind { path });
        }
    }
    Ok(())
}

/// Of one shape, for which the names of the parameters must be the same.
fn check_names(path: &Pattern, with: &Pattern) -> Result<(), RouteConflict> {
    if path == with {
        return Ok(());
    }
    Err(RouteConflict::Names {
        path: path.clone(),
        with: with.clone(),
    })
}

/// Where the current table is found: a counter that reactors look at for each
/// request, and a lock that they take only when it has moved.
#[derive(Debug, Default)]
pub struct RouteCell {
    version: AtomicU64,
    table: Mutex<Arc<RouteTable>>,
}

impl RouteCell {
    /// Number of the current table.
    #[inline]
    pub fn version(&self) -> u64 {
        // Pairs with the Release in `publish`.
        self.version.load(Ordering::Acquire)
    }

    /// The current table.
    pub fn current(&self) -> Arc<RouteTable> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Swaps the table in.
    pub fn publish(&self, mut table: RouteTable) {
        // Only the control thread publishes.
        table.version = self.version.load(Ordering::Relaxed) + 1;
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::registration::RouteOptions;
    use slotway_shm_proto::layout::Geometry;

    fn session(id: u64, name: &str, routes: &[(Method, &str)]) -> Arc<Session> {
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        let routes = routes
            .iter()
            .map(|(method, path)| RouteSpec {
                method: *method,
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
        table.find(method, path, &mut Params::default())
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
        let table = RouteTable::build(live(vec![a]));
        let (path, mut params) = ("/items/a%2Fb", Params::default());
        let found = table.find(Method::Get, path, &mut params).unwrap();
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
        let table = RouteTable::build(live(vec![a]));
        assert!(lookup(&table, Method::Head, "/x").is_ok());
        let allow = "GET, HEAD, POST";
        assert_eq!(
            lookup(&table, Method::Put, "/x").unwrap_err(),
            NoRoute::WrongMethod { allow }
        );
    }

    #[test]
    fn two_workers_may_share_a_pattern_but_not_under_other_names() {
        let a = session(1, "a", &[(Method::Get, "/x/{id}")]);
        let b = session(2, "b", &[(Method::Get, "/x/{id}")]);
        let table = RouteTable::build(live(vec![Arc::clone(&a), b]));
        let found = lookup(&table, Method::Get, "/x/1").unwrap();
        assert_eq!(table.targets(found).unwrap().len(), 2);

        let registration = |name: &str, is_instance| Registration {
            name: name.to_owned(),
            is_instance,
            options: vec![RouteOptions::default()],
            routes: vec![RouteSpec {
                method: Method::Get,
                path: Pattern::parse("/x/{other}").unwrap(),
            }],
        };
        let conflict = check_conflicts(&table, &registration("c", false)).unwrap_err();
        assert!(conflict.to_string().contains("/x/{id}"), "{conflict}");
        let alone = RouteTable::build(live(vec![a]));
        let outcome = check_conflicts(&alone, &registration("a", false));
        assert_eq!(outcome, Ok(()), "it replaces its own");
        let outcome = check_conflicts(&alone, &registration("a", true));
        assert!(outcome.is_err(), "an instance replaces nobody");
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
            let table = RouteTable::build(live(sessions.clone()));
            for session in &sessions {
                let registration = Registration {
                    name: "new".to_owned(),
                    is_instance: false,
                    routes: session.routes.clone(),
                    options: session.options.clone(),
                };
                assert_eq!(check_conflicts(&table, &registration), Ok(()));
            }
            while let Some(gone) = sessions.pop() {
                let table = RouteTable::build(live(sessions.clone()));
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
            cell.publish(RouteTable::build(live(vec![Arc::clone(&a)])));
            cell.current()
        });
        let found = lookup(&tables[0], Method::Get, "/x").unwrap();
        assert!(tables[0].targets(found).is_some() && tables[1].targets(found).is_none());
    }

    #[test]
    fn an_event_stream_and_an_ordinary_route_do_not_share_a_pattern_and_method() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        let table = RouteTable::build(live(vec![a]));
        let registration = Registration {
            name: "b".to_owned(),
            is_instance: false,
            routes: vec![RouteSpec {
                method: Method::Get,
                path: Pattern::parse("/x").unwrap(),
            }],
            options: vec![RouteOptions {
                is_sse: true,
                ..RouteOptions::default()
            }],
        };
        let conflict = check_conflicts(&table, &registration).unwrap_err();
        assert!(matches!(conflict, RouteConflict::Kind { .. }));
    }

    #[test]
    fn a_session_that_drains_has_no_routes() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        let table = RouteTable::build(vec![(a, SessionState::Draining)]);
        assert_eq!(
            lookup(&table, Method::Get, "/x").unwrap_err(),
            NoRoute::NotFound
        );
        assert_eq!(table.sessions.len(), 1);
    }
}
