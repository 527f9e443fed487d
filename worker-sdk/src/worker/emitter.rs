//! Events from a worker to clients that listen: [`HubEmitter`].

use std::collections::BTreeMap;
#[cfg(feature = "tokio")]
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::api::{SsePushRequest, WorkerEvent};
use slotway_shm_proto::limits::EVENT_NAME_BYTES_MAX;
use slotway_shm_proto::message::Emit;
use slotway_shm_proto::packet;

use crate::error::EmitError;
use crate::hub::client::HubClient;
use crate::session::live::LiveSessions;

/// Pushes events from a worker through the hub; cheap to clone. Made with
/// [`HubWorker::emitter`](crate::HubWorker::emitter), before the worker runs; it works
/// whether the worker is attached or not, as long as the hub is there.
///
/// ```
/// # use slotway_worker_sdk::{EmitError, HubEmitter, SseEvent, SseTarget};
/// # async fn example(emitter: HubEmitter) -> Result<(), EmitError> {
/// // To everyone who listens to /events, and to /events/jobs:
/// emitter.emit("done", r#"{"channel":"jobs","id":7}"#).await?;
/// // To the clients of an SSE route of this worker's:
/// emitter.sse_push("/jobs/7/progress", "progress", "80").await?;
/// let event = SseEvent::new("progress", "90").id("9");
/// emitter.push(&SseTarget::pattern("/jobs/{id}/progress").param("id", "7"), &event).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HubEmitter {
    /// `None`: the worker's URL is none.
    hub: Option<HubClient>,
    source: Arc<str>,
    /// Of the worker's routes.
    hosts: Arc<[String]>,
    sessions: LiveSessions,
}

/// An event for clients of an SSE route.
#[derive(Clone, Debug, Default)]
pub struct SseEvent {
    event_type: String,
    data: String,
    id: Option<String>,
    retry: Option<u64>,
}

impl SseEvent {
    /// An event of a type (`event:`, for `addEventListener`) with data of any number of
    /// lines.
    pub fn new(event_type: &str, data: &str) -> Self {
        Self {
            event_type: event_type.to_owned(),
            data: data.to_owned(),
            ..Self::default()
        }
    }

