//! One request on its connection: what it asks for and where it goes.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;
use slotway_shm_proto::layout::Span;

use crate::clock;
use crate::front::connection::{Connection, Progress, Then};
use crate::http::forwarded::{self, Client};
use crate::http::framing::Framing;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::lane::Lane;
use crate::lanes::streams::{StreamClient, StreamHabit};
use crate::limits::{CONTROL_BODY_BYTES_MAX, DRAIN_BYTES_MAX};
use crate::proxy::fill::{self, BodyPlace, Dispatch, DispatchBody, NO_BODY};
use crate::proxy::upload::{BodySource, UploadEnd};
use crate::routing::own_paths;
use crate::routing::params::Params;
use crate::routing::registration::RouteSpec;
use crate::routing::table::{Lookup, RouteTable, Target};
use crate::shared::message::ControlMessage;
use crate::shared::sabotage;
use crate::wire::body::{Body, too_large};

/// What happens instead of a worker's answer.
#[derive(Debug)]
pub enum Instead {
    /// The hub answers; the client may still be sending.
    Answer(LocalReply),
    /// The client is gone.
    ClientGone,
}

impl From<LocalReply> for Instead {
    fn from(answer: LocalReply) -> Self {
        Self::Answer(answer)
    }
}

impl Connection {
    /// Answers the request whose head has been parsed.
    pub(crate) async fn answer_request(&mut self) -> Then {
        let result = self.try_answer().await;
        self.reactor.lookout.end(&self.state);
        match result {
            Ok(then) => then,
            Err(Instead::ClientGone) => Then::Reset,
            Err(Instead::Answer(answer)) => {
                let then = self.skip_request();
                self.send_local(&answer, then).await
            }
        }
    }

    async fn try_answer(&mut self) -> Result<Then, Instead> {
        if self.must_know_secret {
            self.check_secret()?;
        }
        let Some(method) = self.head.method else {
            return Err(LocalReply::error(501, "this method is not implemented here").into());
        };
        if self.head.asterisk {
            let allow = Method::ALL.map(Method::as_str).join(", ");
            return Err(LocalReply::empty(200).with("Allow", allow).into());
        }
        if !self.reactor.shared.config.cors_allow_origin.is_empty() {
            self.apply_cors(method)?;
        }
        let path = self.text(self.head.path);
        if path == "/sabotage" {
            sabotage::point("connection");
        }
        if own_paths::is_control_path(path) {
            self.check_control_access()?;
            // On the heap, as all that is not a worker's: most connections never get here.
            return Box::pin(self.answer_by_control(method)).await;
        }
        if own_paths::is_event_path(path) {
            return Box::pin(self.serve_events(method)).await;
        }
        self.client = self.find_client();
        let (mut exchange, source) = if self.head.has_body() {
            self.dispatch_with_body(method).await?
        } else {
            let head_bytes = self.head.bytes;
            // Most requests are these: no future more than is needed.
            let input = std::mem::take(&mut self.input);
            let tried = self.dispatch_now(&input, NO_BODY);
            self.input = input;
            let exchange = match tried? {
                Tried::Dispatched(exchange, _) => exchange,
                Tried::MustWait(..) => Box::pin(self.dispatch(NO_BODY)).await?.0,
                Tried::IsStream(route) => return Box::pin(self.serve_sse_route(*route)).await,
            };
            self.use_input(head_bytes, Progress::Used);
            (exchange, None)
        };
        self.reactor.lookout.begin(&self.state);
        if let Some((ring, source)) = source
            && self.upload(&exchange, ring, source).await? == UploadEnd::Complete
        {
            self.progress = Progress::Used;
        }
        let answer = self.await_answer(&mut exchange).await?;
        self.send_answer(exchange, &answer).await
    }

    /// Who asks: the peer, or whom a trusted proxy names. What others say of
    /// themselves does not reach the worker.
    fn find_client(&mut self) -> Client {
        let peer = self.peer;
        let as_it_is = Client {
            peer,
            is_https: false,
        };
        let trusted = &self.reactor.shared.config.trusted_proxy;
        if trusted.is_empty() {
            return as_it_is;
        }
        let (input, head) = (&self.input, &mut self.head);
        let bytes_of = |span| bytes_of(input, span);
        if !forwarded::is_trusted(peer, trusted) {
            head.fields
                .retain(|entry| !forwarded::is_forwarding_field(bytes_of(entry.name)));
            return as_it_is;
        }
        let fields = head.fields.iter();
        let fields = fields.map(|entry| (bytes_of(entry.name), bytes_of(entry.value)));
        forwarded::client(peer, trusted, fields)
    }

