//! A response's body on its way from a slot's ring to the socket.

use std::os::fd::AsFd;

use rustix::io::Errno;
use slotway_shm_proto::{BodyEnd, ByteRing, trailers};

use super::outcome::{self, Awaited};
use super::upload::{self, Needs, Next, Upload};
use super::wait;
use crate::clock;
use crate::http::encode;
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::ArenaPart;
use crate::lanes::slot::Event;
use crate::limits::{DIRECT_SEND_BYTES_MIN, READ_STEP_BYTES};
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

const CRLF: &[u8] = b"\r\n";

/// A body under way.
pub struct Download {
    /// The ring's place, from the arena's start.
    pub offset: u32,
    /// The ring.
    pub ring: ByteRing,
    /// What is still to come, where the worker said how long the body is.
    pub left: Option<u64>,
    /// Whether the client is told the end by chunks.
    pub chunked: bool,
}

/// Sends the head that is in the output and then the body as the worker
/// produces it. False: the body did not come whole, and since the head is
/// out, the connection must be reset.
pub async fn run(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    mut download: Download,
    mut upload: Option<Box<Upload>>,
) -> Result<bool, EarlyEnd> {
    let ring = download.ring;
    let mut consumed = 0;
    if let Some(upload) = &mut upload {
        // What the worker took until now is not the client's time.
        upload.forgive_all();
    }
    loop {
        let Some(needs) = go_on(wire, call, &exchange, &mut upload)? else {
            return Ok(false);
        };
        let ready = match exchange.download_ready(ring, consumed) {
            Ok(found) => found,
            Err(violation) => {
                let lanes = &wire.reactor.lanes;
                lanes.report_violation(exchange.lane(), violation);
                return Ok(false);
            }
        };
        let most = download.left.unwrap_or(u64::MAX);
        let end = ready.end;
        let take = u64::from(ready.body_bytes)
            .min(most)
            .min(READ_STEP_BYTES as u64) as u32;
        if take > 0 {
            send_piece(wire, &exchange, &mut download, consumed, take).await?;
            // The time that a slow client took is not the worker's.
            let time_ms = upload.as_ref().map(|upload| upload.time_ms());
            let time_ms = time_ms.unwrap_or(call.timeout_ms.into());
            exchange.set_deadline(clock::coarse_ms() + time_ms);
            if download.left.is_none() {
                // It may last for as long as its client stays.
                call.count(wire, AfterRequest::Next);
            }
            consumed = ring.advance(consumed, take);
            if let Some(upload) = &mut upload {
                upload.forgive_all();
            }
            continue;
        }
        let is_whole = end == Some(BodyEnd::Complete)
            && download.left.unwrap_or(0) == 0
            && ready.body_bytes == 0;
        if is_whole && download.chunked {
            end_chunks(
                wire,
                call,
                &exchange,
                &download,
                (consumed, ready.trailers_bytes),
            );
        }
        if !wire.output.is_empty() {
            wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
        }
        if download.left.is_none() && end.is_none() {
            // Its head has gone, and what follows may take long to come.
            call.count(wire, AfterRequest::Next);
        }
        if end.is_some() {
            return Ok(finish(wire, exchange, &download, is_whole));
        }
        if !wait_and_go_on(wire, call, &exchange, needs, &mut upload).await? {
            return Ok(false);
        }
    }
}

/// Until there is more to do; false: the response must be cut off.
async fn wait_and_go_on(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &Exchange,
    needs: Needs,
    upload: &mut Option<Box<Upload>>,
) -> Result<bool, EarlyEnd> {
    let awaited = match wait(wire, exchange, needs, upload).await {
        Ok(Next::Read) => return Ok(true),
        Ok(Next::Worker(awaited)) => awaited,
        Err(end) => return cut_off(end),
    };
    let may_wait_for_each_other = needs == Needs::Input
        && upload
            .as_ref()
            .is_some_and(|upload| upload.may_wait_for_each_other());
    if may_wait_for_each_other && matches!(awaited, Awaited::Event(Event::TimedOut)) {
        outcome::both_silent(&wire.reactor.lanes, exchange);
        return Ok(false);
    }
    goes_on(wire, call, exchange, awaited)
}

/// Until the client or the worker has moved.
async fn wait(
    wire: &mut Wire,
    exchange: &Exchange,
    needs: Needs,
    upload: &mut Option<Box<Upload>>,
) -> Result<Next, EarlyEnd> {
    match (needs, upload) {
        (Needs::ALook, _) => {
            tokio::task::yield_now().await;
            Ok(Next::Read)
        }
        (Needs::Input, Some(upload)) => upload::next(wire, exchange, upload).await,
        (_, waiting) => {
            let awaited = outcome::next(exchange, &wire.state).await;
            // The worker had to make room, or there is nothing more to come.
            if let Some(upload) = waiting {
                upload.forgive_all();
            }
            Ok(Next::Worker(awaited))
        }
    }
}

