//! The head of a worker's response, checked and written for the client.

use slotway_shm_proto::Method;
use slotway_shm_proto::field::SWITCHING_PROTOCOLS;

use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::field_section::{self, FieldSection};
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::{ArenaPart, ResponseBody, WorkerResponse};
use crate::wire::{AfterRequest, Call, Wire};

fn framing_of(call: &Call, status: u16, body: &ResponseBody) -> BodyFraming {
    let length = match body {
        ResponseBody::Whole(part) => Some(u64::from(part.bytes)),
        ResponseBody::File(bytes) => Some(*bytes),
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
pub fn encode(
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
