//! What tells a request from all others: its id and its trace (`--request-id`,
//! `--trace-context`).

use slotway_shm_proto::layout::FieldEntry;

use crate::decimal::hex;
use crate::http::head::{bytes_of, value_in};
use crate::http::trace_context::{self, TRACEPARENT_BYTES};
use crate::limits::REQUEST_ID_BYTES_MAX;
use crate::wire::bytes::REQUEST_ID;
use crate::wire::{Call, Wire};

const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";

/// Gives a request what it lacks, as flags say. What its client sent of it stays if it is
/// sane, and is dropped if it is not.
pub fn give(wire: &Wire, call: &mut Call) {
    let flags = &wire.reactor.shared.config.logs;
    if flags.request_id {
        give_id(wire, call);
    }
    if flags.trace_context {
        give_trace(wire, call, flags.trace_sample);
    }
}

fn give_id(wire: &Wire, call: &mut Call) {
    let mut id = wire.state.request_id.borrow_mut();
    id.clear();
    let (sent, is_one) = only(wire, call, REQUEST_ID.as_bytes());
    if let Some(sane) = sent.filter(|id| is_one && is_sane(id)) {
        call.keeps_id = true;
        id.push_str(std::str::from_utf8(sane).unwrap_or_default());
        return;
    }
    call.keeps_id = false;
    if sent.is_some() {
        drop_field(wire, call, REQUEST_ID.as_bytes());
    }
    push_new_id(wire, &mut id);
}

/// Gives one to what is no request, for its response and the logs.
pub fn give_to_no_request(wire: &Wire) {
    if wire.reactor.shared.config.logs.request_id {
        push_new_id(wire, &mut wire.state.request_id.borrow_mut());
    }
}

fn push_new_id(wire: &Wire, id: &mut String) {
    let mut random = wire.reactor.random.borrow_mut();
    for _ in 0..2 {
        let digits = hex(random.u64(..));
        id.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
}

/// Whether an id can stand in logs and fields as it is.
fn is_sane(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

fn give_trace(wire: &Wire, call: &mut Call, sampled_share: f64) {
    let (first, is_one) = only(wire, call, TRACEPARENT);
    let is_valid = is_one && first.and_then(trace_context::trace_id).is_some();
    if is_valid {
        call.traceparent = None;
        return;
    }
    if first.is_some() {
        drop_field(wire, call, TRACEPARENT);
    }
    // It belongs to a trace that has ended here.
    if value_in(&call.head.fields, &wire.input, TRACESTATE).is_some() {
        drop_field(wire, call, TRACESTATE);
    }
    let mut random = wire.reactor.random.borrow_mut();
    let is_sampled = random.f64() < sampled_share;
    let value = trace_context::begin(|| random.u64(..), is_sampled);
    let made = call
        .traceparent
        .get_or_insert_with(|| Box::new([0; TRACEPARENT_BYTES]));
    **made = value;
}

/// The value of the first field of a name, and whether there is no other.
fn only<'w>(wire: &'w Wire, call: &Call, name: &[u8]) -> (Option<&'w [u8]>, bool) {
    let fields = call.head.fields.iter();
    let is_it = |field: &&FieldEntry| bytes_of(&wire.input, field.name).eq_ignore_ascii_case(name);
    let mut own = fields.filter(is_it);
    let first = own.next().map(|field| bytes_of(&wire.input, field.value));
    (first, own.next().is_none())
}

fn drop_field(wire: &Wire, call: &mut Call, name: &[u8]) {
    let is_other =
        |field: &FieldEntry| !bytes_of(&wire.input, field.name).eq_ignore_ascii_case(name);
    call.head.fields.retain(is_other);
}
