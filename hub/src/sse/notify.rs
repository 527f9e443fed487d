//! Telling an SSE route's worker that a client has come or gone: a request through a
//! slot, as POST to the route, with the client's own head and a JSON document as body.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use slotway_shm_proto::Method;
use slotway_shm_proto::layout::FieldEntry;

use crate::clock;
use crate::events::registry::Params;
use crate::front::request::{bytes_of, least_loaded, text_of};
use crate::http::forwarded;
use crate::http::head::RequestHead;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::queue::Place;
use crate::lanes::response_head::{self, Answer};
use crate::lanes::slot::Event;
use crate::limits::{EVENT_NAME_BYTES_MAX, SSE_QUEUE_RETRY};
use crate::proxy::fill::{self, Dispatch, DispatchBody};
use crate::reactor::Reactor;
use crate::routing::registration::RouteSpec;
use crate::routing::session::{Session, SessionState};
use crate::routing::table::Target;
use crate::routing::tree::Tree;
use crate::shared::counters::Counters;

/// A client of an SSE route, and all that its workers are told of it. Of its own: telling
/// goes on beside the client's events.
pub(super) struct Client {
    pub reactor: Rc<Reactor>,
    /// By which it can be pushed to.
    pub connection: String,
    pub route: RouteSpec,
    pub params: Params,
    pub head: RequestHead,
    pub head_bytes: Vec<u8>,
    pub peer: forwarded::Client,
    /// A worker has what it is being told: from here on it may know of the client.
    pub is_submitted: Cell<bool>,
    /// It has gone, and no further worker need know of it.
    pub has_left: Cell<bool>,
}

/// The worker that knows of a client, as long as it is there.
pub(super) type Owner = Weak<Session>;

/// Why a worker was not told, or not so that it is known.
pub(super) enum Untold {
    /// There is none, or it went; or the document does not fit a slot.
    Answer(LocalReply),
    /// It has begun, and did not answer in time: it may know of the client or not.
    Unknown(Owner),
    /// The route is no event stream any more.
    NoStream,
}

impl From<LocalReply> for Untold {
    fn from(answer: LocalReply) -> Self {
        Self::Answer(answer)
    }
}

/// What a worker says to a client that has come.
pub(super) enum Told {
    /// It is in.
    Accepted(Owner),
    /// It is not: this is its answer.
    Refused(Exchange, Answer),
}

#[derive(Serialize)]
struct Document<'d> {
    sse_lifecycle: &'static str,
    params: BTreeMap<&'d str, &'d str>,
    path: &'d str,
    connection: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event_id: Option<&'d str>,
}

impl Client {
    /// The path that it has asked for.
    pub fn path(&self) -> &str {
        text_of(&self.head_bytes, self.head.path)
    }

    fn document(&self, sse_lifecycle: &'static str, last_event_id: Option<&str>) -> Vec<u8> {
        let pairs = self.params.iter();
        let document = Document {
            sse_lifecycle,
            params: pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            path: self.path(),
            connection: &self.connection,
            last_event_id,
        };
        serde_json::to_vec(&document).expect("strings serialise")
    }

    /// Whether a slot has room for all that a worker may be told, whatever event the
    /// client has got by then.
    pub fn fits(&self) -> bool {
        let arena_bytes = self.reactor.shared.geometry.arena_bytes();
        let field_count = self.head.fields.len();
        let room = fill::body_room(arena_bytes, self.head_bytes.len(), field_count);
        // No character of an id is longer than that in JSON.
        let id_bytes = EVENT_NAME_BYTES_MAX * "\\u0000".len();
        self.document("disconnect", Some("")).len() + id_bytes <= room
    }

    /// Tells a worker of the route that the client is there.
    pub async fn tell_connect(&self, last_event_id: Option<&str>) -> Result<Told, Untold> {
        let document = self.document("connect", last_event_id);
        let (exchange, answer) = self.tell(&document, None).await?;
        let is_in = answer
            .status
            .is_some_and(|status| (200..300).contains(&status));
        if !is_in {
            return Ok(Told::Refused(exchange, answer));
        }
        let owner = Arc::downgrade(&exchange.lane().session);
        self.end_telling(exchange);
        Ok(Told::Accepted(owner))
    }

    /// Tells the client's owner that it has left. Nobody else knew of it.
    pub async fn tell_disconnect(&self, owner: &Owner, last_event_id: Option<&str>) {
        let Some(id) = self.live_owner(owner).map(|owner| owner.id) else {
            return;
        };
        let document = self.document("disconnect", last_event_id);
        if let Ok((exchange, _)) = self.tell(&document, Some(id)).await {
            self.end_telling(exchange);
        }
    }

    fn end_telling(&self, exchange: Exchange) {
        if exchange.is_streaming() {
            // Dropping it tells the worker that nobody reads on.
            drop(exchange);
        } else {
            let lane = Rc::clone(exchange.lane());
            exchange.release();
            self.reactor.after_drain_step(&lane);
        }
    }

