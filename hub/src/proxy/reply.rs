//! A worker's response on its way to the client: awaited, checked, encoded.

use std::rc::Rc;

use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;
use slotway_shm_proto::field::SWITCHING_PROTOCOLS;
use slotway_shm_proto::layout::BODY_BYTES_UNKNOWN;

use super::download::{self, Download};
use super::outcome::{self, Awaited};
use super::{retry, upgrade, wait};
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::field_section::{self, FieldSection};
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::{self, ArenaPart, ResponseBody, WorkerResponse};
use crate::lanes::slot::Event;
use crate::lanes::streams::StreamClient;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// Waits for the response's head and checks it. If the worker goes before it has begun,
/// another one responds; the exchange is that one's then.
pub async fn receive(
    wire: &Wire,
    call: &mut Call,
    exchange: &mut Exchange,
) -> Result<WorkerResponse, EarlyEnd> {
    let lanes = &wire.reactor.lanes;
    let streams = loop {
        if exchange.is_streaming() {
            break true;
        }
        match outcome::next(exchange, &wire.state).await {
            Awaited::Event(Event::Responded) => break false,
            Awaited::Event(Event::Changed) => {}
            Awaited::Event(Event::TimedOut) => {
                return Err(outcome::timed_out(lanes, exchange).into());
            }
            Awaited::WorkerGone => {
                *exchange = Box::pin(retry::reroute(wire, call, exchange)).await?;
                wait::notify_if_half_closed(wire, call, exchange);
            }
            Awaited::ClientLeft(hangup) => {
                wait::after_hangup(wire, call, hangup)?;
                wait::notify_if_half_closed(wire, call, exchange);
            }
        }
    };
    if let Some(moments) = call.moments() {
        moments.seen_ns = monotonic_ns();
    }
    let head = exchange.copy_head();
    let is_open = streams && head.body_bytes == BODY_BYTES_UNKNOWN;
    if let Some(habit) = exchange.lane().habit(exchange.own_route_index()) {
        habit.learn(streams && !is_open);
    }
    if streams {
        begin_stream(wire, exchange, is_open)?;
    }
    response_head::check(
        &head,
        exchange.generation(),
        exchange.arena_bytes(),
        streams,
    )
    .map_err(|violation| outcome::violated(lanes, exchange, violation).into())
}

/// Enters a response that streams among the others; the error is what its client gets if
/// there are as many as may be.
pub fn begin_stream(wire: &Wire, exchange: &mut Exchange, is_open: bool) -> Result<(), LocalReply> {
    let is_borne = if is_open {
        exchange.begin_open_stream()
    } else {
        exchange.begin_late_stream(Rc::clone(&wire.state) as Rc<dyn StreamClient>)
    };
    if is_borne {
        return Ok(());
    }
    Err(outcome::streams_refused(
        &wire.reactor.lanes,
        exchange,
        is_open,
    ))
}

/// Writes and sends a worker's response.
pub async fn send(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    response: &WorkerResponse,
) -> Result<AfterRequest, EarlyEnd> {
    if let Some(moments) = call.moments() {
        (moments.taken_ns, moments.responded_ns) = response.times_ns;
    }
    if response.status == Some(SWITCHING_PROTOCOLS) {
        return Box::pin(upgrade::accept(wire, call, exchange, response)).await;
    }
    if response.has_failed {
        outcome::handler_failed(&exchange, response.status.unwrap_or_default());
    }
    let stays = !call.is_body_under_way()
        && call.keeps_alive(wire)
        && !ends_with_the_connection(call, response);
    let after = if stays {
        AfterRequest::Next
    } else {
        AfterRequest::Close
    };
    let after = match encode_head(wire, call, &exchange, response, after) {
        Ok(after) => after,
        Err(why) => {
            let worker = &exchange.lane().session.name;
            tracing::warn!(worker, "502: the worker's response cannot be sent: {why}");
            return Err(outcome::bad_response(&wire.reactor.lanes).into());
        }
    };
    let without_body = call.head.method == Some(Method::Head)
        || response.status.is_some_and(encode::has_no_content);
    match response.body {
        ResponseBody::Whole(part) => {
            if !without_body && download::send_directly(wire, &exchange, part)? {
                wire.reactor.lanes.finish(exchange);
                return Ok(note_written(wire, call, after));
            }
            wire.reactor.lanes.finish(exchange);
            wire.flush_now().await.map_err(|_| EarlyEnd::ClientGone)?;
        }
        // Dropping the exchange tells the worker that nobody reads on.
        ResponseBody::Stream { .. } if without_body => {
            drop(exchange);
            wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
        }
        ResponseBody::Stream {
            offset,
            ring,
            bytes,
        } => {
            let source = Download {
                offset,
                ring,
                left: bytes,
                chunked: bytes.is_none() && !call.head.http_1_0,
            };
            if !download::run(wire, call, exchange, source).await? {
                return Ok(AfterRequest::Reset);
            }
        }
    }
    Ok(note_written(wire, call, after))
}

