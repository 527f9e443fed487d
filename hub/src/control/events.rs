//! `POST /internal/emit` and `POST /internal/sse-push`.

use std::sync::atomic::{AtomicU64, Ordering};

use slotway_shm_proto::api::{SsePushRequest, WorkerEvent};

use super::document;
use super::error::ControlError;
use crate::events::frame::{Event, channel_of, frame_of};
use crate::events::registry::{Filter, Reached, Topic};
use crate::shared::Shared;

/// `{source, event_type, data}` goes to everyone at `/events`, and at the channel that
/// its data name.
pub fn emit(shared: &Shared, body: &[u8]) -> Result<(), ControlError> {
    let emitted: WorkerEvent = document::read("an event", body)?;
    let frame = frame_of(&emitted)?;
    let everyone = Filter::default();
    count(shared, shared.streams.push(&Topic::All, &everyone, &frame));
    if let Some(channel) = channel_of(&emitted) {
        let topic = Topic::Channel(channel);
        count(shared, shared.streams.push(&topic, &everyone, &frame));
    }
    Ok(())
}

/// Like [`emit`], for a worker that gets no response: the first refusal is logged, the
/// others are only counted.
pub fn emit_over_session(
    shared: &Shared,
    (worker, may_emit): (&str, bool),
    refused: &AtomicU64,
    document: &[u8],
) {
    let emitted = if may_emit {
        emit(shared, document)
    } else {
        let why = "its user's workers may send none ([[attach]] events = true lets them)";
        Err(ControlError::NotAllowed(why.to_owned()))
    };
    if let Err(why) = emitted
        && refused.fetch_add(1, Ordering::Relaxed) == 0
    {
        tracing::warn!(
            worker,
            "an event was refused; further refusals will not be logged: {why}"
        );
    }
}

/// An event for clients of SSE routes: by path, by pattern and parameters, or for one
/// by its connection. Says how many it is on its way to, and how many were too slow.
pub fn push(shared: &Shared, body: &[u8]) -> Result<Reached, ControlError> {
    let push: SsePushRequest = document::read("an event to push", body)?;
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
            return Err(ControlError::field("path", why));
        }
        _ => {
            let why = "only one of path, pattern and connection may be given";
            return Err(ControlError::field("path", why));
        }
    };
    if push.params.is_some() && !matches!(topic, Topic::Pattern(_)) {
        let why = "params are allowed only with a pattern";
        return Err(ControlError::field("params", why));
    }
    let filter = Filter {
        params: push.params.unwrap_or_default(),
        hosts: push.hosts,
    };
    let reached = shared.streams.push(&topic, &filter, &frame);
    count(shared, reached);
    match reached {
        Reached { queued: 1.., .. } => Ok(reached),
        Reached { lost: 1.., .. } => Err(ControlError::Unavailable(
            "the client is too slow: its buffer is full".to_owned(),
        )),
        Reached { closing: 1.., .. } => Err(ControlError::Leaving),
        Reached { .. } => Err(ControlError::NoClient),
    }
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
