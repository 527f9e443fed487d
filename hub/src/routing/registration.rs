//! What a worker registers: its name and its routes, checked.

use serde::{Deserialize, Serialize};
use slotway_shm_proto::Method;

use super::pattern::Pattern;

/// One route of a registration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteSpec {
    /// The method it answers.
    pub method: Method,
    /// The pattern.
    pub path: Pattern,
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
}

/// A registration that may be reserved.
#[derive(Debug)]
pub struct Registration {
    /// The worker's name.
    pub name: String,
    /// It joins workers of the same name rather than replace them.
    pub is_instance: bool,
    /// Its routes.
    pub routes: Vec<RouteSpec>,
    /// For each route, what else there is to it.
    pub options: Vec<RouteOptions>,
}

/// A worker's registration, and the id with which it will attach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpectedWorker {
    /// New: for the new hub alone.
    pub worker_id: String,
    /// Its name.
    pub name: String,
    /// Method, path, and what else there is to them.
    pub routes: Vec<(String, String, RouteOptions)>,
    /// Its session with the old hub.
    #[serde(skip)]
    pub session_id: u64,
}
