//! A request body of a known length as far as it is read before its request is dispatched: all of it
//! if it fits an arena, else as much as shows that the client means to send it.

use std::io;
use std::time::Duration;

use super::bytes::Wire;
use super::call::{Call, EarlyEnd};
use crate::http::chunked::ChunkedDecoder;
use crate::http::encode;
use crate::http::framing::Framing;
use crate::http::local_reply::LocalReply;
use crate::limits::{READ_STEP_BYTES, STREAM_START_BYTES};
use crate::reactor::deadline::{BodyDeadline, Wait};

/// A body that has been read, as far as it was.
pub enum Body {
    /// In the input behind the head, except for the end of it that waits in the
    /// socket.
    Known {
        /// Its length.
        bytes: usize,
        /// So much of it waits in the socket.
        waiting_bytes: usize,
    },
    /// More than fits an arena.
    Streams(BodySource),
}

/// Where the bytes of a body that streams come from.
#[derive(Debug)]
pub enum BodySource {
    /// Content-Length.
    Length {
        /// Bytes not yet handed on.
        left: u64,
    },
    /// Chunked.
    Chunked {
        /// Its state.
        decoder: ChunkedDecoder,
        /// Decoded and not yet handed on.
        ready: Vec<u8>,
    },
}

impl BodySource {
    /// Length of the body if the client said it.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length { left } => Some(*left),
            Self::Chunked { .. } => None,
        }
    }
}

/// A body that its client holds back until it is wanted, which is for the worker to say; `None` for
/// another. One that is longer than `bytes_max` is refused.
pub async fn held_back(
    wire: &mut Wire,
    call: &Call,
    bytes_max: u64,
) -> Result<Option<BodySource>, EarlyEnd> {
    let has_begun = wire.input.len() > call.head.bytes || wire.state.stream().waiting_bytes() > 0;
    if !call.head.expects_continue || has_begun {
        return Ok(None);
    }
    Ok(Some(match call.head.framing {
        Framing::Length(length) if length > bytes_max => return Err(too_large(bytes_max).into()),
        Framing::Length(length) => {
            hold_back(wire, &mut BodyDeadline::start()).await?;
            BodySource::Length { left: length }
        }
        Framing::Chunked => BodySource::Chunked {
            decoder: ChunkedDecoder::new(bytes_max),
            ready: Vec::new(),
        },
    }))
}

/// Reads a body of at most `room` bytes whole, or finds that it is longer.
/// One that is longer than `bytes_max` is refused.
pub async fn read(
    wire: &mut Wire,
    call: &mut Call,
    length: u64,
    room: usize,
    bytes_max: u64,
) -> Result<Body, EarlyEnd> {
    if length > bytes_max {
        return Err(too_large(bytes_max).into());
    }
    let mut deadline = BodyDeadline::start();
    let streams = length > room as u64;
    let wanted = if streams {
        room.min(STREAM_START_BYTES)
    } else {
        length as usize
    };
    let buffered = call.head.bytes + wanted;
    if ((wire.input.len() - call.head.bytes) as u64) < length {
        hold_back(wire, &mut deadline).await?;
    }
    // What has arrived need not go through the input.
    let waiting_bytes = loop {
        let missing = buffered.saturating_sub(wire.input.len());
        if missing == 0 || wire.state.stream().waiting_bytes() >= missing as u64 {
            break missing;
        }
        let has_begun = wire.input.len() > call.head.bytes;
        send_continue_if_expected(wire, call, has_begun).await?;
        read_step(wire, missing, &mut deadline).await?;
    };
    if streams {
        return Ok(Body::Streams(BodySource::Length { left: length }));
    }
    Ok(Body::Known {
        bytes: wanted,
        waiting_bytes,
    })
}

/// Leaves the rest of the body in the socket, from which it goes into its slot.
async fn hold_back(wire: &mut Wire, deadline: &mut BodyDeadline) -> Result<(), EarlyEnd> {
    let deadline_ms = deadline.at_ms(&wire.reactor.deadlines());
    wire.state.wait_until(Wait::Body, deadline_ms);
    wire.state.stream().hold_back().await;
    wire.state.wait_for_nothing();
    while wire.state.stream().is_ahead() {
        read_step(wire, 0, deadline).await?;
    }
    Ok(())
}

/// Reads more of a body; a client that is slower than it may be gets 408.
pub(super) async fn read_step(
    wire: &mut Wire,
    spare_bytes: usize,
    deadline: &mut BodyDeadline,
) -> Result<(), EarlyEnd> {
    let deadline_ms = deadline.at_ms(&wire.reactor.deadlines());
    wire.state.wait_until(Wait::Body, deadline_ms);
    let read = wire.read_input(spare_bytes).await;
    wire.state.wait_for_nothing();
    note_read(wire, &read, deadline)
}

/// Likewise, for so long; says whether anything has come.
pub(super) async fn read_step_within(
    wire: &mut Wire,
    time: Duration,
    deadline: &mut BodyDeadline,
) -> Result<bool, EarlyEnd> {
    let deadline_ms = deadline.at_ms(&wire.reactor.deadlines());
    wire.state.wait_until(Wait::Body, deadline_ms);
    let read = wire.read_input_within(READ_STEP_BYTES, time).await;
    wire.state.wait_for_nothing();
    read.map_or(Ok(false), |read| {
        note_read(wire, &read, deadline).map(|()| true)
    })
}

fn note_read(
    wire: &Wire,
    read: &io::Result<usize>,
    deadline: &mut BodyDeadline,
) -> Result<(), EarlyEnd> {
    match *read {
        Ok(bytes @ 1..) => {
            deadline.add(bytes);
            wire.state.add_received(bytes as u64);
            Ok(())
        }
        _ if wire.state.is_overdue() => Err(late().into()),
        Ok(0) | Err(_) => Err(EarlyEnd::ClientGone),
    }
}

pub(super) async fn send_continue_if_expected(
    wire: &mut Wire,
    call: &mut Call,
    body_has_begun: bool,
) -> Result<(), EarlyEnd> {
    if !std::mem::take(&mut call.head.expects_continue) || body_has_begun {
        return Ok(());
    }
    wire.output.extend_from_slice(encode::CONTINUE);
    wire.flush().await.map_err(|_| EarlyEnd::ClientGone)
}

/// 408.
pub fn too_slow() -> LocalReply {
    LocalReply::error(
        408,
        "the request body came too slowly while other requests waited for its slot",
    )
    .with("Retry-After", "1")
}

/// 408.
pub fn late() -> LocalReply {
    LocalReply::error(408, "the request body did not arrive in time")
}

/// 413.
pub fn too_large(bytes_max: u64) -> LocalReply {
    LocalReply::error(
        413,
        format!("the request body is larger than {bytes_max} bytes"),
    )
}
