//! What a worker registers: its name and its routes, checked.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slotway_shm_proto::Method;

use super::limits::RouteLimits;
use super::pattern::{Pattern, Segment};

/// One route of a registration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteSpec {
    /// The method it answers.
    pub method: Method,
    /// Whose requests it answers: a name in lower case. `None`: those of every host that
    /// has no route of its own for the path.
    pub host: Option<Arc<str>>,
    /// The pattern.
    pub path: Pattern,
}

/// What two routes have in common that answer the same requests, whatever they call their
/// parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// The method.
    pub method: Method,
    /// The host.
    pub host: Option<Arc<str>>,
    /// The pattern's shape.
    pub shape: Arc<[Segment]>,
}

impl RouteSpec {
    /// Which requests it answers.
    pub fn key(&self) -> RouteKey {
        RouteKey {
            method: self.method,
            host: self.host.clone(),
            shape: Arc::clone(self.path.shape()),
        }
    }

    /// The pattern behind its host, if it has one: how it is counted.
    pub fn label(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or_default(), self.path)
    }
}

#[cfg(test)]
impl RouteSpec {
    /// GET of a pattern, for every host.
    pub fn for_tests(path: &str) -> Self {
        Self {
            method: Method::Get,
            host: None,
            path: Pattern::parse(path).expect("a pattern"),
        }
    }
}

impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or_default();
        write!(f, "{} {host}{}", self.method, self.path)
    }
}

/// What else a registration says of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteOptions {
    /// A request of a safe method that the worker may have begun with goes to another
    /// one when this one is gone.
    pub may_retry: bool,
    /// Clients stay, and are pushed events.
    pub is_sse: bool,
    /// The worker gets parameters as the client sent them, not decoded.
    #[serde(default)]
    pub raw_params: bool,
    /// Its handler reads the body as it comes.
    #[serde(default)]
    pub reads_body: bool,
    /// What it may use.
    #[serde(default)]
    pub limits: RouteLimits,
}

/// A registration that may be reserved.
#[derive(Debug)]
pub struct Registration {
    /// The worker's name.
    pub name: String,
    /// It joins workers of the same name rather than replace them.
    pub is_instance: bool,
    /// Workers of other names that say so as well may serve its routes too.
    pub shares_routes: bool,
    /// When it started, in milliseconds since 1970, if it says so; not later than now.
    pub started_ms: Option<u64>,
    /// The version of its program, if it says so.
    pub version: Option<String>,
    /// It can be handed client sockets.
    pub upgrades: bool,
    /// It has been attached before.
    pub returns: bool,
    /// Its routes.
    pub routes: Vec<RouteSpec>,
    /// For each route, what else there is to it.
    pub options: Vec<RouteOptions>,
}

/// A route of an [`ExpectedWorker`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedRoute {
    /// Its method.
    pub method: String,
    /// Its host.
    #[serde(default)]
    pub host: Option<String>,
    /// Its pattern.
    pub path: String,
    /// What else there is to it.
    pub options: RouteOptions,
}

/// A worker's registration, and the id with which it will attach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedWorker {
    /// New: for the new hub alone.
    pub worker_id: String,
    /// Its name.
    pub name: String,
    /// See [`Registration::shares_routes`].
    #[serde(default)]
    pub shares_routes: bool,
    /// See [`Registration::started_ms`].
    #[serde(default)]
    pub started_ms: Option<u64>,
    /// See [`Registration::version`].
    #[serde(default)]
    pub version: Option<String>,
    /// See [`Registration::upgrades`].
    #[serde(default)]
    pub upgrades: bool,
    /// Its routes.
    pub routes: Vec<ExpectedRoute>,
    /// Its user.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its session with the old hub.
    #[serde(skip)]
    pub session_id: u64,
}