    /// Its id. A client that connects again says which it has seen last, and the
    /// route's handler is told.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// How long clients wait before they connect again, once they have lost the
    /// connection. Counted in milliseconds.
    pub fn retry(mut self, wait: Duration) -> Self {
        self.retry = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// Which clients of SSE routes an event is for.
#[derive(Clone, Debug, Default)]
pub struct SseTarget {
    path: Option<String>,
    pattern: Option<String>,
    connection: Option<String>,
    params: Option<BTreeMap<String, String>>,
}

impl SseTarget {
    /// All that asked for this path, as they sent it.
    pub fn path(path: &str) -> Self {
        Self {
            path: Some(path.to_owned()),
            ..Self::default()
        }
    }

    /// All of a route, by its pattern; narrowed down by [`SseTarget::param`].
    pub fn pattern(pattern: &str) -> Self {
        Self {
            pattern: Some(pattern.to_owned()),
            params: Some(BTreeMap::new()),
            ..Self::default()
        }
    }

    /// Of a pattern's, only those with this value of a parameter, decoded.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        let params = self.params.get_or_insert_default();
        params.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One client, by the `connection` that the route's handler was told.
    pub fn connection(connection: &str) -> Self {
        Self {
            connection: Some(connection.to_owned()),
            ..Self::default()
        }
    }
}

impl HubEmitter {
    pub(crate) fn new(
        hub: Option<HubClient>,
        name: &str,
        hosts: &[String],
        sessions: LiveSessions,
    ) -> Self {
        Self {
            hub,
            hosts: hosts.into(),
            source: name.into(),
            sessions,
        }
    }

    /// The worker's name, which is every event's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// An event for everyone at `GET /events`; if `data` is a JSON object with a
    /// `channel`, also for everyone at `GET /events/{channel}`. It travels over the
    /// worker's session if there is one, and over HTTP else, as do events that are
    /// longer than 64 KiB or whose type the hub would refuse. What one thread sends
    /// over the session stays in its order, and `Ok` says that it is sent. Blocks while
    /// the hub does not read.
    pub fn emit_blocking(&self, event_type: &str, data: &str) -> Result<(), EmitError> {
        let document = self.emitted(event_type, data);
        if self.emit_over_sessions(event_type, &document) {
            return Ok(());
        }
        self.post("/internal/emit", &document)
    }

    /// An event for clients of an SSE route. An error with status 404 says that there
    /// is no such client, 410 that it is just going, 503 that it is too slow. Blocks.
    pub fn push_blocking(&self, target: &SseTarget, event: &SseEvent) -> Result<(), EmitError> {
        self.post("/internal/sse-push", &pushed(target, event, &self.hosts))
    }

    fn emitted(&self, event_type: &str, data: &str) -> Vec<u8> {
        let emitted = WorkerEvent {
            source: self.source.to_string(),
            event_type: event_type.to_owned(),
            data: data.to_owned(),
        };
        serde_json::to_vec(&emitted).expect("strings serialise")
    }

    /// The packet for a session's connection; only of what the hub will take, since it
    /// does not respond there.
    fn packet(&self, event_type: &str, document: &[u8]) -> Option<Vec<u8>> {
        let is_plain = (1..=EVENT_NAME_BYTES_MAX).contains(&event_type.len())
            && self.source.len() <= EVENT_NAME_BYTES_MAX
            && !event_type.chars().any(char::is_control);
        Emit(document).to_packet().filter(|_| is_plain)
    }

    /// Over every session: while a new hub takes over, some clients are still at the
    /// old one, and each is at one alone. False: over none.
    fn emit_over_sessions(&self, event_type: &str, document: &[u8]) -> bool {
        let Some(packet) = self.packet(event_type, document) else {
            return false;
        };
        let sessions = self.sessions.all();
        let sent = sessions
            .iter()
            .filter(|session| packet::send(&session.connection, &packet, &[]).is_ok());
        sent.count() > 0
    }

    fn post(&self, path: &str, document: &[u8]) -> Result<(), EmitError> {
        let hub = self.hub.as_ref().ok_or(EmitError::Url)?;
        let response = hub.post(path, document).map_err(EmitError::Unreachable)?;
        if (200..300).contains(&response.status) {
            return Ok(());
        }
        Err(EmitError::Refused {
            status: response.status,
            response: response.text.trim().to_owned(),
        })
    }
}

#[cfg(feature = "tokio")]
impl HubEmitter {
    /// Like [`HubEmitter::emit_blocking`], without blocking.
    pub async fn emit(&self, event_type: &str, data: &str) -> Result<(), EmitError> {
        let document = self.emitted(event_type, data);
        if let Some(packet) = self.packet(event_type, &document)
            && let [session] = &self.sessions.all()[..]
            && packet::send_now(&session.connection, &packet, &[]).is_ok()
        {
            return Ok(());
        }
        let (this, event_type) = (self.clone(), event_type.to_owned());
        in_background(move || {
            if this.emit_over_sessions(&event_type, &document) {
                return Ok(());
            }
            this.post("/internal/emit", &document)
        })
        .await
    }

    /// An event for the clients of an SSE route that asked for this path. See
    /// [`HubEmitter::push_blocking`] for errors.
    pub async fn sse_push(
        &self,
        path: &str,
        event_type: &str,
        data: &str,
    ) -> Result<(), EmitError> {
        self.push(&SseTarget::path(path), &SseEvent::new(event_type, data))
            .await
    }

    /// An event for the clients of an SSE route with these parameters. See
    /// [`HubEmitter::push_blocking`] for errors.
    pub async fn sse_push_by_pattern(
        &self,
        pattern: &str,
        params: HashMap<String, String>,
        event_type: &str,
        data: &str,
    ) -> Result<(), EmitError> {
        let target = SseTarget {
            params: Some(params.into_iter().collect()),
            ..SseTarget::pattern(pattern)
        };
        self.push(&target, &SseEvent::new(event_type, data)).await
    }

    /// Like [`HubEmitter::push_blocking`], without blocking.
    pub async fn push(&self, target: &SseTarget, event: &SseEvent) -> Result<(), EmitError> {
        let document = pushed(target, event, &self.hosts);
        self.post_later("/internal/sse-push", document).await
    }

    async fn post_later(&self, path: &'static str, document: Vec<u8>) -> Result<(), EmitError> {
        let this = self.clone();
        in_background(move || this.post(path, &document)).await
    }
}

/// Runs what blocks on a thread for that: of the runtime, or of its own where there is
/// none.
#[cfg(feature = "tokio")]
async fn in_background(
    run: impl FnOnce() -> Result<(), EmitError> + Send + 'static,
) -> Result<(), EmitError> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    let run = move || {
        // Nobody listens if the future was dropped.
        let _ = done.send(run());
    };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(run);
    } else {
        std::thread::spawn(run);
    }
    let ended = || EmitError::Unreachable("the runtime is shutting down".to_owned());
    outcome.await.unwrap_or_else(|_| Err(ended()))
}

fn pushed(target: &SseTarget, event: &SseEvent, hosts: &[String]) -> Vec<u8> {
    let (target, event) = (target.clone(), event.clone());
    let request = SsePushRequest {
        path: target.path,
        pattern: target.pattern,
        params: target.params,
        connection: target.connection,
        hosts: Some(hosts.to_vec()),
        event_type: event.event_type,
        data: event.data,
        id: event.id,
        retry: event.retry,
    };
    serde_json::to_vec(&request).expect("strings serialise")
}

impl std::fmt::Debug for HubEmitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubEmitter")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_what_the_hub_reads() {
        let event = SseEvent::new("e", "d")
            .id("7")
            .retry(Duration::from_secs(2));
        let json = |target: &SseTarget| String::from_utf8(pushed(target, &event, &[])).unwrap();
        assert_eq!(
            json(&SseTarget::path("/p")),
            r#"{"path":"/p","hosts":[],"event_type":"e","data":"d","id":"7","retry":2000}"#
        );
        assert_eq!(
            json(&SseTarget::pattern("/p/{id}").param("id", "1")),
            r#"{"pattern":"/p/{id}","params":{"id":"1"},"hosts":[],"event_type":"e","data":"d","id":"7","retry":2000}"#
        );
        assert!(json(&SseTarget::connection("c")).starts_with(r#"{"connection":"c","#));
    }

    #[test]
    fn without_a_hub_or_with_a_wrong_url_it_says_so() {
        let emitter = HubEmitter::new(None, "w", &[], LiveSessions::default());
        assert!(matches!(
            emitter.emit_blocking("e", ""),
            Err(EmitError::Url)
        ));
        assert_eq!(emitter.source(), "w");
    }
}
