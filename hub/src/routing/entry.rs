//! What answers one path pattern, in a table.

use std::sync::Arc;

use slotway_shm_proto::Method;

use super::absence::Absence;
use super::concurrency::Gate;
use super::limits::{Limits, RouteLimits};
use super::pattern::Pattern;
use super::registration::RouteSpec;
use super::session::Session;
use crate::metrics::route::RouteId;

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

/// What answers a request.
#[derive(Debug)]
pub struct Answer<'t> {
    /// Workers; none if they have all gone.
    pub targets: &'t [Target],
    /// Where it is counted.
    pub route_id: RouteId,
    /// What it may use.
    pub limits: Limits,
}

impl Target {
    /// The route.
    pub fn route(&self) -> &RouteSpec {
        &self.session.routes[self.route_index as usize]
    }

    /// Where its requests are counted.
    pub fn route_id(&self) -> RouteId {
        self.session.route_ids[self.route_index as usize]
    }

    /// Whether its handler reads the body of a request as it comes.
    pub fn reads_body(&self) -> bool {
        self.session.options[self.route_index as usize].reads_body
    }

    /// What the worker says that the route may use.
    pub fn limits(&self) -> RouteLimits {
        self.session.options[self.route_index as usize].limits
    }
}

/// What answers one path pattern.
#[derive(Clone, Debug)]
pub(super) struct PathEntry {
    pub pattern: Pattern,
    pub methods: Vec<MethodEntry>,
    pub allow: String,
}

/// What answers one method on it.
#[derive(Clone, Debug)]
pub(super) struct MethodEntry {
    pub method: Method,
    /// Where its requests are counted.
    pub route_id: RouteId,
    /// Empty if all have gone.
    pub targets: Vec<Target>,
    /// What is known of the last that has gone, if it has not come back.
    pub gone: Option<Absence>,
    /// What its requests may use.
    pub limits: Limits,
    /// How many of them workers may have at a time, if that is bounded.
    pub gate: Option<Arc<Gate>>,
}

impl MethodEntry {
    /// What is known of the route, if nobody serves it.
    pub fn absence(&self) -> Option<&Absence> {
        self.gone.as_ref().filter(|_| self.targets.is_empty())
    }

    /// Whether nobody serves it, nor has.
    pub fn is_void(&self) -> bool {
        self.targets.is_empty() && self.gone.is_none()
    }

    /// The route, as its first worker has registered it, and where its requests are counted.
    pub fn route(&self) -> Option<(&RouteSpec, RouteId)> {
        let of_worker = self.targets.first();
        let of_worker = of_worker.map(|target| (target.route(), target.route_id()));
        let gone = self.gone.as_ref();
        of_worker.or_else(|| gone.map(|gone| (&gone.route, gone.route_id)))
    }
}

impl PathEntry {
    /// A pattern that nothing answers yet.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            methods: Vec::new(),
            allow: String::new(),
        }
    }

    /// What answers a method, whose requests are counted there if it is new.
    pub fn method(&mut self, method: Method, route_id: RouteId) -> &mut MethodEntry {
        let place = self.methods.iter().position(|entry| entry.method == method);
        let index = place.unwrap_or_else(|| {
            self.methods.push(MethodEntry {
                method,
                route_id,
                targets: Vec::new(),
                gone: None,
                limits: Limits::default(),
                gate: None,
            });
            self.methods.len() - 1
        });
        &mut self.methods[index]
    }
}

/// The value of the Allow field.
pub(super) fn allow_value(methods: &[MethodEntry]) -> String {
    let has = |method| methods.iter().any(|entry| entry.method == method);
    let allowed: Vec<_> = Method::ALL
        .into_iter()
        .filter(|method| has(*method) || (*method == Method::Head && has(Method::Get)))
        .map(Method::as_str)
        .collect();
    allowed.join(", ")
}