/// Sends what is ready, and lets the worker refill the ring meanwhile.
async fn send_piece(
    wire: &mut Wire,
    exchange: &Exchange,
    download: &mut Download,
    consumed: u32,
    take: u32,
) -> Result<(), EarlyEnd> {
    if download.chunked {
        encode::chunk_size(&mut wire.output, take);
    }
    for (start, bytes) in download.ring.pieces(consumed, take) {
        let piece = ArenaPart {
            is_requests: false,
            offset: download.offset + start,
            bytes,
        };
        send_directly(wire, exchange, piece)?;
    }
    download.left = download.left.map(|left| left - u64::from(take));
    if download.chunked {
        wire.output.extend_from_slice(CRLF);
    }
    if exchange.publish_download(download.ring.advance(consumed, take)) {
        wire.reactor.lanes.mark(exchange.lane());
    }
    if wire.output.len() <= CRLF.len() {
        // The end of a chunk goes with what follows it. The bell is
        // rung meanwhile, and others have their turn.
        tokio::task::yield_now().await;
    } else {
        wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
    }
    Ok(())
}

/// Writes the last chunk, with the trailers that begin at a cursor, if the client takes any (RFC 9110
/// section 6.5.1).
fn end_chunks(
    wire: &mut Wire,
    call: &Call,
    exchange: &Exchange,
    download: &Download,
    (consumed, trailers_bytes): (u32, u32),
) {
    if trailers_bytes == 0 || !call.head.takes_trailers {
        return wire.output.extend_from_slice(encode::LAST_CHUNK);
    }
    let mut section = Vec::new();
    for (start, bytes) in download.ring.pieces(consumed, trailers_bytes) {
        let piece = ArenaPart {
            is_requests: false,
            offset: download.offset + start,
            bytes,
        };
        exchange.append_from_arena(piece, &mut section);
    }
    // Judged after the copy: nobody can change these bytes any more.
    let mut trailers = Vec::new();
    for (name, value) in trailers::fields(&section) {
        // What is no field, or none that may be behind a body, is dropped.
        let _ = trailers::append(&mut trailers, name.as_bytes(), value);
    }
    wire.output.extend_from_slice(b"0\r\n");
    wire.output.extend_from_slice(&trailers);
    wire.output.extend_from_slice(CRLF);
}

/// The worker has ended the body. Says whether it was whole.
fn finish(wire: &Wire, exchange: Exchange, download: &Download, is_whole: bool) -> bool {
    if is_whole {
        wire.reactor.lanes.finish(exchange);
    } else {
        // Shorter or longer than its length, or given up.
        let worker = &exchange.lane().session.name;
        tracing::warn!(
            worker,
            missing = download.left.unwrap_or(0),
            "the worker ended a streamed response early, or its length was not the one it gave"
        );
    }
    is_whole
}

/// Moves what has come of the request's body. `None`: the response must be cut off.
fn go_on(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &Exchange,
    upload: &mut Option<Box<Upload>>,
) -> Result<Option<Needs>, EarlyEnd> {
    let Some(under_way) = upload else {
        return Ok(Some(Needs::Nothing));
    };
    match under_way.advance(wire, exchange) {
        Ok(Needs::Nothing) => {
            *upload = None;
            call.note_upload_complete();
            Ok(Some(Needs::Nothing))
        }
        Ok(needs) => Ok(Some(needs)),
        Err(end) => cut_off(end).map(|_| None),
    }
}

/// The request's body has failed while its response is on the way: a response of the hub's would
/// come in the midst of that one.
fn cut_off(end: EarlyEnd) -> Result<bool, EarlyEnd> {
    match end {
        EarlyEnd::ClientGone => Err(EarlyEnd::ClientGone),
        EarlyEnd::Reply(reply) => {
            let why = String::from_utf8_lossy(&reply.body);
            tracing::warn!(
                "a streamed response was cut off, since its request failed: {}",
                why.trim()
            );
            Ok(false)
        }
    }
}

/// Whether something may still come of the worker.
fn goes_on(
    wire: &Wire,
    call: &mut Call,
    exchange: &Exchange,
    awaited: Awaited,
) -> Result<bool, EarlyEnd> {
    match awaited {
        Awaited::Event(Event::Changed | Event::Responded) => {}
        // There is no way to say it to the client any more.
        Awaited::Event(Event::TimedOut) => {
            outcome::stream_timed_out(&wire.reactor.lanes, exchange);
            return Ok(false);
        }
        Awaited::WorkerGone => {
            outcome::worker_gone(&wire.reactor.lanes);
            return Ok(false);
        }
        // If that cannot be known, the next piece will show.
        Awaited::ClientLeft(hangup) => {
            wait::after_hangup(wire, call, hangup)?;
            wait::notify_if_half_closed(wire, call, exchange);
        }
    }
    Ok(true)
}

/// Puts a part of the arena behind what is in the output, unless it is large:
/// then both are sent at once, which spares a copy, and only what the socket
/// does not take is left in the output. True: nothing is.
pub fn send_directly(
    wire: &mut Wire,
    exchange: &Exchange,
    part: ArenaPart,
) -> Result<bool, EarlyEnd> {
    let mut sent = 0;
    if part.bytes >= DIRECT_SEND_BYTES_MIN {
        let head = &wire.output;
        match exchange.send_from_arena(wire.state.stream().as_fd(), head, part) {
            Ok(count) => {
                wire.state.stream().note_sent(count);
                wire.recorder().sent(count);
                sent = count;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Err(EarlyEnd::ClientGone),
        }
    }
    let of_head = sent.min(wire.output.len());
    let of_body = (sent - of_head) as u32;
    wire.output.drain(..of_head);
    let rest = ArenaPart {
        offset: part.offset + of_body,
        bytes: part.bytes - of_body,
        ..part
    };
    exchange.append_from_arena(rest, &mut wire.output);
    Ok(wire.output.is_empty())
}
