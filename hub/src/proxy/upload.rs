//! A request body on its way from the socket into a slot's ring.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use slotway_net::Hangup;
use slotway_shm_proto::{BodyEnd, ByteRing};

use super::fill::BodyPlace;
use super::outcome::{self, Awaited};
use crate::clock;
use crate::http::encode;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::slot::Event;
use crate::limits::{READ_BUFFER_BYTES, STREAM_START_BYTES};
use crate::reactor::deadline::{BodyDeadline, Wait};
use crate::wire::body::{self, BodySource};
use crate::wire::bytes::PendingRead;
use crate::wire::{Call, EarlyEnd, Wire};

/// How an upload ended, when the worker is still to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadEnd {
    /// The worker has, or will find, all of it.
    Complete,
    /// The worker has responded, or begins to, before the body had come.
    RespondedEarly,
}

/// What one step of moving bytes found.
struct Step {
    /// Bytes put into the ring.
    moved: u32,
    /// Those of them that came straight from the socket.
    received: u32,
    /// There is room left, and no input.
    needs_input: bool,
    /// That was all of the body.
    done: bool,
}

/// What an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: all of it has been moved.
    Nothing,
    /// Another look: bytes have come from the socket, and there may be more.
    ALook,
    /// The client.
    Input,
    /// The worker, which has to make room.
    Room,
}

/// A body that moves from the socket into its slot's ring.
pub struct Upload {
    offset: u32,
    ring: ByteRing,
    produced: u32,
    source: BodySource,
    deadline: BodyDeadline,
    /// That of its route.
    timeout_ms: u64,
    /// How long both sides may be silent, if the client may wait for the handler: it has paused.
    silence_ms: Option<u64>,
    /// The client sends nothing before it is told to.
    expects_continue: bool,
}

impl Upload {
    /// One of which nothing has been moved.
    pub fn new(place: BodyPlace, source: BodySource, call: &Call) -> Self {
        Self {
            offset: place.offset,
            ring: ByteRing::new(place.bytes),
            produced: 0,
            source,
            deadline: BodyDeadline::start(),
            timeout_ms: call.timeout_ms.into(),
            silence_ms: None,
            expects_continue: call.head.expects_continue,
        }
    }

    /// One whose client has paused, and may wait for the handler as well as the handler for it. So
    /// both have the time of the one that may take longer.
    pub fn of_pausing_client(mut self, wire: &Wire, exchange: &Exchange) -> Self {
        let silence_ms = self.timeout_ms.max(wire.reactor.deadlines().body_ms);
        self.silence_ms = Some(silence_ms);
        exchange.set_deadline(clock::coarse_ms() + silence_ms);
        self
    }

    /// How long the worker has from now on, in milliseconds, while some of the body is missing.
    pub fn time_ms(&self) -> u64 {
        self.silence_ms.unwrap_or(self.timeout_ms)
    }

    /// When the client has been too slow.
    fn deadline_ms(&self, wire: &Wire) -> u64 {
        if self.expects_continue {
            // It has not been asked to send.
            return u64::MAX;
        }
        let deadlines = wire.reactor.deadlines();
        match self.silence_ms {
            Some(silence_ms) => self.deadline.after_grace_ms(silence_ms, &deadlines),
            None => self.deadline.at_ms(&deadlines),
        }
    }

    /// Whether the client sends it without being told more.
    pub fn is_wanted(&self) -> bool {
        !self.expects_continue
    }

    /// Whether neither the client nor the worker can be said to be late, if one is.
    pub fn may_wait_for_each_other(&self) -> bool {
        self.silence_ms.is_some()
    }

    /// Moves what is here, as far as there is room. Bytes that move give both sides more time.
    pub fn advance(&mut self, wire: &mut Wire, exchange: &Exchange) -> Result<Needs, EarlyEnd> {
        let step = move_bytes(wire, exchange, self)?;
        self.produced = self.ring.advance(self.produced, step.moved);
        self.deadline.add(step.received as usize);
        wire.state.add_received(u64::from(step.received));
        if step.moved > 0 || step.done {
            let time_ms = if step.done {
                self.timeout_ms
            } else {
                self.time_ms()
            };
            exchange.set_deadline(clock::coarse_ms() + time_ms);
            let end = step.done.then_some(BodyEnd::Complete);
            if exchange.publish_upload(self.produced, end) {
                wire.reactor.lanes.mark(exchange.lane());
            }
        }
        Ok(if step.done {
            Needs::Nothing
        } else if step.received > 0 {
            Needs::ALook
        } else if step.needs_input {
            Needs::Input
        } else {
            Needs::Room
        })
    }

    /// The client has been busy otherwise, by what the worker sends it.
    pub fn forgive_all(&mut self) {
        self.deadline = BodyDeadline::start();
    }
}