fn note_written(wire: &Wire, call: &mut Call, after: AfterRequest) -> AfterRequest {
    if !call.is_counted()
        && let Some(moments) = call.moments()
    {
        moments.written_ns = monotonic_ns();
        wire.recorder().phases(moments.phases());
        if let Some(phases) = &wire.reactor.phases {
            phases.borrow_mut().record(moments);
        }
    }
    after
}

/// An HTTP/1.0 client knows the end of such a body by nothing else.
fn ends_with_the_connection(call: &Call, response: &WorkerResponse) -> bool {
    call.head.http_1_0 && matches!(response.body, ResponseBody::Stream { bytes: None, .. })
}

fn framing_of(call: &Call, status: u16, body: &ResponseBody) -> BodyFraming {
    let length = match body {
        ResponseBody::Whole(part) => Some(u64::from(part.bytes)),
        ResponseBody::Stream { bytes, .. } => *bytes,
    };
    match length {
        _ if encode::is_bodiless(status) => BodyFraming::None,
        _ if encode::has_no_content(status) => BodyFraming::Length(0),
        Some(bytes) => BodyFraming::Length(bytes),
        // Nothing is framed, and what a GET's length is nobody knows.
        None if call.head.method == Some(Method::Head) => BodyFraming::None,
        None if call.head.http_1_0 => BodyFraming::UntilClose,
        None => BodyFraming::Chunked,
    }
}

/// Writes the head of a response. The error says why it must not be sent.
pub fn encode_head(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &Exchange,
    response: &WorkerResponse,
    mut after: AfterRequest,
) -> Result<AfterRequest, String> {
    let status = response
        .status
        .ok_or("its status is not within 200 to 599, nor 101 of an upgrade")?;
    let framing = framing_of(call, status, &response.body);
    let start = wire.output.len();
    wire.start_response(status, framing, Persistence::Stays);
    if wire.reactor.shared.config.server_timing
        && let Some(moments) = call.moments()
    {
        moments.append_server_timing(&mut wire.output);
    }
    let fields_start = wire.output.len();
    let fields = ArenaPart {
        is_requests: false,
        offset: 0,
        bytes: response.fields_bytes,
    };
    exchange.append_from_arena(fields, &mut wire.output);
    // Judged after the copy: nobody can change these bytes any more.
    match field_section::check(&wire.output[fields_start..], status) {
        Ok(FieldSection { closes: true }) => after = AfterRequest::Close,
        Ok(FieldSection { closes: false }) => {
            encode::persistence(&mut wire.output, call.persistence(after));
        }
        Err(error) => {
            wire.output.truncate(start);
            return Err(error.to_string());
        }
    }
    wire.append_request_id(fields_start);
    if matches!(status, encode::UPGRADE_REQUIRED | SWITCHING_PROTOCOLS) {
        // Who sends Upgrade must say that it is for this connection alone.
        encode::field(&mut wire.output, "Connection", "upgrade");
    }
    if !wire.reactor.shared.config.cors_allow_origin.is_empty() {
        call.append_cors_fields(wire, fields_start);
    }
    encode::end_fields(&mut wire.output);
    Ok(after)
}
