//! Finds a request's worker, takes a slot, fills it and hands it over.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;
use slotway_shm_proto::limits::REQUEST_FIELD_COUNT_MAX;

use super::fill::{self, BodyPlace, DispatchBody, NO_BODY, Request};
use super::reserve::{Need, Pace, Reservation, reserve};
use super::upload::Upload;
use super::{absent, outcome, upgrade, wait};
use crate::clock;
use crate::http::head::{bytes_of, text_of};
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::streams::StreamClient;
use crate::reactor::turn::Turn;
use crate::routing::found::NoRoute;
use crate::routing::registration::RouteSpec;
use crate::routing::table::{RouteTable, Target};
use crate::wire::call::Progress;
use crate::wire::offer::Offer;
use crate::wire::{Call, EarlyEnd, Wire};

/// What came of trying to dispatch.
pub enum DispatchOutcome {
    /// A worker has it.
    Dispatched(Exchange, BodyPlace),
    /// What it needs is in use, or others wait for it.
    MustWait(Need, Box<RouteSpec>),
    /// Nothing: the route is an event stream.
    IsEventStream(Box<RouteSpec>),
}

/// A request that a worker has, and where the rest of its body goes.
pub struct Ready {
    /// It.
    pub exchange: Exchange,
    /// A body that streams.
    pub upload: Option<Box<Upload>>,
}

impl Ready {
    /// All of the request has been handed over; there is no body.
    pub fn whole(wire: &mut Wire, call: &mut Call, exchange: Exchange) -> Self {
        call.take(wire, call.head.bytes, Progress::Done);
        Self {
            exchange,
            upload: None,
        }
    }
}

/// Dispatches a request whose body pauses, if nobody else needs a place for that.
pub fn if_to_spare(
    wire: &Wire,
    call: &mut Call,
    method: Method,
) -> Result<Option<(Exchange, BodyPlace)>, EarlyEnd> {
    begin(call);
    let body = DispatchBody::Stream {
        length: None,
        pauses: true,
    };
    match attempt(wire, call, method, body, None)? {
        DispatchOutcome::Dispatched(exchange, place) => Ok(Some((exchange, place))),
        DispatchOutcome::MustWait(..) => {
            call.turn = None;
            Ok(None)
        }
        DispatchOutcome::IsEventStream(_) => Err(stream_takes_no_body().into()),
    }
}

/// Dispatches, if need be after waiting.
pub async fn dispatch(
    wire: &Wire,
    call: &mut Call,
    method: Method,
    body: DispatchBody<'_>,
) -> Result<(Exchange, BodyPlace), EarlyEnd> {
    begin(call);
    match attempt(wire, call, method, body, None)? {
        DispatchOutcome::Dispatched(exchange, place) => Ok((exchange, place)),
        // On the heap, for the sake of all the connections that never wait.
        DispatchOutcome::MustWait(need, route) => {
            Box::pin(wait_and_dispatch(wire, call, method, body, need, *route)).await
        }
        DispatchOutcome::IsEventStream(_) => Err(stream_takes_no_body().into()),
    }
}

/// The request has arrived: its deadline counts from now, and follows from its route.
fn begin(call: &mut Call) {
    call.deadline_ms = 0;
}

/// Dispatches a request without a body, if that can be done at once.
#[inline]
pub fn now(wire: &Wire, call: &mut Call, method: Method) -> Result<DispatchOutcome, EarlyEnd> {
    begin(call);
    attempt(wire, call, method, NO_BODY, None)
}

/// Waits for what a request without a body needs, and then dispatches it.
pub async fn later(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    need: Need,
    route: RouteSpec,
) -> Result<Ready, EarlyEnd> {
    let (exchange, _) = wait_and_dispatch(wire, call, method, NO_BODY, need, route).await?;
    Ok(Ready::whole(wire, call, exchange))
}

async fn wait_and_dispatch(
    wire: &Wire,
    call: &mut Call,
    method: Method,
    body: DispatchBody<'_>,
    mut need: Need,
    mut route: RouteSpec,
) -> Result<(Exchange, BodyPlace), EarlyEnd> {
    let mut place = None;
    loop {
        wait::granted(wire, call, need, &route, &mut place).await?;
        match attempt(wire, call, method, body, Some(need))? {
            DispatchOutcome::Dispatched(exchange, body_place) => {
                wait::notify_if_half_closed(wire, call, &exchange);
                return Ok((exchange, body_place));
            }
            DispatchOutcome::MustWait(other_need, other) => (need, route) = (other_need, *other),
            DispatchOutcome::IsEventStream(_) => {
                let why = "the route has become an event stream";
                return Err(outcome::overloaded(why).into());
            }
        }
    }
}

