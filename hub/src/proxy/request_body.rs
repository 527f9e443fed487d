//! Reads a request's body as far as it is needed before its worker has it, and dispatches it.

use std::rc::Rc;

use slotway_shm_proto::Method;

use super::dispatch::{self, Ready};
use super::fill::{self, BodyPlace, DispatchBody};
use super::upload::Upload;
use crate::http::framing::Framing;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::wire::body::{self, Body, BodySource};
use crate::wire::call::Progress;
use crate::wire::chunked_body::{ChunkedBody, Extent};
use crate::wire::{Call, EarlyEnd, Wire};

/// Reads the body as far as it fits an arena, and dispatches.
pub async fn with_body(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
) -> Result<Ready, EarlyEnd> {
    // Refuse what has no route before any body is read for it.
    let reactor = Rc::clone(&wire.reactor);
    let (bytes_max, may_pause) = reactor.with_routes(|table| {
        let targets = dispatch::find(table, wire, call, method)?;
        let limits = table.limits(call.route).unwrap_or_default();
        let may_pause = dispatch::may_pause(table, call, targets);
        Ok::<_, LocalReply>((limits.body_bytes_max, may_pause))
    })?;

    let arena_bytes = wire.reactor.shared.geometry.arena_bytes();
    let head_bytes = call.head.bytes;
    if call.head.expects_continue
        && let Some(source) = body::held_back(wire, call, bytes_max).await?
    {
        return stream(wire, call, method, source).await;
    }
    // It is here, or wanted at once.
    let room = fill::body_room(
        arena_bytes,
        head_bytes,
        call.head.fields.len(),
        reactor.identifies,
    );
    let Framing::Length(length) = call.head.framing else {
        let body = ChunkedBody::new(bytes_max, may_pause);
        return Box::pin(with_chunked_body(wire, call, method, room, body)).await;
    };
    match body::read(wire, call, length, room, bytes_max).await? {
        Body::Known {
            bytes,
            waiting_bytes,
        } => {
            let used = head_bytes + bytes - waiting_bytes;
            let body = DispatchBody::Whole {
                here: &wire.input[head_bytes..used],
                waiting_bytes: waiting_bytes as u32,
                trailers: &[],
            };
            let (exchange, _) = dispatch::dispatch(wire, call, method, body).await?;
            wire.expect_request(head_bytes + bytes);
            call.take(wire, used, Progress::Done);
            Ok(Ready {
                exchange,
                upload: None,
            })
        }
        Body::Streams(source) => {
            // What has been said by 100, or come without, is not asked for again.
            call.head.expects_continue = false;
            stream(wire, call, method, source).await
        }
    }
}

/// Reads a body of unknown length as far as it fits an arena, and dispatches. A client that pauses
/// may wait for the beginning of the response: its request is dispatched if there is a place to spare.
async fn with_chunked_body(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    room: usize,
    mut body: ChunkedBody,
) -> Result<Ready, EarlyEnd> {
    loop {
        match body.read(wire, call, room).await? {
            Extent::Whole => {
                let whole = DispatchBody::Whole {
                    here: body.bytes(),
                    waiting_bytes: 0,
                    trailers: body.trailers(),
                };
                let (exchange, _) = dispatch::dispatch(wire, call, method, whole).await?;
                return Ok(Ready::whole(wire, call, exchange));
            }
            Extent::TooLong => {
                call.head.expects_continue = false;
                return stream(wire, call, method, body.into_source()).await;
            }
            Extent::Pauses => {
                if let Some((exchange, place)) = dispatch::if_to_spare(wire, call, method)? {
                    let body = (place, body.into_source());
                    return Ok(under_way(wire, call, exchange, body, true));
                }
            }
        }
    }
}

/// Dispatches a request whose body follows.
async fn stream(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    source: BodySource,
) -> Result<Ready, EarlyEnd> {
    let body = DispatchBody::Stream {
        length: source.length(),
        pauses: false,
    };
    let (exchange, place) = dispatch::dispatch(wire, call, method, body).await?;
    Ok(under_way(wire, call, exchange, (place, source), false))
}

/// The head has been handed over, and the body is to follow.
fn under_way(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    (place, source): (BodyPlace, BodySource),
    pauses: bool,
) -> Ready {
    let mut upload = Upload::new(place, source, call);
    if pauses {
        upload = upload.of_pausing_client(wire, &exchange);
    }
    call.take(wire, call.head.bytes, Progress::BodyUnderWay);
    Ready {
        exchange,
        upload: Some(Box::new(upload)),
    }
}