    /// Before an answer of the hub's own: goes on if all of the request is
    /// there or has been used, else the connection must end.
    fn skip_request(&mut self) -> Then {
        match self.progress {
            Progress::Unused => {}
            Progress::Used => {
                return if self.keeps_alive() {
                    Then::Next
                } else {
                    Then::Close
                };
            }
            Progress::BodyUnderWay => return Then::Close,
        }
        let bytes = match self.head.framing {
            Framing::Length(body_bytes) => usize::try_from(body_bytes)
                .ok()
                .and_then(|bytes| bytes.checked_add(self.head.bytes)),
            Framing::Chunked => None,
        };
        match bytes {
            Some(bytes) if bytes <= self.input.len() => {
                self.consume_input(bytes);
                if self.keeps_alive() {
                    Then::Next
                } else {
                    Then::Close
                }
            }
            // Waiting for a body that the client holds back until it gets 100
            // would be in vain, and a read that is under way has the buffer.
            Some(bytes)
                if (bytes - self.input.len()) as u64 <= DRAIN_BYTES_MAX
                    && !self.head.expects_continue
                    && self.pending_read.is_none()
                    && !self.state.is_overdue()
                    && self.keeps_alive() =>
            {
                Then::Drain(bytes as u64)
            }
            _ => Then::Close,
        }
    }

    pub(crate) fn use_input(&mut self, bytes: usize, progress: Progress) {
        self.consume_input(bytes);
        self.progress = progress;
    }

    /// A part of the head as text. Targets are ASCII once parsed.
    pub(crate) fn text(&self, span: Span) -> &str {
        text_of(&self.input, span)
    }

    /// Reads the body as far as it fits an arena, and dispatches.
    async fn dispatch_with_body(
        &mut self,
        method: Method,
    ) -> Result<(Exchange, Option<(BodyPlace, BodySource)>), Instead> {
        // Refuse what has no route before any body is read for it.
        let path = self.head.path;
        let reactor = Rc::clone(&self.reactor);
        reactor.with_routes(|table| {
            find_targets(table, method, text_of(&self.input, path)).map(|_| ())
        })?;

        let room = fill::body_room(
            self.reactor.shared.geometry.arena_bytes(),
            self.head.bytes,
            self.head.fields.len(),
        );
        let head_bytes = self.head.bytes;
        match self.read_body(room).await? {
            Body::Known {
                bytes,
                waiting_bytes,
            } => {
                let used = head_bytes + bytes - waiting_bytes;
                // Dispatching borrows the input as a whole.
                let input = std::mem::take(&mut self.input);
                let body = DispatchBody::Whole {
                    here: &input[head_bytes..used],
                    waiting_bytes: waiting_bytes as u32,
                };
                let result = self.dispatch_from(&input, body).await;
                self.input = input;
                let (exchange, _) = result?;
                self.use_input(used, Progress::Used);
                Ok((exchange, None))
            }
            Body::Decoded(body) => {
                let body = DispatchBody::Whole {
                    here: &body,
                    waiting_bytes: 0,
                };
                let (exchange, _) = self.dispatch(body).await?;
                self.use_input(head_bytes, Progress::Used);
                Ok((exchange, None))
            }
            Body::Streams(source) => {
                let (exchange, ring) = self.dispatch(DispatchBody::Stream(source.length())).await?;
                self.use_input(head_bytes, Progress::BodyUnderWay);
                Ok((exchange, Some((ring, source))))
            }
        }
    }

    async fn dispatch(&mut self, body: DispatchBody<'_>) -> Result<(Exchange, BodyPlace), Instead> {
        let input = std::mem::take(&mut self.input);
        let result = self.dispatch_from(&input, body).await;
        self.input = input;
        result
    }

    /// Finds the worker, takes a slot, fills it and hands it over, if need be after
    /// waiting for a slot.
    #[inline]
    async fn dispatch_from(
        &mut self,
        input: &[u8],
        body: DispatchBody<'_>,
    ) -> Result<(Exchange, BodyPlace), Instead> {
        match self.dispatch_now(input, body)? {
            Tried::Dispatched(exchange, place) => Ok((exchange, place)),
            // On the heap, for the sake of all the connections that never wait.
            Tried::MustWait(need, route) => {
                Box::pin(self.dispatch_later(input, body, need, *route)).await
            }
            Tried::IsStream(_) => Err(stream_takes_no_body().into()),
        }
    }