#[inline]
fn attempt(
    wire: &Wire,
    call: &mut Call,
    method: Method,
    body: DispatchBody<'_>,
    granted: Option<Need>,
) -> Result<DispatchOutcome, EarlyEnd> {
    let reactor = &wire.reactor;
    reactor.with_routes(|table| {
        let targets = find(table, wire, call, method)?;
        if call.deadline_ms == 0 {
            call.deadline_ms = clock::coarse_ms() + u64::from(call.timeout_ms);
        }
        let Some(first) = targets.first() else {
            return no_worker(table, wire, call);
        };
        let route = || Box::new(first.route().clone());
        if first.is_sse {
            return Ok(DispatchOutcome::IsEventStream(route()));
        }
        let pace = pace_of(body);
        if pace == Pace::PausingClient && !may_pause(table, call, targets) {
            return Ok(DispatchOutcome::MustWait(Need::Stream, route()));
        }
        refuse_websocket(wire, call, first)?;
        if !take_turn(table, wire, call, first.route(), granted) {
            return Ok(DispatchOutcome::MustWait(Need::Turn, route()));
        }
        let granted = granted.filter(|need| *need != Need::Turn);
        let reservation = reserve(&reactor.lanes, targets, pace, granted);
        let Some(reservation) = reservation else {
            let need = absent::wait_or_refuse(&reactor.lanes, None)?;
            return Ok(DispatchOutcome::MustWait(need, route()));
        };
        let (mut exchange, route_index, streams) = match reservation {
            Reservation::Slot {
                exchange,
                route_index,
                streams,
            } => (exchange, route_index, streams),
            Reservation::MustWait(need, route) => {
                return Ok(DispatchOutcome::MustWait(need, route));
            }
        };
        if let Some(turn) = call.turn.take() {
            exchange.keep(Some(turn));
        }
        if streams {
            exchange.begin_stream(Rc::clone(&wire.state) as Rc<dyn StreamClient>);
        }
        let body_place = write(wire, call, body, &exchange, route_index)?;
        call.note_worker(&exchange.lane().session);
        reactor.lanes.submit(&exchange, call.deadline_ms);
        if let Some(moments) = call.moments() {
            moments.submitted_ns = monotonic_ns();
        }
        Ok(DispatchOutcome::Dispatched(exchange, body_place))
    })
}

/// Whether a request may go to its worker while its client pauses in the body: its handler reads that
/// as it comes, as far as is known, and where few requests may run at a time, none of them is to wait
/// for its client.
pub fn may_pause(table: &RouteTable, call: &Call, targets: &[Target]) -> bool {
    let is_bounded = call.route.is_some_and(|route| table.gate(route).is_some());
    !is_bounded && targets.iter().all(Target::reads_body)
}

#[inline]
fn pace_of(body: DispatchBody<'_>) -> Pace {
    match body {
        DispatchBody::Whole { .. } => Pace::Worker,
        DispatchBody::Stream { pauses: false, .. } => Pace::Client,
        DispatchBody::Stream { pauses: true, .. } => Pace::PausingClient,
    }
}

/// Writes the request into its slot.
#[inline]
fn write(
    wire: &Wire,
    call: &mut Call,
    body: DispatchBody<'_>,
    exchange: &Exchange,
    route_index: u32,
) -> Result<BodyPlace, EarlyEnd> {
    let reactor = &wire.reactor;
    let id = wire.state.request_id.borrow();
    let upgrade = upgrade_of(wire, call, exchange);
    let offers_upgrade = upgrade.is_some();
    let given = call.given_fields(&id, upgrade);
    let request = Request {
        given: given.as_slice(),
        head: &call.head,
        head_bytes: &wire.input[..call.head.bytes],
        params: &call.params,
        raw_params: exchange.lane().session.options[route_index as usize].raw_params,
        route_index,
        body,
        client: wire.client,
        deadline_ns: match body {
            DispatchBody::Whole { .. } => call.deadline_ms * 1_000_000,
            DispatchBody::Stream { .. } => 0,
        },
        wants_times: call.is_measured(),
        offers_upgrade,
    };
    let place = fill::write(&request, exchange, &mut reactor.scratch.borrow_mut())
        .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
    if let DispatchBody::Whole {
        waiting_bytes: 1.., ..
    } = body
    {
        receive_waiting(wire, exchange, place)?;
    }
    if offers_upgrade {
        drop(id);
        watch_offer(call, exchange);
    }
    Ok(place)
}

/// The worker may take up what the client offers: it is told what becomes of that.
#[cold]
fn watch_offer(call: &mut Call, exchange: &Exchange) {
    let session = &exchange.lane().session;
    let slot = exchange.slot_use();
    let (offer, kept) = Offer::watch(session, slot, exchange.take_kept());
    exchange.keep(Some(kept));
    call.offer = Some(offer);
}