    async fn tell(&self, document: &[u8], only: Option<u64>) -> Result<(Exchange, Answer), Untold> {
        let deadline_ms = clock::coarse_ms() + self.reactor.shared.config.timeout_ms();
        let mut place = None;
        loop {
            self.is_submitted.set(false);
            if only.is_none() && self.has_left.get() {
                return Err(LocalReply::error(503, "the client has left").into());
            }
            let exchange = loop {
                // One worker alone: the queue is for those that any of them can serve.
                let is_next = place.is_some() || only.is_some();
                if let Some(exchange) = self.try_tell(document, only, deadline_ms, is_next)? {
                    break exchange;
                }
                if place.is_none() && only.is_none() {
                    place = self.reactor.wait_room.enter(&self.route);
                }
                self.wait_for_slot(place.as_ref(), deadline_ms).await?;
            };
            place = None;
            let streams = loop {
                if exchange.is_streaming() {
                    break true;
                }
                match poll_fn(|cx| exchange.poll_outcome(cx)).await {
                    Outcome::Event(Event::Changed) | Outcome::ClientLeft(_) => {}
                    Outcome::Event(Event::TimedOut) => {
                        Counters::add(&self.reactor.shared.counters.timed_out);
                        if exchange.give_up() {
                            // It has not begun, and never will.
                            let why = "the worker did not answer in time";
                            return Err(LocalReply::error(504, why).into());
                        }
                        return Err(Untold::Unknown(Arc::downgrade(&exchange.lane().session)));
                    }
                    Outcome::Event(Event::Answered) | Outcome::WorkerGone => break false,
                }
            };
            if exchange.lane().is_over() {
                // One that went takes what it was told with it: the next is told.
                continue;
            }
            let head = exchange.copy_head();
            let (generation, arena_bytes) = (exchange.generation(), exchange.arena_bytes());
            return match response_head::check(&head, generation, arena_bytes, streams) {
                Ok(answer) => Ok((exchange, answer)),
                Err(violation) => {
                    self.reactor.report_violation(exchange.lane(), violation);
                    Counters::add(&self.reactor.shared.counters.bad_answer);
                    Err(LocalReply::error(502, "the worker's answer was invalid").into())
                }
            };
        }
    }

    /// In the route's queue, like requests, or without a place in it for a while.
    async fn wait_for_slot(
        &self,
        place: Option<&Place>,
        deadline_ms: u64,
    ) -> Result<(), LocalReply> {
        let left_ms = deadline_ms.saturating_sub(clock::coarse_ms());
        if left_ms == 0 {
            Counters::add(&self.reactor.shared.counters.queue_timed_out);
            let why = "no slot of the route's workers came free in time";
            return Err(LocalReply::error(503, why).with("Retry-After", "1"));
        }
        match place {
            Some(place) => {
                let granted = place.granted();
                // The deadline is looked at by the next turn.
                let _ = tokio::time::timeout(Duration::from_millis(left_ms), granted).await;
            }
            None => tokio::time::sleep(SSE_QUEUE_RETRY).await,
        }
        Ok(())
    }

    /// `None`: there is a worker, but no slot of it is free, or others are next.
    fn try_tell(
        &self,
        document: &[u8],
        only: Option<u64>,
        deadline_ms: u64,
        is_next: bool,
    ) -> Result<Option<Exchange>, Untold> {
        let reactor = &self.reactor;
        if !is_next && reactor.wait_room.is_queueing(&self.route) {
            return Ok(None);
        }
        // Of this pattern alone: others may match the path as well by now.
        let mut pattern = Tree::default();
        pattern.insert(self.route.path.shape(), 0);
        let Some((_, params)) = pattern.find(self.path()) else {
            let why = "the path does not match its route any more";
            return Err(LocalReply::error(500, why).into());
        };
        reactor.with_routes(|table| {
            let targets = table.targets_of(&self.route);
            if targets.iter().any(|target| !target.is_sse) {
                return Err(Untold::NoStream);
            }
            let is_it = |target: &&Target| {
                let session = &target.session;
                session.state() == SessionState::Live && only.is_none_or(|id| session.id == id)
            };
            let targets: Vec<_> = targets.iter().filter(is_it).cloned().collect();
            let found = least_loaded(&targets, |target| reactor.lane(&target.session));
            let (lane, route_index) = found.ok_or_else(|| {
                LocalReply::error(503, "no worker for this event stream").with("Retry-After", "1")
            })?;
            let Some(exchange) = lane.reserve() else {
                return Ok(None);
            };
            let dispatch = Dispatch {
                head: &self.head,
                head_bytes: &self.head_bytes,
                params: &params,
                raw_params: lane.session.options[route_index as usize].raw_params,
                route_index,
                body: DispatchBody::Whole {
                    here: document,
                    waiting_bytes: 0,
                },
                client: self.peer,
                deadline_ns: deadline_ms * 1_000_000,
                wants_times: false,
            };
            fill::write(&dispatch, &exchange, &mut Vec::new())
                .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
            exchange.submit(deadline_ms);
            self.is_submitted.set(true);
            reactor.mark(&lane);
            Ok(Some(exchange))
        })
    }

    /// The client's owner, if it is still there.
    pub fn live_owner(&self, owner: &Owner) -> Option<Arc<Session>> {
        let owner = owner.upgrade()?;
        let is_live = owner.state() == SessionState::Live && self.reactor.lane(&owner).is_some();
        is_live.then_some(owner)
    }

    /// Whether a worker is there that could be told.
    pub fn has_worker(&self) -> bool {
        self.reactor
            .with_routes(|table| !self.reactor.live_workers(table, &self.route).is_empty())
    }
}

/// As the worker sees it: POST, and a body that is not the client's.
pub(super) fn head_for_worker(head: &RequestHead, bytes: &[u8]) -> RequestHead {
    let mut head = head.clone();
    head.method = Some(Method::Post);
    let is_length = |field: &mut FieldEntry| {
        bytes_of(bytes, field.name).eq_ignore_ascii_case(b"content-length")
    };
    let lengths = head.fields.extract_if(.., is_length);
    head.dropped.extend(lengths);
    head
}
