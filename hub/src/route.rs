//! The route table: an immutable snapshot, rebuilt on every change and swapped
//! in one step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slotway_shm_proto::Method;

use crate::control::Registration;
use crate::session::{RouteSpec, Session, SessionState};

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
#[derive(Debug, Default)]
struct PathEntry {
    methods: Vec<(Method, Vec<Target>)>,
    allow: String,
}

/// A snapshot of all routes and sessions.
#[derive(Debug, Default)]
pub struct RouteTable {
    paths: matchit::Router<usize>,
    entries: Vec<PathEntry>,
    /// Indexes of the entries, by pattern.
    patterns: HashMap<String, usize>,
    /// All sessions, those included that some reactor has yet to let go of.
    pub sessions: Vec<Arc<Session>>,
    /// What state each of them had when the table was built. Reactors go by this: a
    /// session's own state changes a moment before the table does, and for that moment
    /// its routes still lead to it.
    pub states: Vec<SessionState>,
}

/// Two workers' patterns match the same paths under different names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {path} conflicts with {with}, which another route has")]
pub struct RouteConflict {
    /// The pattern that could not be added.
    pub path: String,
    /// The pattern that was there.
    pub with: String,
}

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup<'t, 'p> {
    /// Workers for the path and method.
    Found {
        /// At least one.
        targets: &'t [Target],
        /// Raw parameters, in the pattern's order.
        params: matchit::Params<'t, 'p>,
    },
    /// The path has routes, but none for the method.
    WrongMethod {
        /// Value of the Allow field.
        allow: &'t str,
    },
    /// No route.
    NotFound,
}