    /// The request has arrived: its deadline counts from now.
    #[inline]
    fn dispatch_now(&mut self, input: &[u8], body: DispatchBody<'_>) -> Result<Tried, Instead> {
        self.deadline_ms = clock::coarse_ms() + self.reactor.shared.config.timeout_ms();
        self.is_repeated = false;
        self.client_closed = false;
        self.try_dispatch(input, body, None)
    }

    /// Waits for a slot, and then dispatches.
    async fn dispatch_later(
        &mut self,
        input: &[u8],
        body: DispatchBody<'_>,
        mut need: Need,
        mut route: RouteSpec,
    ) -> Result<(Exchange, BodyPlace), Instead> {
        let mut place = None;
        loop {
            self.wait_for(need, &route, &mut place).await?;
            match self.try_dispatch(input, body, Some(need))? {
                Tried::Dispatched(exchange, body_place) => {
                    self.tell_if_closed(&exchange);
                    return Ok((exchange, body_place));
                }
                Tried::MustWait(other_need, other) => (need, route) = (other_need, *other),
                Tried::IsStream(_) => {
                    let why = "the route has become an event stream";
                    let answer = LocalReply::error(503, why).with("Retry-After", "1");
                    return Err(answer.into());
                }
            }
        }
    }

    /// `granted` is what the request has waited for, if it has: it is next then.
    #[inline]
    fn try_dispatch(
        &mut self,
        input: &[u8],
        body: DispatchBody<'_>,
        granted: Option<Need>,
    ) -> Result<Tried, Instead> {
        let reactor = Rc::clone(&self.reactor);
        let method = self.head.method.expect("answer_request refused others");
        reactor.with_routes(|table| {
            let (targets, params) = find_targets(table, method, text_of(input, self.head.path))?;
            if let [
                Target {
                    is_sse: true,
                    session,
                    route_index,
                },
                ..,
            ] = targets
            {
                let route = session.routes[*route_index as usize].clone();
                return Ok(Tried::IsStream(Box::new(route)));
            }
            let lane_of = |target: &Target| reactor.lane(&target.session);
            let is_stream = matches!(body, DispatchBody::Stream(_));
            let with_room =
                |target: &Target| lane_of(target).filter(|lane| lane.streams().has_room());
            let found = is_stream
                .then(|| least_loaded(targets, with_room))
                .flatten();
            let (lane, route_index) = found
                .or_else(|| least_loaded(targets, lane_of))
                .ok_or_else(|| {
                    LocalReply::error(503, "the worker of this route is going away")
                        .with("Retry-After", "1")
                })?;
            let route = &lane.session.routes[route_index as usize];
            let must_wait = |need| Ok(Tried::MustWait(need, Box::new(route.clone())));
            let streams = is_stream || lane.habit(route_index).is_some_and(StreamHabit::is_usual);
            // Who came before is next.
            if streams
                && (!lane.streams().has_room()
                    || (granted != Some(Need::Stream) && reactor.stream_room.is_queueing(route)))
            {
                return must_wait(Need::Stream);
            }
            if granted.is_none() && reactor.wait_room.is_queueing(route) {
                return must_wait(Need::Slot);
            }
            let Some(mut exchange) = lane.reserve() else {
                return must_wait(Need::Slot);
            };
            if streams {
                exchange.begin_stream(Rc::clone(&self.state) as Rc<dyn StreamClient>);
            }
            let deadline_ms = self.deadline_ms;
            let dispatch = Dispatch {
                head: &self.head,
                head_bytes: &input[..self.head.bytes],
                params: &params,
                raw_params: lane.session.options[route_index as usize].raw_params,
                route_index,
                body,
                client: self.client,
                deadline_ns: match body {
                    DispatchBody::Whole { .. } => deadline_ms * 1_000_000,
                    DispatchBody::Stream(_) => 0,
                },
                wants_times: reactor.takes_times,
            };
            let place = fill::write(&dispatch, &exchange, &mut self.scratch)
                .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
            if matches!(
                body,
                DispatchBody::Whole {
                    waiting_bytes: 1..,
                    ..
                }
            ) {
                self.receive_waiting(&exchange, place)?;
            }
            exchange.submit(deadline_ms);
            reactor.mark(&lane);
            if reactor.takes_times {
                self.moments.submitted_ns = monotonic_ns();
            }
            Ok(Tried::Dispatched(exchange, place))
        })
    }

