//! A client of an SSE route, with all that its workers are told of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use slotway_shm_proto::Method;
use slotway_shm_proto::api::{SseLifecycle, SseNotification};
use slotway_shm_proto::layout::{FieldEntry, Span};
use slotway_shm_proto::limits::REQUEST_FIELD_COUNT_MAX;

use super::notice::Notice;
use crate::events::registry;
use crate::http::forwarded;
use crate::http::head::{RequestHead, bytes_of, text_of};
use crate::limits::{EVENT_NAME_BYTES_MAX, HEAD_BYTES_MAX};
use crate::proxy::fill;
use crate::reactor::Reactor;
use crate::routing::params::Params;
use crate::routing::registration::RouteSpec;
use crate::routing::session::Session;

/// The worker that knows of a subscriber, as long as it is there.
pub type Owner = Weak<Session>;

/// A subscriber. Of its own: a worker is notified beside the client's events.
pub struct Subscriber {
    /// The reactor that serves it.
    pub reactor: Rc<Reactor>,
    /// By which it can be pushed to.
    pub connection: String,
    /// The route that it has asked for.
    pub route: RouteSpec,
    /// Names and decoded values of the path's parameters.
    pub params: registry::Params,
    /// The same, as they stand in the path.
    pub raw_params: Params,
    /// The head that its workers see.
    pub head: RequestHead,
    /// The bytes of that.
    pub head_bytes: Vec<u8>,
    /// Fields that the hub gave the request.
    pub given: Vec<(&'static str, Box<[u8]>)>,
    /// Who asks.
    pub client: forwarded::Client,
    /// How far the notification that it is there has got.
    pub notice: RefCell<Notice>,
}

impl Subscriber {
    /// The path that it has asked for.
    pub fn path(&self) -> &str {
        text_of(&self.head_bytes, self.head.path)
    }

    /// What a worker is told.
    pub fn document(&self, sse_lifecycle: SseLifecycle, last_event_id: Option<&str>) -> Vec<u8> {
        let notification = SseNotification {
            sse_lifecycle,
            params: self.params.iter().cloned().collect(),
            path: self.path().to_owned(),
            connection: self.connection.clone(),
            last_event_id: last_event_id.map(str::to_owned),
        };
        serde_json::to_vec(&notification).expect("strings serialise")
    }

    /// Whether a slot has room for all that a worker may be told, whatever event the
    /// client has got by then.
    pub fn fits(&self) -> bool {
        let arena_bytes = self.reactor.shared.geometry.arena_bytes();
        let field_count = self.head.fields.len();
        if field_count > REQUEST_FIELD_COUNT_MAX || self.head_bytes.len() > HEAD_BYTES_MAX {
            return false;
        }
        let room = fill::body_room(arena_bytes, self.head_bytes.len(), field_count, true);
        // No character of an id is longer than that in JSON.
        let id_bytes = EVENT_NAME_BYTES_MAX * "\\u0000".len();
        self.document(SseLifecycle::Disconnect, Some("")).len() + id_bytes <= room
    }

    /// The worker that knows of it, if that one still takes requests.
    pub fn live_owner(&self, owner: &Owner) -> Option<Arc<Session>> {
        let owner = owner.upgrade()?;
        let lane = self.reactor.lanes.of(&owner);
        lane.is_some_and(|lane| lane.is_live()).then_some(owner)
    }

    /// Whether a worker is there that could be notified.
    pub fn has_worker(&self) -> bool {
        !self.reactor.live_workers(&self.route).is_empty()
    }
}

/// A client's head as the worker sees it, with its bytes: POST, and what it says of the
/// body is of the document's.
pub fn head_for_worker(head: &RequestHead, bytes: &[u8]) -> (RequestHead, Vec<u8>) {
    let (mut head, mut bytes) = (head.clone(), bytes.to_vec());
    head.method = Some(Method::Post);
    let is_of_body = |field: &mut FieldEntry| {
        let name = bytes_of(&bytes, field.name);
        let is = |of_body: &&[u8]| name.eq_ignore_ascii_case(of_body);
        OF_BODY.iter().any(is)
    };
    let of_body = head.fields.extract_if(.., is_of_body);
    head.dropped.extend(of_body);
    let mut append = |text: &[u8]| {
        let offset = bytes.len() as u32;
        bytes.extend_from_slice(text);
        Span {
            offset,
            bytes: text.len() as u32,
        }
    };
    head.fields.push(FieldEntry {
        name: append(b"content-type"),
        value: append(b"application/json"),
    });
    (head, bytes)
}

/// Fields that say something of a request's own body.
const OF_BODY: [&[u8]; 3] = [b"content-length", b"content-type", b"content-encoding"];