impl RouteTable {
    /// Builds the table of these sessions; those that are not live keep their
    /// place in `sessions` but get no routes.
    pub fn build(sessions: Vec<Arc<Session>>) -> Result<Self, RouteConflict> {
        let mut table = Self {
            states: sessions.iter().map(|session| session.state()).collect(),
            sessions,
            ..Self::default()
        };
        for (session, state) in table.sessions.iter().zip(&table.states) {
            if *state != SessionState::Live {
                continue;
            }
            for (route_index, route) in session.routes.iter().enumerate() {
                let entry_index = if let Some(index) = table.patterns.get(&route.path) {
                    *index
                } else {
                    let index = table.entries.len();
                    insert(&mut table.paths, &route.path, index)?;
                    table.patterns.insert(route.path.clone(), index);
                    table.entries.push(PathEntry::default());
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
        Ok(table)
    }

    /// Workers for one route.
    pub fn targets_of(&self, route: &RouteSpec) -> &[Target] {
        let entry = self.patterns.get(&route.path);
        let targets = entry.and_then(|index| self.entries[*index].targets(route.method));
        targets.unwrap_or_default()
    }

    /// The methods of a path, as the Allow field has them.
    pub fn allow_of(&self, path: &str) -> Option<&str> {
        let found = self.paths.at(path).ok()?;
        Some(&self.entries[*found.value].allow)
    }

    /// Who answers `method` on `path` (raw, as sent).
    #[inline]
    pub fn lookup<'t, 'p>(&'t self, method: Method, path: &'p str) -> Lookup<'t, 'p> {
        let Ok(found) = self.paths.at(path) else {
            return Lookup::NotFound;
        };
        let entry = &self.entries[*found.value];
        // A worker that answers GET answers HEAD: the hub leaves the body out.
        let targets = entry.targets(method).or_else(|| {
            (method == Method::Head)
                .then(|| entry.targets(Method::Get))
                .flatten()
        });
        match targets {
            Some(targets) => Lookup::Found {
                targets,
                params: found.params,
            },
            None => Lookup::WrongMethod {
                allow: &entry.allow,
            },
        }
    }
}

impl PathEntry {
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

fn insert(
    paths: &mut matchit::Router<usize>,
    path: &str,
    index: usize,
) -> Result<(), RouteConflict> {
    paths.insert(path, index).map_err(|error| RouteConflict {
        path: path.to_owned(),
        with: match error {
            matchit::InsertError::Conflict { with } => with,
            other => other.to_string(),
        },
    })
}

/// Whether a pattern can stand in a table by itself, and if not, why.
pub fn check_pattern(path: &str) -> Result<(), String> {
    let mut alone = matchit::Router::new();
    alone.insert(path, ()).map_err(|error| error.to_string())
}

/// Whether these routes can be served beside the live sessions that this one would
/// not replace.
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
    let mut paths = matchit::Router::new();
    let mut seen = std::collections::HashSet::new();
    let others = table
        .sessions
        .iter()
        .filter(|session| session.state() == SessionState::Live)
        .filter(|session| *is_instance || session.name != *name)
        .flat_map(|session| session.routes.iter().zip(&session.options));
    let mut kinds = HashMap::new();
    for (route, options) in others.chain(routes.iter().zip(options)) {
        if seen.insert(route.path.as_str()) {
            insert(&mut paths, &route.path, 0)?;
        }
        if *kinds.entry(route).or_insert(options.is_sse) != options.is_sse {
            let with = if options.is_sse { "" } else { "event stream " };
            return Err(RouteConflict {
                path: route.path.clone(),
                with: format!("{with}{}", route.path),
            });
        }
    }
    Ok(())
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
    pub fn publish(&self, table: RouteTable) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Life, RouteOptions};
    use slotway_shm_proto::layout::Geometry;
    use slotway_shm_proto::region::HubRegions;

    fn session(id: u64, name: &str, routes: &[(Method, &str)]) -> Arc<Session> {
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        let routes: Vec<_> = routes
            .iter()
            .map(|(method, path)| RouteSpec {
                method: *method,
                path: (*path).to_owned(),
            })
            .collect();
        Arc::new(Session {
            id,
            index: id as usize,
            worker_id: id.to_string(),
            name: name.to_owned(),
            options: vec![RouteOptions::default(); routes.len()],
            routes,
            geometry,
            regions: HubRegions::create("slotway-test", &geometry).unwrap(),
            eventfds: Vec::new(),
            thread_count: 1,
            alive_at_ms: 0.into(),
            life: Life::new(1),
        })
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
        let table = RouteTable::build(vec![a]).unwrap();
        let Lookup::Found { targets, params } = table.lookup(Method::Get, "/items/a%2Fb") else {
            panic!("not found")
        };
        assert_eq!(
            (targets[0].route_index, params.get("id")),
            (0, Some("a%2Fb"))
        );
        assert!(matches!(
            table.lookup(Method::Post, "/files/x/y"),
            Lookup::Found { .. }
        ));
        assert!(matches!(
            table.lookup(Method::Get, "/items"),
            Lookup::NotFound
        ));
    }

    #[test]
    fn a_wrong_method_is_told_which_are_allowed_and_head_goes_where_get_goes() {
        let a = session(1, "a", &[(Method::Post, "/x"), (Method::Get, "/x")]);
        let table = RouteTable::build(vec![a]).unwrap();
        assert!(matches!(
            table.lookup(Method::Head, "/x"),
            Lookup::Found { .. }
        ));
        let Lookup::WrongMethod { allow } = table.lookup(Method::Put, "/x") else {
            panic!()
        };
        assert_eq!(allow, "GET, HEAD, POST");
    }

    #[test]
    fn two_workers_may_share_a_pattern_but_not_under_other_names() {
        let a = session(1, "a", &[(Method::Get, "/x/{id}")]);
        let b = session(2, "b", &[(Method::Get, "/x/{id}")]);
        let table = RouteTable::build(vec![Arc::clone(&a), b]).unwrap();
        let Lookup::Found { targets, .. } = table.lookup(Method::Get, "/x/1") else {
            panic!()
        };
        assert_eq!(targets.len(), 2);

        let registration = |name: &str, is_instance| Registration {
            name: name.to_owned(),
            is_instance,
            options: vec![RouteOptions::default()],
            routes: vec![RouteSpec {
                method: Method::Get,
                path: "/x/{other}".to_owned(),
            }],
        };
        let conflict = check_conflicts(&table, &registration("c", false)).unwrap_err();
        assert_eq!(conflict.with, "/x/{id}");
        let alone = RouteTable::build(vec![a]).unwrap();
        let outcome = check_conflicts(&alone, &registration("a", false));
        assert_eq!(outcome, Ok(()), "it replaces its own");
        let outcome = check_conflicts(&alone, &registration("a", true));
        assert!(outcome.is_err(), "an instance replaces nobody");
    }

    #[test]
    fn a_session_that_drains_has_no_routes() {
        let a = session(1, "a", &[(Method::Get, "/x")]);
        a.set_state(SessionState::Draining);
        let table = RouteTable::build(vec![a]).unwrap();
        assert!(matches!(table.lookup(Method::Get, "/x"), Lookup::NotFound));
        assert_eq!(table.sessions.len(), 1);
        assert_eq!(table.states, [SessionState::Draining]);
    }
}