/// Moves the body into the ring as it arrives and as the worker makes room.
pub async fn run(
    wire: &mut Wire,
    exchange: &Exchange,
    upload: &mut Upload,
) -> Result<UploadEnd, EarlyEnd> {
    if upload.expects_continue {
        if !is_wanted(wire, exchange).await? {
            return Ok(UploadEnd::RespondedEarly);
        }
        upload.expects_continue = false;
        upload.forgive_all();
        exchange.set_deadline(clock::coarse_ms() + upload.timeout_ms);
    }
    // What an engine has read ahead gives its client time as well, beyond what any reads.
    let ahead = wire.input.len().saturating_sub(STREAM_START_BYTES);
    upload.deadline.add(ahead);
    loop {
        match upload.advance(wire, exchange)? {
            Needs::Nothing => return Ok(UploadEnd::Complete),
            // The bell is rung, and others have their turn.
            Needs::ALook => tokio::task::yield_now().await,
            Needs::Input => {
                if read_while_waiting(wire, exchange, upload).await? {
                    return Ok(UploadEnd::RespondedEarly);
                }
            }
            Needs::Room => {
                let start_ms = clock::coarse_ms();
                if has_responded(wire, exchange).await? {
                    return Ok(UploadEnd::RespondedEarly);
                }
                upload.deadline.forgive(clock::coarse_ms() - start_ms);
            }
        }
    }
}

/// Waits until the worker reads the body, and tells the client to send it. False: the worker has
/// responded, or begins to.
async fn is_wanted(wire: &mut Wire, exchange: &Exchange) -> Result<bool, EarlyEnd> {
    while !exchange.wants_body() {
        if has_responded(wire, exchange).await? {
            return Ok(false);
        }
    }
    // One that did not wait does not need it.
    if wire.input.is_empty() && wire.state.stream().waiting_bytes() == 0 {
        wire.output.extend_from_slice(encode::CONTINUE);
        wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
    }
    Ok(true)
}

fn move_bytes(wire: &mut Wire, exchange: &Exchange, upload: &mut Upload) -> Result<Step, EarlyEnd> {
    let Upload {
        offset,
        ring,
        produced,
        source,
        ..
    } = upload;
    let (offset, ring, produced) = (*offset, *ring, *produced);
    let room = exchange
        .upload_room(ring, produced)
        .map_err(|violation| outcome::violated(&wire.reactor.lanes, exchange, violation))?;
    match source {
        BodySource::Length { left } => {
            let take = (*left).min(u64::from(room)).min(wire.input.len() as u64) as usize;
            put(exchange, offset, ring, produced, &wire.input[..take]);
            wire.consume_input(take);
            *left -= take as u64;
            // Nothing may overtake a read that is under way.
            let most = match wire.pending_read {
                Some(_) => 0,
                None => (*left).min(u64::from(room - take as u32)) as u32,
            };
            let start = ring.advance(produced, take as u32);
            let received = receive_into_ring(wire, exchange, offset, ring, start, most)?;
            *left -= u64::from(received);
            let moved = take as u32 + received;
            let done = *left == 0;
            let needs_input = !done && moved < room;
            Ok(Step {
                moved,
                received,
                needs_input,
                done,
            })
        }
        BodySource::Chunked { decoder, ready } => {
            let left = room as usize - ready.len().min(room as usize);
            let progress = decoder
                .decode(&wire.input, ready, left)
                .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
            wire.consume_input(progress.consumed);
            let take = ready.len().min(room as usize);
            put(exchange, offset, ring, produced, &ready[..take]);
            ready.drain(..take);
            let mut moved = take as u32;
            let is_over = progress.done && ready.is_empty();
            let trailers = decoder.trailers();
            let done = is_over && trailers.len() <= (room - moved) as usize;
            if done && !trailers.is_empty() {
                exchange.publish_trailers(trailers.len() as u32);
                put(
                    exchange,
                    offset,
                    ring,
                    ring.advance(produced, moved),
                    trailers,
                );
                moved += trailers.len() as u32;
            }
            Ok(Step {
                moved,
                received: 0,
                needs_input: !is_over && take < room as usize,
                done,
            })
        }
    }
}

