//! Whether a worker's routes can stand beside those of the workers that are there.

use std::collections::HashMap;

use super::pattern::Pattern;
use super::registration::{Registration, RouteSpec};
use super::table::{RouteTable, Target};

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
    /// A worker of another name serves the route, and does not share it.
    #[error(
        "{route} is served by the worker {worker:?}: give this one other paths (a prefix, a host), \
         or let both say that they share their routes (share_routes); replicas of one service have the same name and \
         are instances (instance)"
    )]
    Taken {
        /// The route.
        route: RouteSpec,
        /// Who serves it.
        worker: String,
    },
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
        shares_routes,
        routes,
        options,
        ..
    } = registration;
    let stays = |target: &&Target| *is_instance || target.session.name != *name;
    let mut own = HashMap::new();
    for (route, options) in routes.iter().zip(options) {
        check_names(
            &route.path,
            own.entry((&route.host, route.path.shape()))
                .or_insert(&route.path),
        )?;
        if let Some(pattern) = table.pattern_of(route, stays) {
            check_names(&route.path, pattern)?;
        }
        let others = || table.targets_of(route).iter().filter(stays);
        if others().any(|target| target.is_sse != options.is_sse) {
            let path = route.path.clone();
            return Err(RouteConflict::Kind { path });
        }
        let is_taken = |other: &&Target| {
            other.session.name != *name && !(*shares_routes && other.session.shares_routes)
        };
        if let Some(other) = others().find(is_taken) {
            return Err(RouteConflict::Taken {
                route: route.clone(),
                worker: other.session.name.clone(),
            });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::absence::Absences;
    use crate::routing::editor::table_of;
    use crate::routing::registration::RouteOptions;
    use crate::routing::session::{Session, SessionState};

    use slotway_shm_proto::geometry::Geometry;
    use std::sync::Arc;

    fn session(id: u64, name: &str, path: &str, shares_routes: bool) -> Arc<Session> {
        let geometry = Geometry::new(1, 1, 65_536).unwrap();
        let mut session = Session::for_tests(id, name, vec![RouteSpec::for_tests(path)], geometry);
        session.shares_routes = shares_routes;
        Arc::new(session)
    }

    fn table(sessions: Vec<Arc<Session>>) -> RouteTable {
        let live = sessions
            .into_iter()
            .map(|session| (session, SessionState::Live));
        table_of(live.collect(), &mut Absences::new(0))
    }

    fn registration(name: &str, is_instance: bool, path: &str) -> Registration {
        Registration {
            name: name.to_owned(),
            is_instance,
            shares_routes: true,
            started_ms: None,
            upgrades: false,
            returns: false,
            version: None,
            options: vec![RouteOptions::default()],
            routes: vec![RouteSpec::for_tests(path)],
        }
    }

    #[test]
    fn two_workers_may_share_a_pattern_but_not_under_other_names() {
        let a = session(1, "a", "/x/{id}", true);
        let b = session(2, "b", "/x/{id}", true);
        let both = table(vec![Arc::clone(&a), b]);
        let conflict = check_conflicts(&both, &registration("c", false, "/x/{other}")).unwrap_err();
        assert!(conflict.to_string().contains("/x/{id}"), "{conflict}");
        let alone = table(vec![a]);
        let outcome = check_conflicts(&alone, &registration("a", false, "/x/{other}"));
        assert_eq!(outcome, Ok(()), "it replaces its own");
        let outcome = check_conflicts(&alone, &registration("a", true, "/x/{other}"));
        assert!(outcome.is_err(), "an instance replaces nobody");
    }

    #[test]
    fn a_route_of_another_worker_is_taken_unless_both_share_it() {
        for (theirs, ours) in [(false, false), (true, false), (false, true), (true, true)] {
            let there = table(vec![session(1, "a", "/{*all}", theirs)]);
            let mut new = registration("b", false, "/{*all}");
            new.shares_routes = ours;
            let outcome = check_conflicts(&there, &new);
            if theirs && ours {
                assert_eq!(outcome, Ok(()));
            } else {
                let why = outcome.unwrap_err().to_string();
                assert!(
                    why.contains("GET /{*all}") && why.contains("\"a\""),
                    "{why}"
                );
            }
            // Of the same name it is a replica, and another host is another service.
            new.name = "a".to_owned();
            new.is_instance = true;
            assert_eq!(check_conflicts(&there, &new), Ok(()));
            new.name = "b".to_owned();
            new.routes[0].host = Some("b.example".into());
            assert_eq!(check_conflicts(&there, &new), Ok(()));
        }
    }

    #[test]
    fn an_event_stream_and_an_ordinary_route_do_not_share_a_pattern_and_method() {
        let there = table(vec![session(1, "a", "/x", true)]);
        let mut new = registration("b", false, "/x");
        new.options[0].is_sse = true;
        let conflict = check_conflicts(&there, &new).unwrap_err();
        assert!(matches!(conflict, RouteConflict::Kind { .. }));
    }
}
