//! One request on a connection: its head, how much of it has left the input, and what
//! becomes of the connection after it.

use std::rc::Rc;
use std::sync::Arc;

use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;
use slotway_shm_proto::limits::REQUEST_FIELD_COUNT_MAX;

use super::bytes::{REQUEST_ID, Wire};
use super::cors_fields;
use super::noted::Noted;
use super::offer::Offer;
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::framing::Framing;
use crate::http::head::{RequestHead, text_of};
use crate::http::local_reply::LocalReply;
use crate::http::trace_context::TRACEPARENT_BYTES;
use crate::limits::DRAIN_BYTES_MAX;
use crate::metrics::recorder::StatusClass;
use crate::metrics::route::{Group, RouteId};
use crate::reactor::phases::Moments;
use crate::reactor::turn::Turn;
use crate::routing::found::FoundRoute;
use crate::routing::params::Params;
use crate::routing::session::Session;

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRequest {
    /// It serves the next one.
    Next,
    /// It serves the next one once this body has been read and dropped.
    Drain(u64),
    /// It ends once the client has had time to read the response: it may still be
    /// sending, and a close over unread bytes resets the connection.
    Close,
    /// It ends at once: the response could not be finished.
    Reset,
    /// It is the worker's.
    HandedOver,
}

/// What happens instead of a worker's response.
#[derive(Debug)]
pub enum EarlyEnd {
    /// The hub responds; the client may still be sending.
    Reply(LocalReply),
    /// The client is gone.
    ClientGone,
}

impl From<LocalReply> for EarlyEnd {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(reply)
    }
}

/// How much of a request has left the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: the head is there, and the body as far as it has come.
    Unread,
    /// All of the body. The head is still there, and behind it the next request.
    BodyRead,
    /// The head, and more of the body is to come.
    BodyUnderWay,
    /// All of it.
    Done,
}

/// What is left of a request that the hub responds to early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes, some of which may still be to come.
    Bytes(usize),
    /// That cannot be known, or a client holds it back.
    Unknown,
}

impl Progress {
    fn left(self, head: &RequestHead) -> Left {
        match (self, head.framing) {
            (Self::Done, _) => Left::Bytes(0),
            (Self::BodyRead, _) => Left::Bytes(head.bytes),
            (Self::Unread, Framing::Length(bytes)) => usize::try_from(bytes)
                .ok()
                .and_then(|bytes| bytes.checked_add(head.bytes))
                .map_or(Left::Unknown, Left::Bytes),
            (Self::Unread, Framing::Chunked) | (Self::BodyUnderWay, _) => Left::Unknown,
        }
    }
}

/// A request. Re-used by the next one of its connection.
pub struct Call {
    /// Its parsed head, at the beginning of the input.
    pub head: RequestHead,
    /// What answers it, once that has been looked up.
    pub route: Option<FoundRoute>,
    /// The raw parameters of its path.
    pub params: Params,
    /// Milliseconds that its worker has to respond, and again for each piece of what streams; as
    /// short as a time of flags and workers is.
    pub timeout_ms: u32,
    /// Its place among those of its route, where those are bounded, until it is in a slot.
    pub turn: Option<Box<Turn>>,
    /// When it is given up, on the coarse clock.
    pub deadline_ms: u64,
    /// It may have run already, and has been given to another worker.
    pub is_retried: bool,
    /// The client has closed its sending side since the request came.
    pub is_half_closed: bool,
    /// Its worker may take up the protocol that the client offers.
    pub offer: Option<Rc<Offer>>,
    /// The connection ends after it.
    pub is_last: bool,
    /// The peer must send the secret with every request.
    pub must_know_secret: bool,
    /// Index of the allowed origin that it comes from.
    pub origin: Option<u32>,
    /// Where it is counted.
    pub route_id: RouteId,
    /// When its head was whole, in nanoseconds on `CLOCK_MONOTONIC`; 0 once it is counted.
    arrived_ns: u64,
    /// When it passed which point, if that is measured.
    moments: Option<Box<Moments>>,
    /// Whether it is.
    is_measured: bool,
    /// What is kept of it, if somebody looks on.
    pub(super) noted: Option<Box<Noted>>,
    /// The `traceparent` that it was given, since it had none that is valid.
    pub traceparent: Option<Box<[u8; TRACEPARENT_BYTES]>>,
    /// Its id is the one that its client sent.
    pub keeps_id: bool,
    progress: Progress,
}