/// What the client offers to speak, if the worker may take that up.
#[inline]
fn upgrade_of<'w>(wire: &'w Wire, call: &Call, exchange: &Exchange) -> Option<&'w [u8]> {
    let value = call.head.upgrade?;
    let session = &exchange.lane().session;
    let has_room = call.head.fields.len() < REQUEST_FIELD_COUNT_MAX;
    (has_room && session.upgrades.takes_sockets()).then(|| bytes_of(&wire.input, value))
}

/// A client of WebSocket takes any ordinary response for a broken server.
#[inline]
fn refuse_websocket(wire: &Wire, call: &Call, target: &Target) -> Result<(), LocalReply> {
    if call.head.upgrade.is_none()
        || target.session.upgrades.takes_sockets()
        || !asks_for_websocket(wire, call)
    {
        return Ok(());
    }
    Err(upgrade::not_taken(&target.session))
}

/// Whether it is a handshake of RFC 6455.
#[cold]
fn asks_for_websocket(wire: &Wire, call: &Call) -> bool {
    let protocol = call.head.upgrade.map(|value| bytes_of(&wire.input, value));
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && call.head.has_field(&wire.input, b"sec-websocket-key")
}

/// Whether the request has its place among those of its route that workers may have at a time,
/// where those are bounded.
#[inline]
fn take_turn(
    table: &RouteTable,
    wire: &Wire,
    call: &mut Call,
    route: &RouteSpec,
    granted: Option<Need>,
) -> bool {
    let gate = call.route.and_then(|route| table.gate(route));
    // A new table may have given the request another route.
    call.turn = call
        .turn
        .take()
        .filter(|turn| gate.is_some_and(|gate| turn.is_of(gate)));
    let Some(gate) = gate.filter(|_| call.turn.is_none()) else {
        return true;
    };
    let lanes = &wire.reactor.lanes;
    // Who came before is next.
    if granted != Some(Need::Turn) && lanes.turn_queue.is_queueing(route) {
        return false;
    }
    call.turn = Turn::take(lanes, gate, route).map(Box::new);
    call.turn.is_some()
}

/// What becomes of a request whose route has no worker in this table.
#[cold]
fn no_worker(table: &RouteTable, wire: &Wire, call: &Call) -> Result<DispatchOutcome, EarlyEnd> {
    let absence = call.route.and_then(|route| table.absence(route));
    let Some(known) = absence else {
        return Err(absent::no_worker(&wire.reactor.lanes, None).into());
    };
    let route = Box::new(known.route.clone());
    if known.is_sse {
        return Ok(DispatchOutcome::IsEventStream(route));
    }
    let need = absent::wait_or_refuse(&wire.reactor.lanes, absence)?;
    Ok(DispatchOutcome::MustWait(need, route))
}

/// The workers of the request's route, looked up once as long as the table stays.
#[inline]
pub fn find<'t>(
    table: &'t RouteTable,
    wire: &Wire,
    call: &mut Call,
    method: Method,
) -> Result<&'t [Target], LocalReply> {
    if let Some(targets) = call.route.and_then(|route| table.targets(route)) {
        return Ok(targets);
    }
    let path = text_of(&wire.input, call.head.path);
    let host = || call.head.field_value(&wire.input, b"host");
    match table.find(method, host, path, &mut call.params) {
        Ok(route) => {
            call.route = Some(route);
            let answer = table.answer(route).expect("it was found in this table");
            call.route_id = answer.route_id;
            call.timeout_ms = answer.limits.timeout_ms as u32;
            Ok(answer.targets)
        }
        Err(_) if method == Method::Other => Err(outcome::unknown_method()),
        Err(NoRoute::WrongMethod { allow }) => {
            let message = format!("{method} is not allowed for {path}; allowed: {allow}");
            Err(LocalReply::error(405, message).with("Allow", allow.to_owned()))
        }
        Err(NoRoute::NotFound) => Err(absent::not_found(path, &table.missing)),
    }
}

/// Receives what the socket has said it holds of a body into its place.
fn receive_waiting(wire: &Wire, exchange: &Exchange, place: BodyPlace) -> Result<(), EarlyEnd> {
    let BodyPlace { mut offset, bytes } = place;
    let end = offset + bytes;
    while offset < end {
        match exchange.receive_into_arena(wire.state.stream().as_fd(), offset, end - offset) {
            Ok(received @ 1..) => {
                wire.recorder().received(received);
                offset += received as u32;
            }
            Err(Errno::INTR) => {}
            // Only urgent data make a socket hold less than it said, and
            // nobody sends those but to try us.
            Ok(0) | Err(_) => return Err(EarlyEnd::ClientGone),
        }
    }
    Ok(())
}

/// 400.
pub fn stream_takes_no_body() -> LocalReply {
    LocalReply::error(400, "a request for an event stream must not have a body")
}
