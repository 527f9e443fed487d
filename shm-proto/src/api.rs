//! The JSON documents of the hub's own paths, for hubs, workers and anything that talks to
//! a hub by `curl`.

use std::collections::BTreeMap;
use std::ops::Not;

use serde::{Deserialize, Serialize};

/// The path of a ping, which the SDK answers before any handler. No route can have it.
pub const WORKER_PING_ROUTE: &str = "/__ping__";

/// What `POST /internal/register` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRequest {
    /// The worker's name: 1 to 128 bytes of visible ASCII.
    pub name: String,
    /// At least one.
    pub routes: Vec<RouteRegistration>,
    /// It joins workers of the same name rather than replace them.
    #[serde(default)]
    pub instance: bool,
    /// Workers of other names that say the same may serve the same routes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_routes: bool,
    /// When the worker started, in milliseconds since 1970: one that started later is not
    /// replaced by one that `returns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// The version of the worker's program, for people to look at: at most 64 bytes of visible
    /// ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// It can be handed the sockets of clients that upgrade their connections (WebSocket).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upgrades: bool,
    /// It has been attached before, and comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returns: bool,
}

/// One route of a [`RegisterRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRegistration {
    /// A method, as a token: `GET`.
    pub method: String,
    /// A pattern: `/items/{id}`.
    pub path: String,
    /// Requests for this host alone, by its name without a port. Without it, for every host
    /// that has no route of its own for the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// It is an event stream, which must be a GET route.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub sse: bool,
    /// A request of a safe method may run again on another worker when this one dies with
    /// it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub retry: bool,
    /// The worker gets parameters as the client sent them, not decoded.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub raw_params: bool,
    /// Its handler reads the body as it comes, and so may have a request whose body pauses.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub reads_body: bool,
    /// Milliseconds that the worker has to respond, instead of what the hub gives all routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Bytes of the largest request body, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Requests that may wait for a slot on each reactor, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Requests that workers may have at a time, in the whole hub; without it, as many as they
    /// have slots for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// What `POST /internal/register` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterResponse {
    /// With which the worker attaches, within ten seconds.
    pub worker_id: String,
    /// The name of the shared memory, as it shows in `/proc/PID/maps`.
    pub shm_name: String,
    /// The attach socket's path.
    pub attach: String,
}

/// What `POST /internal/emit` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEvent {
    /// Who emits it, usually a worker's name.
    pub source: String,
    /// Its type, by which clients listen to it.
    pub event_type: String,
    /// Whatever it says, often JSON.
    pub data: String,
}

/// The data of an event at `GET /events`: the event as it was emitted.
pub type HubEvent = WorkerEvent;

/// What `GET /health` gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResponse {
    /// False while the hub stops, or while a worker is missing.
    pub ok: bool,
    /// Those that take requests.
    pub workers: Vec<WorkerInfo>,
    /// Names of workers that are expected (`--expect-worker`) or were asked for
    /// (`?worker=NAME`), and are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One worker of a [`HealthResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its name.
    pub name: String,
    /// Its id, which no other worker of this hub has.
    pub worker_id: String,
    /// Its routes.
    pub route_count: usize,
    /// `shm`.
    pub transport: String,
}

/// What `POST /internal/sse-push` takes: an event, and exactly one of `path`, `pattern`
/// and `connection`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsePushRequest {
    /// To all that asked for this path, as they sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// To all of a route, by its pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Of a pattern's, only to those with these decoded parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<BTreeMap<String, String>>,
    /// To one client, by the connection that its route's worker was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Only to clients of routes of these hosts; of routes without a host if there are none.
    /// Without it to those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// The event's type.
    pub event_type: String,
    /// Its data.
    pub data: String,
    /// Its id, which clients give back as Last-Event-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Milliseconds that clients wait before they connect again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
}

/// What has become of a client of an SSE route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SseLifecycle {
    /// It has come.
    Connect,
    /// It has gone.
    Disconnect,
}

/// The body of the requests by which a worker is notified of clients of its SSE routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SseNotification {
    /// What has become of the client.
    pub sse_lifecycle: SseLifecycle,
    /// The decoded parameters of its path.
    pub params: BTreeMap<String, String>,
    /// The path that it asked for, as it sent it.
    pub path: String,
    /// By which it can be pushed to.
    pub connection: String,
    /// The last event that it has, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
}