/// Receives at most `bytes` of what waits in the socket straight into the ring.
fn receive_into_ring(
    wire: &Wire,
    exchange: &Exchange,
    offset: u32,
    ring: ByteRing,
    produced: u32,
    bytes: u32,
) -> Result<u32, EarlyEnd> {
    let mut received = 0;
    for (start, count) in ring.pieces(produced, bytes) {
        if count == 0 {
            break;
        }
        match exchange.receive_into_arena(wire.state.stream().as_fd(), offset + start, count) {
            Ok(0) => return Err(EarlyEnd::ClientGone),
            Ok(piece) => {
                wire.recorder().received(piece);
                received += piece as u32;
                if piece < count as usize {
                    break;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => break,
            Err(_) => return Err(EarlyEnd::ClientGone),
        }
    }
    Ok(received)
}

/// Reads from the client, but listens to the worker too. Says whether the
/// worker has answered; the read then goes on in `pending_read`.
async fn read_while_waiting(
    wire: &mut Wire,
    exchange: &Exchange,
    upload: &mut Upload,
) -> Result<bool, EarlyEnd> {
    loop {
        match next(wire, exchange, upload).await? {
            Next::Read => return Ok(false),
            Next::Worker(Awaited::Event(Event::Responded)) => return Ok(true),
            Next::Worker(Awaited::Event(Event::Changed)) if exchange.is_streaming() => {
                return Ok(true);
            }
            // The read says too that the client left, after what it still finds.
            Next::Worker(Awaited::Event(Event::Changed) | Awaited::ClientLeft(_)) => {}
            // The ring has room: it is the client who is late, unless it may wait for the worker.
            Next::Worker(Awaited::Event(Event::TimedOut)) => {
                return Err(late(wire, exchange, upload).into());
            }
            Next::Worker(Awaited::WorkerGone) => {
                return Err(outcome::worker_gone(&wire.reactor.lanes).into());
            }
        }
    }
}

/// What came first.
pub enum Next {
    /// The client has sent something, which is in the input.
    Read,
    /// What the worker has done; the read goes on in `pending_read`.
    Worker(Awaited),
}

/// Waits for the client, which has something to send, and for the worker.
pub async fn next(
    wire: &mut Wire,
    exchange: &Exchange,
    upload: &mut Upload,
) -> Result<Next, EarlyEnd> {
    wire.state.wait_until(Wait::Body, upload.deadline_ms(wire));
    let mut read = match wire.pending_read.take() {
        Some(read) => read,
        None => start_read(wire),
    };
    tokio::select! {
        biased;
        (result, buffer) = &mut read => {
            // It may have been begun with a buffer of its own.
            wire.append_input(buffer);
            wire.state.wait_for_nothing();
            match result {
                Ok(bytes @ 1..) => {
                    wire.recorder().received(bytes);
                    upload.deadline.add(bytes);
                    wire.state.add_received(bytes as u64);
                    Ok(Next::Read)
                }
                _ if wire.state.was_slow() => {
                    wire.note_if_slow();
                    Err(body::too_slow().into())
                }
                _ if wire.state.is_overdue() => Err(late(wire, exchange, upload).into()),
                Ok(0) | Err(_) => Err(EarlyEnd::ClientGone),
            }
        }
        awaited = outcome::next(exchange, &wire.state) => {
            wire.state.wait_for_nothing();
            wire.pending_read = Some(read);
            Ok(Next::Worker(awaited))
        }
    }
}

fn late(wire: &Wire, exchange: &Exchange, upload: &Upload) -> LocalReply {
    if upload.may_wait_for_each_other() {
        outcome::both_silent(&wire.reactor.lanes, exchange)
    } else {
        body::late()
    }
}

fn start_read(wire: &mut Wire) -> PendingRead {
    let mut buffer = std::mem::take(&mut wire.input);
    // What comes with it and behind it is received into the ring.
    buffer.reserve(READ_BUFFER_BYTES);
    let state = Rc::clone(&wire.state);
    Box::pin(async move { state.stream().read(buffer).await })
}

/// Waits until the worker has done something. Says whether it has answered.
async fn has_responded(wire: &Wire, exchange: &Exchange) -> Result<bool, EarlyEnd> {
    loop {
        return match outcome::next(exchange, &wire.state).await {
            Awaited::Event(Event::Responded) => Ok(true),
            Awaited::Event(Event::Changed) => Ok(exchange.is_streaming()),
            Awaited::Event(Event::TimedOut) => {
                Err(outcome::timed_out(&wire.reactor.lanes, exchange).into())
            }
            Awaited::WorkerGone => Err(outcome::worker_gone(&wire.reactor.lanes).into()),
            Awaited::ClientLeft(Hangup::Gone) => Err(EarlyEnd::ClientGone),
            // The rest of the body waits in the socket.
            Awaited::ClientLeft(Hangup::Half) => continue,
        };
    }
}

fn put(exchange: &Exchange, offset: u32, ring: ByteRing, produced: u32, bytes: &[u8]) {
    let mut rest = bytes;
    for (start, count) in ring.pieces(produced, bytes.len() as u32) {
        let (piece, tail) = rest.split_at(count as usize);
        exchange.write_arena(offset + start, piece);
        rest = tail;
    }
}
