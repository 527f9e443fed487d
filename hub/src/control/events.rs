//! `POST /internal/emit` and `POST /internal/sse-push`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::json;

use super::document;
use crate::events::frame::{Emitted, Event};
use crate::events::registry::{Reached, Topic};
use crate::http::local_reply::LocalReply;
use crate::shared::Shared;

#[derive(Deserialize)]
struct Push {
    path: Option<String>,
    pattern: Option<String>,
    params: Option<HashMap<String, String>>,
    connection: Option<String>,
    event_type: String,
    data: String,
    id: Option<String>,
    retry: Option<u64>,
}

/// `{source, event_type, data}` goes to everyone at `/events`, and at the channel that
/// its data name.
pub fn emit(shared: &Shared, body: &[u8]) -> LocalReply {
    let try_emit = || -> Result<LocalReply, LocalReply> {
        let emitted: Emitted = document::read("an event", body)?;
        let frame = emitted.to_frame()?;
        let nobody = HashMap::new();
        count(shared, shared.streams.push(&Topic::All, &nobody, &frame));
        if let Some(channel) = emitted.channel() {
            let topic = Topic::Channel(channel);
            count(shared, shared.streams.push(&topic, &nobody, &frame));
        }
        Ok(LocalReply::json(200, &json!({})))
    };
    try_emit().unwrap_or_else(|answer| answer)
}

/// Like [`emit`], for a worker that gets no answer: the first refusal is logged, the
/// others are only counted.
pub fn emit_over_session(shared: &Shared, worker: &str, refused: &AtomicU64, document: &[u8]) {
    let answer = emit(shared, document);
    if answer.status != 200 && refused.fetch_add(1, Ordering::Relaxed) == 0 {
        let why = String::from_utf8_lossy(&answer.body);
        let why = why.trim();
        tracing::warn!(
            worker,
            "an event was refused; further refusals will not be logged: {why}"
        );
    }
}

/// An event for clients of SSE routes: by path, by pattern and parameters, or for one
/// by its connection.
pub fn push(shared: &Shared, body: &[u8]) -> LocalReply {
    try_push(shared, body).unwrap_or_else(|answer| answer)
}

fn try_push(shared: &Shared, body: &[u8]) -> Result<LocalReply, LocalReply> {
    let push: Push = document::read("an event to push", body)?;
    let event = Event {
        event_type: &push.event_type,
        data: &push.data,
        id: push.id.as_deref(),
        retry_ms: push.retry,
    };
    let frame = event.to_frame()?;
    let topic = match (push.path, push.pattern, push.connection) {
        (Some(path), None, None) => Topic::Path(path),
        (None, Some(pattern), None) => Topic::Pattern(pattern),
        (None, None, Some(connection)) => Topic::Connection(connection),
        (None, None, None) => {
            let why = "one of path, pattern and connection is needed";
            return Err(LocalReply::field_error(400, "path", why));
        }
        _ => {
            let why = "only one of path, pattern and connection may be given";
            return Err(LocalReply::field_error(400, "path", why));
        }
    };
    if push.params.is_some() && !matches!(topic, Topic::Pattern(_)) {
        let why = "params are allowed only with a pattern";
        return Err(LocalReply::field_error(400, "params", why));
    }
    let reached = shared
        .streams
        .push(&topic, &push.params.unwrap_or_default(), &frame);
    count(shared, reached);
    Ok(match reached {
        Reached { queued: 1.., .. } => {
            let (queued, lost) = (reached.queued, reached.lost);
            LocalReply::json(200, &json!({ "ok": true, "queued": queued, "lost": lost }))
        }
        Reached { lost: 1.., .. } => {
            LocalReply::error(503, "the client is too slow: its buffer is full")
                .with("Retry-After", "1")
        }
        Reached { closing: 1.., .. } => LocalReply::error(410, "the client is disconnecting"),
        Reached { .. } => LocalReply::error(404, "no client matches"),
    })
}

fn count(shared: &Shared, reached: Reached) {
    let counters = &shared.counters;
    counters
        .events_lost
        .fetch_add(reached.lost, Ordering::Relaxed);
    if reached.cut > 0 {
        counters
            .slow_clients
            .fetch_add(reached.cut, Ordering::Relaxed);
        tracing::warn!(
            clients = reached.cut,
            "the memory for events is in use; clients that were slow to take one were ended"
        );
    }
}