/// Names and values of fields that the hub gives a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct GivenFields<'c> {
    fields: [(&'static str, &'c [u8]); 3],
    count: usize,
}

impl<'c> GivenFields<'c> {
    fn push(&mut self, name: &'static str, value: &'c [u8]) {
        self.fields[self.count] = (name, value);
        self.count += 1;
    }

    /// Those that there are.
    pub fn as_slice(&self) -> &[(&'static str, &'c [u8])] {
        &self.fields[..self.count]
    }
}

impl Call {
    /// For the requests of one connection.
    pub fn new(must_know_secret: bool) -> Self {
        Self {
            head: RequestHead::default(),
            route: None,
            params: Params::default(),
            timeout_ms: 0,
            turn: None,
            deadline_ms: 0,
            is_retried: false,
            is_half_closed: false,
            offer: None,
            is_last: false,
            must_know_secret,
            origin: None,
            route_id: RouteId::of_group(Group::None, None),
            arrived_ns: 0,
            moments: None,
            is_measured: false,
            noted: None,
            traceparent: None,
            keeps_id: false,
            progress: Progress::Unread,
        }
    }

    /// The next request of the connection begins.
    pub fn begin(&mut self) {
        self.progress = Progress::Unread;
        self.route = None;
        self.turn = None;
        self.origin = None;
        self.is_retried = false;
        self.is_half_closed = false;
        self.offer = None;
    }

    /// Its head is whole: it is counted from now on. `is_measured` if it takes the times of
    /// its phases.
    #[inline]
    pub fn arrive(&mut self, wire: &Wire, now_ns: u64, is_measured: bool) {
        self.arrived_ns = now_ns;
        if wire.reactor.is_watched() {
            let head = wire.input.get(..self.head.bytes).unwrap_or_default();
            let noted = self.noted.get_or_insert_default();
            noted.begin(head, wire.state.stream().sent_bytes());
        } else if self.noted.is_some() {
            self.noted = None;
        }
        self.route_id = RouteId::of_group(Group::None, self.head.method);
        self.is_measured = is_measured;
        if is_measured {
            let moments = self.moments.get_or_insert_default();
            **moments = Moments {
                arrived_ns: now_ns,
                ..Moments::default()
            };
        }
    }

    /// When it passed which point, if that is measured.
    #[inline]
    pub fn moments(&mut self) -> Option<&mut Moments> {
        if !self.is_measured {
            return None;
        }
        self.moments.as_deref_mut()
    }

