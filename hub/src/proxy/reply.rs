//! A worker's response on its way to the client: awaited, checked, encoded.

use std::rc::Rc;

use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;
use slotway_shm_proto::field::SWITCHING_PROTOCOLS;
use slotway_shm_proto::layout::BODY_BYTES_UNKNOWN;

use super::download::{self, Download};
use super::outcome::{self, Awaited};
use super::upload::Upload;
use super::{file, head, interim, retry, upgrade, wait};
use crate::http::encode;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::{self, ResponseBody, WorkerResponse};
use crate::lanes::slot::Event;
use crate::lanes::streams::StreamClient;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// Waits for the response's head and checks it. If the worker goes before it has begun,
/// another one responds; the exchange is that one's then.
pub async fn receive(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &mut Exchange,
) -> Result<WorkerResponse, EarlyEnd> {
    let lanes = Rc::clone(&wire.reactor.lanes);
    let lanes = &*lanes;
    let mut interim_number = 0;
    let streams = loop {
        if exchange.is_streaming() {
            break true;
        }
        if let Some(interim) = exchange.interim(interim_number) {
            interim_number = interim.number;
            interim::send(wire, call, exchange, interim)?;
        }
        match outcome::next(exchange, &wire.state).await {
            Awaited::Event(Event::Responded) => break false,
            Awaited::Event(Event::Changed) => {}
            Awaited::Event(Event::TimedOut) => {
                return Err(outcome::timed_out(lanes, exchange).into());
            }
            Awaited::WorkerGone => {
                *exchange = Box::pin(retry::reroute(wire, call, exchange)).await?;
                interim_number = 0;
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

/// Writes and sends a worker's response; `upload` is what of the request is still to come.
pub async fn send(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    response: &WorkerResponse,
    upload: Option<Box<Upload>>,
) -> Result<AfterRequest, EarlyEnd> {
    if let Some(moments) = call.moments() {
        (moments.taken_ns, moments.responded_ns) = response.times_ns;
    }
    if response.status == Some(SWITCHING_PROTOCOLS) {
        return Box::pin(upgrade::accept(wire, call, exchange, response)).await;
    }
    if let Some(offer) = &call.offer {
        // It has not been taken up.
        offer.settle();
    }
    if response.has_failed {
        outcome::handler_failed(&exchange, response.status.unwrap_or_default());
    }
    let without_body = is_without_body(call, response);
    let after = match response.body {
        ResponseBody::File(bytes) => {
            return Box::pin(send_file(wire, call, exchange, response, bytes)).await;
        }
        ResponseBody::Whole(part) => {
            let after = encode_head(wire, call, &exchange, response, None)?;
            if !without_body && download::send_directly(wire, &exchange, part)? {
                wire.reactor.lanes.finish(exchange);
                return Ok(note_written(wire, call, after));
            }
            wire.reactor.lanes.finish(exchange);
            wire.flush_now().await.map_err(|_| EarlyEnd::ClientGone)?;
            after
        }
        // Dropping the exchange tells the worker that nobody reads on.
        ResponseBody::Stream { .. } if without_body => {
            let after = encode_head(wire, call, &exchange, response, None)?;
            drop(exchange);
            wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
            after
        }
        ResponseBody::Stream {
            offset,
            ring,
            bytes,
        } => {
            let after = encode_head(wire, call, &exchange, response, upload.as_deref())?;
            let source = Download {
                offset,
                ring,
                left: bytes,
                chunked: bytes.is_none() && !call.head.http_1_0,
            };
            if !download::run(wire, call, exchange, source, upload).await? {
                return Ok(AfterRequest::Reset);
            }
            // The client has been told nothing of this: it could not be known.
            if call.is_body_under_way() {
                AfterRequest::Close
            } else {
                after
            }
        }
    };
    Ok(note_written(wire, call, after))
}

/// Sends the head, and the file behind it if the client gets a body.
async fn send_file(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    response: &WorkerResponse,
    bytes: u64,
) -> Result<AfterRequest, EarlyEnd> {
    let body = if is_without_body(call, response) {
        None
    } else {
        Some(file::open(wire, call, &exchange, bytes).await?)
    };
    let after = encode_head(wire, call, &exchange, response, None)?;
    // The rest of it is between the file and the client.
    wire.reactor.lanes.finish(exchange);
    let is_whole = if let Some(body) = body {
        file::send(wire, body).await?
    } else {
        wire.flush_now().await.map_err(|_| EarlyEnd::ClientGone)?;
        true
    };
    if !is_whole {
        return Ok(AfterRequest::Reset);
    }
    Ok(note_written(wire, call, after))
}

fn encode_head(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &Exchange,
    response: &WorkerResponse,
    upload: Option<&Upload>,
) -> Result<AfterRequest, EarlyEnd> {
    let after = after_response(wire, call, response, upload);
    head::encode(wire, call, exchange, response, after).map_err(|why| {
        let worker = &exchange.lane().session.name;
        tracing::warn!(worker, "502: the worker's response cannot be sent: {why}");
        outcome::bad_response(&wire.reactor.lanes).into()
    })
}

fn is_without_body(call: &Call, response: &WorkerResponse) -> bool {
    call.head.method == Some(Method::Head) || response.status.is_some_and(encode::has_no_content)
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

/// `upload` goes on while the response does.
fn after_response(
    wire: &Wire,
    call: &Call,
    response: &WorkerResponse,
    upload: Option<&Upload>,
) -> AfterRequest {
    // Whether the body ends before the response is not known. A client of HTTP/1.0 would be told.
    let may_end = !call.head.http_1_0 && upload.is_some_and(Upload::is_wanted);
    let body_ends = !call.is_body_under_way() || may_end;
    let stays = body_ends && call.keeps_alive(wire) && !ends_with_the_connection(call, response);
    if stays {
        AfterRequest::Next
    } else {
        AfterRequest::Close
    }
}

/// An HTTP/1.0 client knows the end of such a body by nothing else.
fn ends_with_the_connection(call: &Call, response: &WorkerResponse) -> bool {
    call.head.http_1_0 && matches!(response.body, ResponseBody::Stream { bytes: None, .. })
}
