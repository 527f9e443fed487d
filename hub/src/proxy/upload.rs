//! A request body on its way from the socket into a slot's ring.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use slotway_net::Hangup;
use slotway_shm_proto::{BodyEnd, ByteRing};

use crate::clock;
use crate::front::connection::{Connection, PendingRead};
use crate::front::request::Instead;
use crate::http::chunked::ChunkedDecoder;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::slot::Event;
use crate::limits::READ_BUFFER_BYTES;
use crate::proxy::fill::BodyPlace;
use crate::reactor::connections::BodyDeadline;
use crate::reactor::connections::Wait;
use crate::wire::body::{late_body, slow_body};

/// Where body bytes come from.
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

/// How an upload ended, when the worker is still to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadEnd {
    /// The worker has, or will find, all of it.
    Complete,
    /// The worker answered before the body had come.
    AnsweredEarly,
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

impl Connection {
    /// Moves the body into the ring as it arrives and as the worker makes
    /// room. Bytes that move give both sides more time.
    pub(crate) async fn upload(
        &mut self,
        exchange: &Exchange,
        place: BodyPlace,
        mut source: BodySource,
    ) -> Result<UploadEnd, Instead> {
        let ring = ByteRing::new(place.bytes);
        let timeout_ms = self.reactor.shared.config.timeout_ms();
        let mut produced = 0;
        let mut deadline = BodyDeadline::start();
        loop {
            let step = self.upload_step(exchange, place.offset, ring, produced, &mut source)?;
            produced = ring.advance(produced, step.moved);
            deadline.add(step.received as usize);
            self.state.add_moved(u64::from(step.received));
            if step.moved > 0 || step.done {
                exchange.set_deadline(clock::coarse_ms() + timeout_ms);
                let end = step.done.then_some(BodyEnd::Complete);
                if exchange.publish_upload(produced, end) {
                    self.reactor.mark(exchange.lane());
                }
            }
            if step.done {
                return Ok(UploadEnd::Complete);
            }
            if step.received > 0 {
                // The bell is rung, and others have their turn.
                tokio::task::yield_now().await;
            } else if step.needs_input {
                if self.read_while_waiting(exchange, &mut deadline).await? {
                    return Ok(UploadEnd::AnsweredEarly);
                }
            } else {
                let start_ms = clock::coarse_ms();
                if self.wait_for_room(exchange).await? {
                    return Ok(UploadEnd::AnsweredEarly);
                }
                deadline.forgive(clock::coarse_ms() - start_ms);
            }
        }
    }

    fn upload_step(
        &mut self,
        exchange: &Exchange,
        offset: u32,
        ring: ByteRing,
        produced: u32,
        source: &mut BodySource,
    ) -> Result<Step, Instead> {
        let room = exchange
            .upload_room(ring, produced)
            .map_err(|violation| self.violated(exchange, violation))?;
        match source {
            BodySource::Length { left } => {
                let take = (*left).min(u64::from(room)).min(self.input.len() as u64) as usize;
                put(exchange, offset, ring, produced, &self.input[..take]);
                self.consume_input(take);
                *left -= take as u64;
                let most = (*left).min(u64::from(room - take as u32)) as u32;
                let start = ring.advance(produced, take as u32);
                let received = self.receive_into_ring(exchange, offset, ring, start, most)?;
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
                    .decode(&self.input, ready, left)
                    .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
                self.consume_input(progress.consumed);
                let take = ready.len().min(room as usize);
                put(exchange, offset, ring, produced, &ready[..take]);
                ready.drain(..take);
                let done = progress.done && ready.is_empty();
                let needs_input = !done && take < room as usize;
                Ok(Step {
                    moved: take as u32,
                    received: 0,
                    needs_input,
                    done,
                })
            }
        }
    }

    /// Receives at most `bytes` of what waits in the socket straight into the ring.
    fn receive_into_ring(
        &self,
        exchange: &Exchange,
        offset: u32,
        ring: ByteRing,
        produced: u32,
        bytes: u32,
    ) -> Result<u32, Instead> {
        let mut received = 0;
        for (start, count) in ring.pieces(produced, bytes) {
            if count == 0 {
                break;
            }
            match exchange.receive_into_arena(self.stream.as_fd(), offset + start, count) {
                Ok(0) => return Err(Instead::ClientGone),
                Ok(piece) => {
                    received += piece as u32;
                    if piece < count as usize {
                        break;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(_) => return Err(Instead::ClientGone),
            }
        }
        Ok(received)
    }

    /// Reads from the client, but listens to the worker too. Says whether the
    /// worker has answered; the read then goes on in `pending_read`.
    async fn read_while_waiting(
        &mut self,
        exchange: &Exchange,
        deadline: &mut BodyDeadline,
    ) -> Result<bool, Instead> {
        let deadline_ms = deadline.at_ms(&self.reactor.deadlines);
        self.state.wait_until(Wait::Body, deadline_ms);
        let mut buffer = std::mem::take(&mut self.input);
        // What comes with it and behind it is received into the ring.
        buffer.reserve(READ_BUFFER_BYTES);
        let stream = Rc::clone(&self.stream);
        let mut read: PendingRead = Box::pin(async move { stream.read(buffer).await });
        let result = loop {
            tokio::select! {
                biased;
                (result, buffer) = &mut read => {
                    self.input = buffer;
                    self.state.wait_for_nothing();
                    return match result {
                        Ok(bytes @ 1..) => {
                            deadline.add(bytes);
                            self.state.add_moved(bytes as u64);
                            Ok(false)
                        }
                        _ if self.state.was_slow() => {
                            self.note_if_slow();
                            Err(slow_body().into())
                        }
                        _ if self.state.is_overdue() => Err(late_body().into()),
                        Ok(0) | Err(_) => Err(Instead::ClientGone),
                    };
                }
                outcome = exchange.outcome(&self.state) => match outcome {
                    Outcome::Event(Event::Answered) => break Ok(true),
                    Outcome::Event(Event::Changed) if exchange.is_streaming() => break Ok(true),
                    // The read says too that the client left, after what it still finds.
                    Outcome::Event(Event::Changed) | Outcome::ClientLeft(_) => {}
                    // The ring has room: it is the client who is late.
                    Outcome::Event(Event::TimedOut) => break Err(late_body().into()),
                    Outcome::WorkerGone => break Err(self.worker_gone().into()),
                }
            }
        };
        self.state.wait_for_nothing();
        self.pending_read = Some(read);
        result
    }

    /// Waits until the worker has made room. Says whether it has answered.
    async fn wait_for_room(&mut self, exchange: &Exchange) -> Result<bool, Instead> {
        loop {
            return match exchange.outcome(&self.state).await {
                Outcome::Event(Event::Answered) => Ok(true),
                Outcome::Event(Event::Changed) => Ok(exchange.is_streaming()),
                Outcome::Event(Event::TimedOut) => Err(self.timed_out().into()),
                Outcome::WorkerGone => Err(self.worker_gone().into()),
                Outcome::ClientLeft(Hangup::Gone) => Err(Instead::ClientGone),
                // The rest of the body waits in the socket.
                Outcome::ClientLeft(Hangup::Half) => continue,
            };
        }
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
