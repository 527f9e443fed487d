//! A parsed request becomes the head and the bytes of a slot.
//!
//! The arena gets the client's head in one copy; the spans of the parse stay
//! right since they count from its first byte. What is hop-by-hop is blanked
//! out of the copy.

use std::net::SocketAddr;

use slotway_net::Peer;
use slotway_shm_proto::Method;
use slotway_shm_proto::layout::{
    self, BODY_BYTES_UNKNOWN, FieldEntry, RequestHead as SlotHead, Span, request_flags,
};

use crate::http::error::HeadError;
use crate::http::forwarded::Client;
use crate::http::head::{RequestHead, bytes_of};
use crate::http::target::percent_decode;
use crate::lanes::exchange::Exchange;
use crate::limits::{GIVEN_FIELDS_BYTES_MAX, HEAD_BYTES_MAX};
use crate::routing::params::Params;

/// What a request without a body has.
pub const NO_BODY: DispatchBody<'static> = DispatchBody::Whole {
    here: &[],
    waiting_bytes: 0,
    trailers: &[],
};

/// The body as far as it is known when the request is dispatched.
#[derive(Clone, Copy, Debug)]
pub enum DispatchBody<'b> {
    /// It fits (see [`body_room`]): what is here of it, and how much of it waits in
    /// the socket, for the caller to receive behind that.
    Whole {
        /// Its beginning.
        here: &'b [u8],
        /// The rest.
        waiting_bytes: u32,
        /// The fields behind it, in wire form; none behind what waits.
        trailers: &'b [u8],
    },
    /// It streams.
    Stream {
        /// Its length if the client said so.
        length: Option<u64>,
        /// Its client has stopped sending, and may wait for the response's beginning.
        pauses: bool,
    },
}

/// Everything about a request that its slot holds.
pub struct Request<'r> {
    /// The parsed head.
    pub head: &'r RequestHead,
    /// The bytes it was parsed from.
    pub head_bytes: &'r [u8],
    /// Fields that the hub gives it: names and values. The head has room for them.
    pub given: &'r [(&'static str, &'r [u8])],
    /// Raw parameters, in the pattern's order: parts of the head's path.
    pub params: &'r Params,
    /// They are handed on as they are, without decoding.
    pub raw_params: bool,
    /// Index of the route in the worker's registration.
    pub route_index: u32,
    /// The body.
    pub body: DispatchBody<'r>,
    /// Who asks.
    pub client: Client,
    /// When the client gets 504, on `CLOCK_MONOTONIC`; 0 while a body streams.
    pub deadline_ns: u64,
    /// Ask the worker for its times.
    pub wants_times: bool,
    /// The worker may take up the protocol that the client offers.
    pub offers_upgrade: bool,
}

/// Where the body goes that [`write`] has not written.
#[derive(Clone, Copy, Debug)]
pub struct BodyPlace {
    /// From the arena's start.
    pub offset: u32,
    /// Size of the ring of a body that streams; else what waits in the socket.
    pub bytes: u32,
}

/// Bytes of a body that fit an arena beside any head of `head_bytes`.
/// `gives_fields` if the hub may add some.
pub fn body_room(
    arena_bytes: u32,
    head_bytes: usize,
    field_count: usize,
    gives_fields: bool,
) -> usize {
    debug_assert!(head_bytes <= HEAD_BYTES_MAX);
    let params_bytes = slotway_shm_proto::limits::ROUTE_PARAM_COUNT_MAX * size_of::<Span>();
    // Decoded parameters are never longer than the head they came from.
    let overhead =
        2 * head_bytes + field_count * size_of::<FieldEntry>() + params_bytes + 3 * ALIGN as usize;
    let given_bytes = if gives_fields {
        GIVEN_FIELDS_BYTES_MAX
    } else {
        0
    };
    let overhead = overhead + given_bytes;
    arena_bytes as usize - overhead.min(arena_bytes as usize)
}

const ALIGN: u32 = 8;