    /// Receives what the socket has said it holds of a body into its place.
    fn receive_waiting(&self, exchange: &Exchange, place: BodyPlace) -> Result<(), Instead> {
        let BodyPlace { mut offset, bytes } = place;
        let end = offset + bytes;
        while offset < end {
            match exchange.receive_into_arena(self.stream.as_fd(), offset, end - offset) {
                Ok(received @ 1..) => offset += received as u32,
                Err(Errno::INTR) => {}
                // Only urgent data make a socket hold less than it said, and
                // nobody sends those but to try us.
                Ok(0) | Err(_) => return Err(Instead::ClientGone),
            }
        }
        Ok(())
    }

    async fn answer_by_control(&mut self, method: Method) -> Result<Then, Instead> {
        if matches!(self.head.framing, Framing::Length(length) if length > CONTROL_BODY_BYTES_MAX) {
            return Err(too_large(CONTROL_BODY_BYTES_MAX).into());
        }
        let head_bytes = self.head.bytes;
        let body = match self.read_body(CONTROL_BODY_BYTES_MAX as usize).await? {
            Body::Known {
                bytes,
                waiting_bytes,
            } => {
                while self.input.len() < head_bytes + bytes {
                    let Ok(1..) = self.read_input(waiting_bytes).await else {
                        return Err(Instead::ClientGone);
                    };
                }
                let body = self.input[head_bytes..][..bytes].to_vec();
                self.input.drain(head_bytes..head_bytes + bytes);
                self.head.framing = Framing::Length(0);
                body
            }
            Body::Decoded(body) => body,
            Body::Streams(_) => return Err(too_large(CONTROL_BODY_BYTES_MAX).into()),
        };
        let path = self.text(self.head.path).to_owned();
        let (reply, answer) = tokio::sync::oneshot::channel();
        let message = ControlMessage::Request {
            method,
            path,
            body,
            reply,
        };
        self.reactor.shared.tell_control(message);
        Err(match answer.await {
            Ok(answer) => answer.into(),
            Err(_) => LocalReply::error(503, "the hub is stopping").into(),
        })
    }
}

/// What a request may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A slot.
    Slot,
    /// A place among the bodies that stream.
    Stream,
}

/// What came of trying to dispatch.
enum Tried {
    Dispatched(Exchange, BodyPlace),
    /// What it needs is in use, or others wait for it.
    MustWait(Need, Box<RouteSpec>),
    /// Nothing: the route is an event stream.
    IsStream(Box<RouteSpec>),
}

pub(crate) fn stream_takes_no_body() -> LocalReply {
    LocalReply::error(400, "an event stream takes no body")
}

/// A part of a head that was parsed from the beginning of `input`.
pub(crate) fn bytes_of(input: &[u8], span: Span) -> &[u8] {
    &input[span.offset as usize..][..span.bytes as usize]
}

pub(crate) fn text_of(input: &[u8], span: Span) -> &str {
    std::str::from_utf8(bytes_of(input, span)).expect("the parser lets only ASCII targets through")
}

fn find_targets<'t, 'p>(
    table: &'t RouteTable,
    method: Method,
    path: &'p str,
) -> Result<(&'t [Target], Params<'p>), LocalReply> {
    match table.lookup(method, path) {
        Lookup::Found { targets, params } => Ok((targets, params)),
        Lookup::WrongMethod { allow } => {
            let message = format!("{method} is not allowed for {path}; allowed: {allow}");
            Err(LocalReply::error(405, message).with("Allow", allow.to_owned()))
        }
        Lookup::NotFound => Err(LocalReply::error(404, format!("no route for {path}"))),
    }
}

/// The lane with the fewest requests in flight, and the route's index there.
#[inline]
pub(crate) fn least_loaded(
    targets: &[Target],
    lane_of: impl Fn(&Target) -> Option<Rc<Lane>>,
) -> Option<(Rc<Lane>, u32)> {
    if let [only] = targets {
        return lane_of(only).map(|lane| (lane, only.route_index));
    }
    targets
        .iter()
        .filter_map(|target| lane_of(target).map(|lane| (lane, target.route_index)))
        .min_by_key(|(lane, _)| lane.used_count())
}
