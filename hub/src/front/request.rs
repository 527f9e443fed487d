//! The fork: which part of the hub answers a request.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use slotway_shm_proto::Method;

use super::{auth, cors, identity, operations};
use crate::http::forwarded::{self, Client};
use crate::http::framing::Framing;
use crate::http::head::{bytes_of, text_of};
use crate::http::local_reply::LocalReply;
use crate::limits::CONTROL_BODY_BYTES_MAX;
use crate::logging;
use crate::metrics::route::{Group, RouteId};
use crate::proxy::{self, Served, outcome};
use crate::routing::own_paths::OwnPath;
use crate::shared::message::{ControlMessage, OwnRequest};
use crate::shared::sabotage;
use crate::sse::stream;
use crate::wire::body::{self, Body, too_large};
use crate::wire::chunked_body::{ChunkedBody, Extent};
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// Serves the request whose head has been parsed.
pub async fn serve(wire: &mut Wire, call: &mut Call) -> AfterRequest {
    let result = if wire.reactor.identifies {
        identity::give(wire, call);
        let state = Rc::clone(&wire.state);
        let mut serving = pin!(try_serve(wire, call));
        poll_fn(|cx| {
            let _current = logging::request::enter(&state.request_id.borrow());
            serving.as_mut().poll(cx)
        })
        .await
    } else {
        try_serve(wire, call).await
    };
    wire.reactor.hangups.end(&wire.state);
    // Others of its route need not wait until the client has read that it got none.
    call.turn = None;
    let after = match result {
        Ok(after) => after,
        Err(EarlyEnd::ClientGone) => AfterRequest::Reset,
        Err(EarlyEnd::Reply(reply)) => {
            let after = call.skip(wire);
            call.send_local(wire, &reply, after).await
        }
    };
    call.count(wire, after);
    after
}

async fn try_serve(wire: &mut Wire, call: &mut Call) -> Result<AfterRequest, EarlyEnd> {
    // Each time: a reload may have taken the proxies away.
    wire.client = if wire.reactor.lanes.settings().trusted_proxy.is_empty() {
        wire.peer_alone()
    } else {
        find_client(wire, call)
    };
    if call.must_know_secret
        && let Err(refusal) = auth::check_secret(wire, call)
    {
        // A kubelet cannot send it.
        return match (operations::find_probe(wire, call), call.head.method) {
            (Some(probe), Some(method)) => {
                Box::pin(operations::serve(wire, call, method, probe)).await
            }
            _ => Err(refusal.into()),
        };
    }
    let Some(method) = call.head.method else {
        return Err(outcome::unknown_method().into());
    };
    if wire.state.is_operator() {
        let part = operations::find_at_own_listener(wire, call)?;
        return Box::pin(operations::serve(wire, call, method, part)).await;
    }
    if call.head.asterisk {
        let allow = Method::ALL.map(Method::as_str).join(", ");
        return Err(LocalReply::empty(200).with("Allow", allow).into());
    }
    if !wire.reactor.shared.config.cors_allow_origin.is_empty() {
        cors::apply(wire, call, method)?;
    }
    let path = call.path(wire);
    if path == "/sabotage" {
        sabotage::point("connection");
    }
    // On the heap, as all that is not a worker's: most connections never get here.
    match wire.reactor.shared.config.own_paths.find(path) {
        None => {}
        Some(OwnPath::Control(own)) => {
            call.route_id = RouteId::of_group(Group::Hub, Some(method));
            auth::check_control_access(wire, call, own)?;
            let own = own.to_owned();
            return Box::pin(serve_by_control(wire, call, method, own)).await;
        }
        Some(OwnPath::Operations(asked)) => {
            if let Some(part) = operations::find_among_clients(wire, call, asked)? {
                return Box::pin(operations::serve(wire, call, method, part)).await;
            }
        }
        Some(OwnPath::Events(own)) => {
            call.route_id = RouteId::of_group(Group::Hub, Some(method));
            let own = own.to_owned();
            return Box::pin(stream::serve_own(wire, call, method, own)).await;
        }
    }
    drop_untrusted(wire, call);
    match proxy::serve(wire, call, method).await? {
        Served::Responded(after) => Ok(after),
        Served::IsEventStream(route) => Box::pin(stream::serve_route(wire, call, *route)).await,
    }
}

/// Who asks: the peer, or whom a trusted proxy names.
fn find_client(wire: &Wire, call: &Call) -> Client {
    let sender = wire.peer_alone();
    let live = wire.reactor.lanes.settings();
    let trusted = &live.trusted_proxy;
    if !forwarded::is_trusted(sender.peer, trusted) {
        return sender;
    }
    let bytes_of = |span| bytes_of(&wire.input, span);
    let fields = call.head.fields.iter();
    let fields = fields.map(|entry| (bytes_of(entry.name), bytes_of(entry.value)));
    forwarded::client(sender.peer, trusted, fields)
}

/// What others than trusted proxies say of themselves does not reach the worker.
fn drop_untrusted(wire: &Wire, call: &mut Call) {
    let live = wire.reactor.lanes.settings();
    let trusted = &live.trusted_proxy;
    if !trusted.is_empty() && !forwarded::is_trusted(wire.peer_alone().peer, trusted) {
        let bytes_of = |span| bytes_of(&wire.input, span);
        let fields = &mut call.head.fields;
        fields.retain(|entry| !forwarded::is_forwarding_field(bytes_of(entry.name)));
    }
}

async fn serve_by_control(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    path: String,
) -> Result<AfterRequest, EarlyEnd> {
    let body = read_control_body(wire, call).await?;
    let query = call.head.query.unwrap_or_default();
    let (reply, response) = tokio::sync::oneshot::channel();
    let request = OwnRequest {
        method,
        path,
        query: text_of(&wire.input, query).to_owned(),
        body,
    };
    let message = ControlMessage::Request(request, reply);
    wire.reactor.shared.tell_control(message);
    Err(match response.await {
        Ok(response) => response.into(),
        Err(_) => LocalReply::error(503, "the hub is stopping").into(),
    })
}

async fn read_control_body(wire: &mut Wire, call: &mut Call) -> Result<Vec<u8>, EarlyEnd> {
    let bytes_max = wire.reactor.lanes.settings().limits.body_bytes_max;
    let bytes_max = bytes_max.min(CONTROL_BODY_BYTES_MAX);
    let room = bytes_max as usize;
    let Framing::Length(length) = call.head.framing else {
        let mut body = ChunkedBody::new(bytes_max, false);
        return match body.read(wire, call, room + 1).await? {
            Extent::Whole => Ok(body.bytes().to_vec()),
            Extent::TooLong | Extent::Pauses => Err(too_large(bytes_max).into()),
        };
    };
    match body::read(wire, call, length, room, bytes_max).await? {
        Body::Known {
            bytes,
            waiting_bytes,
        } => {
            let head_bytes = call.head.bytes;
            while wire.input.len() < head_bytes + bytes {
                let Ok(1..) = wire.read_input(waiting_bytes).await else {
                    return Err(EarlyEnd::ClientGone);
                };
            }
            let body = wire.input.drain(head_bytes..head_bytes + bytes).collect();
            call.note_body_read();
            Ok(body)
        }
        Body::Streams(_) => Err(too_large(bytes_max).into()),
    }
}