/// Writes head and arena. The slot can be submitted once a body that is known has
/// been received whole. Returns the place of what is missing of the body.
/// `scratch` is only for re-use of its memory.
pub fn write(
    request: &Request<'_>,
    exchange: &Exchange,
    scratch: &mut Vec<u8>,
) -> Result<BodyPlace, HeadError> {
    let head = request.head;
    exchange.write_arena(0, request.head_bytes);
    for entry in &head.dropped {
        for span in [entry.name, entry.value] {
            scratch.clear();
            scratch.resize(span.bytes as usize, 0);
            exchange.write_arena(span.offset, scratch);
        }
    }

    let fields_offset = (request.head_bytes.len() as u32).next_multiple_of(ALIGN);
    exchange.write_arena(fields_offset, layout::as_bytes(&head.fields));
    let given_offset = fields_offset + (head.fields.len() * size_of::<FieldEntry>()) as u32;
    let params_offset = given_offset + (request.given.len() * size_of::<FieldEntry>()) as u32;
    let text_offset = params_offset + (request.params.len() * size_of::<Span>()) as u32;
    let text_bytes = write_params(request, exchange, params_offset, text_offset, scratch)?;
    let end = write_given(request, exchange, given_offset, text_offset + text_bytes);
    let body_offset = end.next_multiple_of(ALIGN);

    let mut trailers_span = Span::default();
    let (body_ring_bytes, body_bytes) = match request.body {
        DispatchBody::Whole {
            here,
            waiting_bytes,
            trailers,
        } => {
            exchange.write_arena(body_offset, here);
            if !trailers.is_empty() {
                trailers_span = Span {
                    offset: body_offset + here.len() as u32,
                    bytes: trailers.len() as u32,
                };
                exchange.write_arena(trailers_span.offset, trailers);
            }
            (0, here.len() as u64 + u64::from(waiting_bytes))
        }
        DispatchBody::Stream { length, .. } => (
            exchange.arena_bytes() - body_offset,
            length.unwrap_or(BODY_BYTES_UNKNOWN),
        ),
    };
    exchange.write_head(&SlotHead {
        generation: exchange.generation(),
        route_index: request.route_index,
        method: head.method.map_or(0, |method| method as u32),
        flags: flags_of(request),
        target: head.target,
        path: head.path,
        query: head.query.unwrap_or_default(),
        fields_offset,
        field_count: (head.fields.len() + request.given.len()) as u32,
        params_offset,
        param_count: request.params.len() as u32,
        body_offset,
        body_ring_bytes,
        body_bytes,
        deadline_ns: request.deadline_ns,
        peer_address: peer_address(request.client.peer),
        peer_port: match request.client.peer {
            Peer::Tcp(address) => u32::from(address.port()),
            Peer::Unix => 0,
        },
        method_token: match head.method {
            Some(Method::Other) => head.method_token,
            _ => Span::default(),
        },
        trailers: trailers_span,
        reserved: [0; 3],
    });
    Ok(place_of(request.body, body_offset, body_ring_bytes))
}

/// Where the body goes that has not been written.
fn place_of(body: DispatchBody<'_>, body_offset: u32, body_ring_bytes: u32) -> BodyPlace {
    match body {
        DispatchBody::Whole {
            here,
            waiting_bytes,
            ..
        } => BodyPlace {
            offset: body_offset + here.len() as u32,
            bytes: waiting_bytes,
        },
        DispatchBody::Stream { .. } => BodyPlace {
            offset: body_offset,
            bytes: body_ring_bytes,
        },
    }
}

fn flags_of(request: &Request<'_>) -> u32 {
    let flags = [
        (request.head.query.is_some(), request_flags::HAS_QUERY),
        (request.wants_times, request_flags::WANTS_TIMES),
        (request.head.http_1_0, request_flags::HTTP_1_0),
        (request.client.is_https, request_flags::HTTPS),
        (request.offers_upgrade, request_flags::UPGRADES),
        (
            request.head.expects_continue && matches!(request.body, DispatchBody::Stream { .. }),
            request_flags::EXPECTS_CONTINUE,
        ),
    ];
    flags
        .into_iter()
        .fold(0, |all, (is_set, flag)| all | if is_set { flag } else { 0 })
}

/// Clients on a Unix socket are written as the unspecified address.
fn peer_address(peer: Peer) -> [u8; 16] {
    match peer {
        Peer::Tcp(SocketAddr::V4(address)) => address.ip().to_ipv6_mapped().octets(),
        Peer::Tcp(SocketAddr::V6(address)) => address.ip().octets(),
        Peer::Unix => [0; 16],
    }
}

/// Writes the entries and the texts of the fields that the hub gives the request. Returns where
/// the texts end.
fn write_given(
    request: &Request<'_>,
    exchange: &Exchange,
    mut entry_offset: u32,
    mut text_offset: u32,
) -> u32 {
    for (name, value) in request.given {
        let [name, value] = [name.as_bytes(), value].map(|text| {
            exchange.write_arena(text_offset, text);
            let span = Span {
                offset: text_offset,
                bytes: text.len() as u32,
            };
            text_offset += span.bytes;
            span
        });
        let entry = FieldEntry { name, value };
        exchange.write_arena(entry_offset, layout::as_bytes(std::slice::from_ref(&entry)));
        entry_offset += size_of::<FieldEntry>() as u32;
    }
    text_offset
}

/// Writes the spans of the parameters, and the text of those that had to be
/// decoded; the others point into the head. Returns the bytes of text.
fn write_params(
    request: &Request<'_>,
    exchange: &Exchange,
    params_offset: u32,
    text_offset: u32,
    scratch: &mut Vec<u8>,
) -> Result<u32, HeadError> {
    scratch.clear();
    let path_offset = request.head.path.offset;
    for (index, own) in request.params.spans().enumerate() {
        let start = scratch.len() as u32;
        let raw = Span {
            offset: path_offset + own.offset,
            bytes: own.bytes,
        };
        let is_decoded =
            !request.raw_params && percent_decode(bytes_of(request.head_bytes, raw), scratch)?;
        let span = if is_decoded {
            Span {
                offset: text_offset + start,
                bytes: scratch.len() as u32 - start,
            }
        } else {
            raw
        };
        let place = params_offset + (index * size_of::<Span>()) as u32;
        exchange.write_arena(place, layout::as_bytes(std::slice::from_ref(&span)));
    }
    exchange.write_arena(text_offset, scratch);
    Ok(scratch.len() as u32)
}