    /// Whether the times of its phases are measured.
    #[inline]
    pub fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// The path, raw.
    pub fn path<'w>(&self, wire: &'w Wire) -> &'w str {
        text_of(&wire.input, self.head.path)
    }

    /// The body has been read out of the input, which keeps the head.
    pub fn note_body_read(&mut self) {
        self.progress = Progress::BodyRead;
    }

    /// Takes so many bytes off the input: all that it has of the request.
    pub fn take(&mut self, wire: &mut Wire, bytes: usize, progress: Progress) {
        wire.consume_input(bytes);
        self.progress = progress;
    }

    /// All of a body that streams has come.
    pub fn note_upload_complete(&mut self) {
        self.progress = Progress::Done;
    }

    /// Whether more of the body is to come, after the head has been taken.
    pub fn is_body_under_way(&self) -> bool {
        self.progress == Progress::BodyUnderWay
    }

    /// Whether the connection stays open after it.
    pub fn keeps_alive(&self, wire: &Wire) -> bool {
        self.head.keep_alive && !self.is_last && !wire.reactor.is_leaving()
    }

    /// What the client is told about the connection.
    pub fn persistence(&self, after: AfterRequest) -> Persistence {
        match after {
            AfterRequest::Next | AfterRequest::Drain(_) if self.head.http_1_0 => {
                Persistence::StaysHttp10
            }
            AfterRequest::Next | AfterRequest::Drain(_) | AfterRequest::HandedOver => {
                Persistence::Stays
            }
            AfterRequest::Close | AfterRequest::Reset => Persistence::Closes,
        }
    }

    /// Before an early response: takes what is here of the request off the input, and says
    /// whether the connection can go on.
    pub fn skip(&mut self, wire: &mut Wire) -> AfterRequest {
        let Left::Bytes(bytes) = self.progress.left(&self.head) else {
            return AfterRequest::Close;
        };
        if bytes <= wire.input.len() {
            wire.consume_input(bytes);
            return if self.keeps_alive(wire) {
                AfterRequest::Next
            } else {
                AfterRequest::Close
            };
        }
        let missing = (bytes - wire.input.len()) as u64;
        // Waiting for a body that the client holds back until it gets 100
        // would be in vain, and a read that is under way comes first.
        let can_drain = missing <= DRAIN_BYTES_MAX
            && !self.head.expects_continue
            && wire.pending_read.is_none()
            && !wire.state.is_overdue()
            && self.keeps_alive(wire);
        if can_drain {
            AfterRequest::Drain(bytes as u64)
        } else {
            AfterRequest::Close
        }
    }

    /// Whether it has been counted, and its time measured.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.arrived_ns == 0
    }

    /// It has ended, or its response has no known end and its head is sent: it is counted,
    /// once.
    #[inline]
    pub fn count(&mut self, wire: &Wire, after: AfterRequest) {
        if self.is_counted() {
            return;
        }
        let class = match after {
            AfterRequest::Reset => StatusClass::Aborted,
            _ => StatusClass::of(wire.status),
        };
        let took_ns = monotonic_ns().saturating_sub(self.arrived_ns);
        wire.recorder().request(self.route_id, class, took_ns);
        self.arrived_ns = 0;
        if self.noted.is_some() {
            self.show(wire, class, took_ns);
        }
    }

    /// The worker that responds, for who looks on.
    #[inline]
    pub fn note_worker(&mut self, session: &Arc<Session>) {
        if let Some(noted) = &mut self.noted {
            noted.session = Some(Arc::clone(session));
        }
    }

    /// The fields that the hub gives the request for its worker: its `upgrade` too, if the worker
    /// may take that up.
    #[inline]
    pub fn given_fields<'c>(&'c self, id: &'c str, upgrade: Option<&'c [u8]>) -> GivenFields<'c> {
        let mut given = GivenFields::default();
        if let Some(upgrade) = upgrade {
            given.push("upgrade", upgrade);
        }
        // An event stream's notification has one more of the hub's.
        if self.head.fields.len() + given.fields.len() < REQUEST_FIELD_COUNT_MAX {
            if !self.keeps_id && !id.is_empty() {
                given.push(REQUEST_ID, id.as_bytes());
            }
            if let Some(value) = &self.traceparent {
                given.push("traceparent", &value[..]);
            }
        }
        given
    }

    /// Writes a response of the hub's own and sends it.
    pub async fn send_local(
        &self,
        wire: &mut Wire,
        reply: &LocalReply,
        after: AfterRequest,
    ) -> AfterRequest {
        let framing = if encode::is_bodiless(reply.status) {
            BodyFraming::None
        } else {
            BodyFraming::Length(reply.body.len() as u64)
        };
        wire.start_response(reply.status, framing, self.persistence(after));
        for (name, value) in &reply.fields {
            encode::field(&mut wire.output, name, value);
        }
        wire.append_request_id(wire.output.len());
        self.append_cors_fields(wire, wire.output.len());
        encode::end_fields(&mut wire.output);
        if self.head.method != Some(Method::Head) {
            wire.output.extend_from_slice(&reply.body);
        }
        match wire.flush().await {
            Ok(()) => after,
            Err(_) => AfterRequest::Reset,
        }
    }

    /// Writes the fields that let a page read the response, whose own fields begin at
    /// `own_start` of the output.
    pub fn append_cors_fields(&self, wire: &mut Wire, own_start: usize) {
        let allowed = &wire.reactor.shared.config.cors_allow_origin;
        cors_fields::append(&mut wire.output, own_start, allowed, self.origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_request_follows_from_its_framing_and_what_was_taken() {
        let (length, chunked) = (Framing::Length(30), Framing::Chunked);
        for (progress, framing, left) in [
            (Progress::Unread, length, Left::Bytes(130)),
            (Progress::Unread, chunked, Left::Unknown),
            (Progress::Unread, Framing::Length(u64::MAX), Left::Unknown),
            (Progress::BodyRead, length, Left::Bytes(100)),
            (Progress::BodyRead, chunked, Left::Bytes(100)),
            (Progress::BodyUnderWay, length, Left::Unknown),
            (Progress::BodyUnderWay, chunked, Left::Unknown),
            (Progress::Done, length, Left::Bytes(0)),
            (Progress::Done, chunked, Left::Bytes(0)),
        ] {
            let head = RequestHead {
                framing,
                bytes: 100,
                ..RequestHead::default()
            };
            assert_eq!(progress.left(&head), left, "{progress:?} {framing:?}");
        }
    }
}
