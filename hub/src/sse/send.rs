//! Sending an event stream: its head, and its pieces.

use std::sync::Arc;

use crate::events::feed::Feed;
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::wire::{AfterRequest, Call, Wire};

/// The fields of every event stream's head. nginx as a proxy in front would hold
/// events back but for the last one.
const STREAM_FIELDS: [(&str, &str); 3] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
];

/// Sends what is there, and returns the last id of it.
pub async fn send_events(
    wire: &mut Wire,
    call: &Call,
    feed: &Feed,
) -> std::io::Result<Option<Arc<str>>> {
    if feed.is_empty() {
        return Ok(None);
    }
    let mut last_id = None;
    send_piece(wire, call, |out| last_id = feed.take(out)).await?;
    Ok(last_id)
}

/// Sends the head of a stream.
pub async fn send_stream_head(wire: &mut Wire, call: &mut Call) -> std::io::Result<()> {
    let framing = if call.head.http_1_0 {
        BodyFraming::UntilClose
    } else {
        BodyFraming::Chunked
    };
    wire.start_response(200, framing, Persistence::Closes);
    for (name, value) in STREAM_FIELDS {
        encode::field(&mut wire.output, name, value);
    }
    wire.append_request_id(wire.output.len());
    call.append_cors_fields(wire, wire.output.len());
    encode::end_fields(&mut wire.output);
    wire.flush().await?;
    call.count(wire, AfterRequest::Close);
    give_buffer_back(wire);
    Ok(())
}

/// Sends a piece of the stream, as a chunk where there are chunks.
pub async fn send_piece(
    wire: &mut Wire,
    call: &Call,
    write: impl FnOnce(&mut Vec<u8>),
) -> std::io::Result<()> {
    wire.output = wire.reactor.buffers.take();
    let mut is_empty = true;
    let write = |out: &mut Vec<u8>| {
        let start = out.len();
        write(out);
        is_empty = out.len() == start;
    };
    if call.head.http_1_0 {
        write(&mut wire.output);
    } else {
        encode::chunk(&mut wire.output, write);
    }
    // An empty chunk would be the last; a feed that was cut has nothing any more.
    let sent = if is_empty { Ok(()) } else { wire.flush().await };
    give_buffer_back(wire);
    sent
}

/// A client that waits for events needs none.
fn give_buffer_back(wire: &mut Wire) {
    let buffer = std::mem::take(&mut wire.output);
    wire.reactor.buffers.put_back(buffer);
}
