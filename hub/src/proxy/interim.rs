//! Responses before the final one: 103 (RFC 8297), by which a worker says early what a page needs.

use slotway_shm_proto::layout::Interim;
use slotway_shm_proto::limits::INTERIM_BYTES_MAX;

use crate::http::field_section;
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::ArenaPart;
use crate::wire::{Call, EarlyEnd, Wire};

const EARLY_HINTS: u16 = 103;

/// Sends one, unless the client would not understand it, it is not valid, or the client has not taken
/// the last one yet: nobody waits for a client here, since the slot is held.
pub fn send(
    wire: &mut Wire,
    call: &Call,
    exchange: &Exchange,
    interim: Interim,
) -> Result<(), EarlyEnd> {
    let fields = ArenaPart {
        is_requests: false,
        offset: exchange.arena_bytes() - INTERIM_BYTES_MAX,
        bytes: interim.fields_bytes.into(),
    };
    let start = wire.output.len();
    wire.output
        .extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
    let fields_start = wire.output.len();
    exchange.append_from_arena(fields, &mut wire.output);
    if exchange.publish_interim_taken(interim.number) {
        wire.reactor.lanes.mark(exchange.lane());
    }
    // Judged after the copy: nobody can change these bytes any more.
    let is_behind = start > 0;
    let checked = field_section::check(&wire.output[fields_start..], EARLY_HINTS);
    match checked {
        Ok(section) if !section.closes && !call.head.http_1_0 && !is_behind => {
            wire.output.extend_from_slice(b"\r\n");
            // What does not fit goes before the response.
            wire.send_what_fits().map_err(|_| EarlyEnd::ClientGone)
        }
        Ok(_) => {
            wire.output.truncate(start);
            Ok(())
        }
        Err(error) => {
            wire.output.truncate(start);
            let worker = &exchange.lane().session.name;
            tracing::warn!(worker, "an interim response was dropped: {error}");
            Ok(())
        }
    }
}
