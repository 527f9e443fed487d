//! What can happen instead of a worker's response: each is counted, and has a status of
//! its own.

use std::future::poll_fn;
use std::task::Poll;

use slotway_net::Hangup;

use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::slot::Event;
use crate::lanes::violation::Violation;
use crate::reactor::connections::ConnectionState;
use crate::reactor::lanes::Lanes;
use crate::routing::registration::RouteSpec;
use crate::shared::counters::Counters;
use crate::wire::{EarlyEnd, Wire};

/// What ends a client's wait for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Something happened to the slot.
    Event(Event),
    /// Nobody will answer any more.
    WorkerGone,
    /// The client has hung up.
    ClientLeft(Hangup),
}

/// Waits for what happens next to a client's request; in the task of its connection.
pub async fn next(exchange: &Exchange, client: &ConnectionState) -> Awaited {
    poll_fn(|cx| {
        if let Some(hangup) = client.activity.take_hangup() {
            return Poll::Ready(Awaited::ClientLeft(hangup));
        }
        exchange.poll_outcome(cx).map(|outcome| match outcome {
            Outcome::Event(event) => Awaited::Event(event),
            Outcome::WorkerGone => Awaited::WorkerGone,
        })
    })
    .await
}

/// The client has left, counted.
pub fn client_left(wire: &Wire) -> EarlyEnd {
    Counters::add(&wire.reactor.shared.counters.client_left);
    EarlyEnd::ClientGone
}

/// The route of a request that a worker has, for the log.
fn route_of(exchange: &Exchange) -> &RouteSpec {
    &exchange.lane().session.routes[exchange.own_route_index() as usize]
}

/// 504, counted and logged.
pub fn timed_out(lanes: &Lanes, exchange: &Exchange) -> LocalReply {
    Counters::add(&lanes.shared.counters.timed_out);
    tracing::warn!(
        worker = exchange.lane().session.name,
        "504: no response to {} in time (--timeout)",
        route_of(exchange)
    );
    LocalReply::error(504, "the worker did not respond in time")
}

/// 408, unless the response has begun; counted and logged: a client that may wait for its handler, and
/// a handler that may wait for the body.
pub fn both_silent(lanes: &Lanes, exchange: &Exchange) -> LocalReply {
    Counters::add(&lanes.shared.counters.both_silent);
    tracing::warn!(
        worker = exchange.lane().session.name,
        "a request to {} was given up: neither more of its body nor a response came in time (--timeout, --body-timeout)",
        route_of(exchange)
    );
    LocalReply::error(
        408,
        "neither the rest of the request body nor a response came in time",
    )
}

/// A response that streams ends before its end, since its worker sends nothing; counted and
/// logged.
pub fn stream_timed_out(lanes: &Lanes, exchange: &Exchange) {
    Counters::add(&lanes.shared.counters.timed_out);
    tracing::warn!(
        worker = exchange.lane().session.name,
        "a streamed response to {} was cut off: the worker sent nothing for too long (--timeout)",
        route_of(exchange)
    );
}

/// 503, counted and logged: as many responses of a worker stream as may.
pub fn streams_refused(lanes: &Lanes, exchange: &Exchange, is_open: bool) -> LocalReply {
    Counters::add(&lanes.shared.counters.streams_refused);
    let (what, flag) = if is_open {
        ("without a known length stream to clients", "--streams")
    } else {
        ("stream to clients", "--slots")
    };
    tracing::warn!(
        worker = exchange.lane().session.name,
        "503: as many of its responses {what} as may ({flag})"
    );
    overloaded(&format!(
        "as many responses of this worker {what} as may ({flag})"
    ))
}

/// The worker's handler has failed; logged.
pub fn handler_failed(exchange: &Exchange, status: u16) {
    tracing::warn!(
        worker = exchange.lane().session.name,
        "{status}: the handler of {} failed, and the worker's log says why",
        route_of(exchange)
    );
}

/// 503, counted and logged.
pub fn queue_full(lanes: &Lanes, route: &RouteSpec) -> LocalReply {
    Counters::add(&lanes.shared.counters.queue_full);
    tracing::warn!(
        "503: every slot of the workers of {route} is in use, and as many requests wait as may \
         (--queue)"
    );
    overloaded("every slot of the route's workers is in use, and its queue is full")
}

/// 502, counted.
pub fn worker_gone(lanes: &Lanes) -> LocalReply {
    Counters::add(&lanes.shared.counters.worker_gone);
    LocalReply::error(502, "the worker went away before it responded")
}

/// 502, counted, and the worker is reported.
pub fn violated(lanes: &Lanes, exchange: &Exchange, violation: Violation) -> LocalReply {
    lanes.report_violation(exchange.lane(), violation);
    bad_response(lanes)
}

/// 502, counted.
pub fn bad_response(lanes: &Lanes) -> LocalReply {
    Counters::add(&lanes.shared.counters.bad_response);
    LocalReply::error(502, "the worker's response was not valid")
}

/// 503, counted and logged.
pub fn queue_timed_out(lanes: &Lanes, route: &RouteSpec) -> LocalReply {
    Counters::add(&lanes.shared.counters.queue_timed_out);
    tracing::warn!("503: a request for {route} waited for a slot until its deadline (--timeout)");
    overloaded("no slot of the route's workers came free in time")
}

/// 501: no route of the path takes methods that have no name here.
pub fn unknown_method() -> LocalReply {
    LocalReply::error(501, "this method is not implemented")
}

/// 503.
pub fn overloaded(why: &str) -> LocalReply {
    LocalReply::error(503, why).with("Retry-After", "1")
}
