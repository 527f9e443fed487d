//! A request body of unknown length as far as it is read before its request is dispatched.

use super::body::{self, BodySource};
use super::bytes::Wire;
use super::call::{Call, EarlyEnd};
use crate::http::chunked::ChunkedDecoder;
use crate::http::local_reply::LocalReply;
use crate::limits::{BODY_PAUSE, BODY_PAUSE_AGAIN, READ_STEP_BYTES};
use crate::reactor::deadline::BodyDeadline;

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it is here.
    Whole,
    /// It is longer than its slot has room for.
    TooLong,
    /// Its client has stopped sending, with no part of a chunk on the way.
    Pauses,
}

/// A body that is being read.
#[derive(Debug)]
pub struct ChunkedBody {
    decoder: ChunkedDecoder,
    bytes: Vec<u8>,
    deadline: BodyDeadline,
    may_pause: bool,
    /// The last pause was in vain: the next is longer.
    has_paused: bool,
}

impl ChunkedBody {
    /// Nothing of it has been read. One that is longer than `bytes_max` is refused; one that
    /// `may_pause` need not be read to its end.
    pub fn new(bytes_max: u64, may_pause: bool) -> Self {
        Self {
            decoder: ChunkedDecoder::new(bytes_max),
            bytes: Vec::new(),
            deadline: BodyDeadline::start(),
            may_pause,
            has_paused: false,
        }
    }

    /// Reads on, as far as there is room.
    pub async fn read(
        &mut self,
        wire: &mut Wire,
        call: &mut Call,
        room: usize,
    ) -> Result<Extent, EarlyEnd> {
        loop {
            let raw = &wire.input[call.head.bytes..];
            let left = room - self.bytes.len();
            let progress = self
                .decoder
                .decode(raw, &mut self.bytes, left)
                .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
            let used = call.head.bytes..call.head.bytes + progress.consumed;
            wire.input.drain(used);
            if progress.done {
                // What follows in the input is the next request.
                call.note_body_read();
                let is_whole = self.bytes.len() + self.trailers().len() <= room;
                return Ok(if is_whole {
                    Extent::Whole
                } else {
                    Extent::TooLong
                });
            }
            if self.bytes.len() == room {
                return Ok(Extent::TooLong);
            }
            body::send_continue_if_expected(wire, call, !self.bytes.is_empty()).await?;
            let is_between =
                self.decoder.is_between_chunks() && wire.input.len() == call.head.bytes;
            if !self.read_step(wire, is_between).await? {
                return Ok(Extent::Pauses);
            }
        }
    }

    /// Says whether anything has come. Within a chunk it waits for that: it is the network that pauses
    /// there, and a client that waits for a response means what it has sent to be read.
    async fn read_step(&mut self, wire: &mut Wire, is_between: bool) -> Result<bool, EarlyEnd> {
        if !self.may_pause || !is_between {
            body::read_step(wire, READ_STEP_BYTES, &mut self.deadline).await?;
            return Ok(true);
        }
        let pause = if self.has_paused {
            BODY_PAUSE_AGAIN
        } else {
            BODY_PAUSE
        };
        let has_come = body::read_step_within(wire, pause, &mut self.deadline).await?;
        self.has_paused = !has_come;
        Ok(has_come)
    }

    /// What has been read of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields behind it, in wire form, once it is whole.
    pub fn trailers(&self) -> &[u8] {
        self.decoder.trailers()
    }

    /// The rest of it, and what has been read.
    pub fn into_source(self) -> BodySource {
        BodySource::Chunked {
            decoder: self.decoder,
            ready: self.bytes,
        }
    }
}
