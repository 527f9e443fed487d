//! One request in one slot, from its reservation to its end. Whatever way a
//! connection's task goes, dropping this leaves the slot free or quarantined.

use std::cell::Cell;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use slotway_shm_proto::atomic::OwnU64;
use slotway_shm_proto::claim::{self, CLIENT_CLOSED};
use slotway_shm_proto::geometry::SlotOffsets;
use slotway_shm_proto::layout::{Interim, RequestHead, RequestWords, ResponseHead, ResponseWords};
use slotway_shm_proto::limits::TRAILERS_BYTES_MAX;
use slotway_shm_proto::tagged::{load_tagged, store_tagged};
use slotway_shm_proto::trailers;
use slotway_shm_proto::upgrade::SlotUse;
use slotway_shm_proto::{BodyEnd, ByteRing};

use crate::clock;
use crate::lanes::lane::Lane;
use crate::lanes::phase::Phase;
use crate::lanes::response_head::ArenaPart;
use crate::lanes::slot::{Event, Kept};
use crate::lanes::streams::{Permit, StreamClient};
use crate::lanes::violation::Violation;

/// A request's hold on a slot.
pub struct Exchange {
    lane: Rc<Lane>,
    slot_index: u32,
    generation: u32,
    route_index: Cell<u32>,
    offsets: SlotOffsets,
    released: bool,
    /// Its place among the bodies that stream through the lane.
    permit: Option<Permit>,
}

/// What of a streamed response is in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Bytes of the trailers, which are all there once the body has ended.
    pub trailers_bytes: u32,
    /// How the body ended, if it has.
    pub end: Option<BodyEnd>,
}

/// What ends the wait for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something happened to the slot.
    Event(Event),
    /// Nobody will answer any more.
    WorkerGone,
}

impl Exchange {
    /// Takes a free slot of a lane; `None` if there is none.
    #[inline]
    pub fn reserve(lane: &Rc<Lane>) -> Option<Self> {
        let (slot_index, generation) = lane.reserve()?;
        Some(Self {
            offsets: lane.slot_offsets(slot_index),
            lane: Rc::clone(lane),
            slot_index,
            generation,
            route_index: Cell::new(0),
            released: false,
            permit: None,
        })
    }

    /// The lane it goes over.
    pub fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }

    /// Enters it among the bodies that stream through its lane; who calls has seen that
    /// there is room.
    pub fn begin_stream(&mut self, client: Rc<dyn StreamClient>) {
        self.permit = Some(self.lane.streams().enter(client, clock::coarse_ms()));
    }

    /// Its response turned out to stream, and its length is known. False: more such responses
    /// are under way than can be borne.
    pub fn begin_late_stream(&mut self, client: Rc<dyn StreamClient>) -> bool {
        if self.permit.is_none() {
            let streams = self.lane.streams();
            self.permit = streams.enter_late(client, clock::coarse_ms());
        }
        self.permit.is_some()
    }

    /// Its response has no known end. False: there are as many such as may be.
    pub fn begin_open_stream(&mut self) -> bool {
        let begins = self.lane.begin_open_stream(self.slot_index);
        if begins {
            self.end_stream();
            // Its place among the requests is free.
            self.lane.slot_freed(false);
        }
        begins
    }

    fn end_stream(&mut self) {
        if self.permit.take().is_some() {
            self.lane.stream_ended();
        }
    }

    /// Keeps something until the slot is free again, which may be later than this goes.
    pub fn keep(&self, kept: Option<Kept>) {
        self.lane.keep(self.slot_index, kept);
    }

    /// Takes back what is kept.
    pub fn take_kept(&self) -> Option<Kept> {
        self.lane.keep(self.slot_index, None)
    }

    /// Which use of which slot it is.
    pub fn slot_use(&self) -> SlotUse {
        SlotUse {
            lane_index: self.lane.lane_index,
            slot_index: self.slot_index,
            generation: self.generation,
        }
    }

    /// Which use of the slot it is.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Bytes of each arena.
    pub fn arena_bytes(&self) -> u32 {
        self.lane.session.geometry.arena_bytes()
    }

    /// Writes into the request arena. That a write stays in it is checked here, once
    /// more: behind it are other clients' slots.
    #[inline]
    pub fn write_arena(&self, offset: u32, bytes: &[u8]) {
        assert!(u64::from(offset) + bytes.len() as u64 <= u64::from(self.arena_bytes()));
        self.lane
            .session
            .regions
            .requests
            .write(self.offsets.request_arena + u64::from(offset), bytes);
    }

    /// Receives what waits in a socket into the request arena, at most `bytes`.
    pub fn receive_into_arena(
        &self,
        socket: BorrowedFd<'_>,
        offset: u32,
        bytes: u32,
    ) -> Result<usize, Errno> {
        assert!(u64::from(offset) + u64::from(bytes) <= u64::from(self.arena_bytes()));
        let start = self.offsets.request_arena + u64::from(offset);
        let requests = &self.lane.session.regions.requests;
        requests.receive(socket, start, bytes as usize)
    }

    /// Writes the request's head. The next step is [`Exchange::submit`].
    #[inline]
    pub fn write_head(&self, head: &RequestHead) {
        self.route_index.set(head.route_index);
        self.lane
            .session
            .regions
            .requests
            .write_head(self.offsets.request_head, head);
    }

    /// Hands the slot to the worker. The caller marks the lane to be rung.
    #[inline]
    pub fn submit(&self, deadline_ms: u64) {
        self.lane
            .submit(self.slot_index, self.generation, deadline_ms);
    }

    /// Gives the worker more time, while bytes move.
    pub fn set_deadline(&self, deadline_ms: u64) {
        self.lane.set_deadline(self.slot_index, deadline_ms);
    }

    /// Polls for what happens next.
    #[inline]
    pub fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.lane
            .poll_event(self.slot_index, cx)
            .map(|event| event.map_or(Outcome::WorkerGone, Outcome::Event))
    }

    /// Gives up on the request. True: no worker has begun with it or ever will.
    pub fn give_up(&self) -> bool {
        let regions = &self.lane.session.regions;
        let taken = self.offsets.response_words + offset_of!(ResponseWords, taken) as u64;
        claim::give_up(
            self.cancelled_word(),
            regions.responses.u64_at(taken),
            self.generation,
        )
    }

    /// Tells the worker that the client has closed its side, though it may still get
    /// a response. Says whether the bell must be rung.
    pub fn tell_client_closed(&self) -> bool {
        store_tagged(self.cancelled_word(), self.generation, CLIENT_CLOSED);
        self.lane.notify(self.slot_index, self.generation)
    }

    fn cancelled_word(&self) -> OwnU64<'_> {
        let word = self.offsets.request_words + offset_of!(RequestWords, cancelled) as u64;
        self.lane.session.regions.requests.u64_at(word)
    }

    /// The route that it is for, in the worker's registration.
    #[inline]
    pub fn own_route_index(&self) -> u32 {
        self.route_index.get()
    }

    /// The request's head as it was written.
    pub fn own_head(&self) -> RequestHead {
        let requests = &self.lane.session.regions.requests;
        let mut bytes = Vec::with_capacity(size_of::<RequestHead>());
        requests.append_to(
            self.offsets.request_head,
            size_of::<RequestHead>(),
            &mut bytes,
        );
        bytemuck::pod_read_unaligned(&bytes)
    }

    /// Writes the same request, with a body that is all there, into another slot.
    /// `scratch` is only for re-use of its memory.
    pub fn copy_request_to(&self, other: &Self, route_index: u32, scratch: &mut Vec<u8>) {
        let head = self.own_head();
        let body_end = u64::from(head.body_offset) + head.body_bytes;
        let trailers_end = u64::from(head.trailers.offset) + u64::from(head.trailers.bytes);
        let arena_bytes = body_end.max(trailers_end);
        scratch.clear();
        let requests = &self.lane.session.regions.requests;
        requests.append_to(self.offsets.request_arena, arena_bytes as usize, scratch);
        other.write_arena(0, scratch);
        other.write_head(&RequestHead {
            generation: other.generation,
            route_index,
            ..head
        });
    }

    /// The head of a response is there whose body streams.
    pub fn is_streaming(&self) -> bool {
        self.lane.phase(self.slot_index) == Phase::Streaming
    }

    /// The response head, copied out: the worker cannot change it any more.
    #[inline]
    pub fn copy_head(&self) -> ResponseHead {
        self.lane
            .session
            .regions
            .responses
            .copy_head(self.offsets.response_head)
    }

    /// Where a part of an arena starts. The range has been checked by
    /// [`crate::lanes::response_head`], and is once more: behind it are other clients' slots.
    #[inline]
    fn start_of(&self, part: ArenaPart) -> u64 {
        let end = u64::from(part.offset) + u64::from(part.bytes);
        assert!(end <= u64::from(self.arena_bytes()));
        let arena = if part.is_requests {
            self.offsets.request_arena
        } else {
            self.offsets.response_arena
        };
        arena + u64::from(part.offset)
    }

    /// Copies a part of an arena behind the end of `out`.
    #[inline]
    pub fn append_from_arena(&self, part: ArenaPart, out: &mut Vec<u8>) {
        let (start, bytes) = (self.start_of(part), part.bytes as usize);
        let regions = &self.lane.session.regions;
        if part.is_requests {
            regions.requests.append_to(start, bytes, out);
        } else {
            regions.responses.append_to(start, bytes, out);
        }
    }

    /// Sends `head` and then a part of an arena, as much as the socket takes at
    /// once. Returns how much that was.
    pub fn send_from_arena(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        part: ArenaPart,
    ) -> Result<usize, Errno> {
        let (start, bytes) = (self.start_of(part), part.bytes as usize);
        let regions = &self.lane.session.regions;
        if part.is_requests {
            regions.requests.send(socket, head, start, bytes)
        } else {
            regions.responses.send(socket, head, start, bytes)
        }
    }

    /// The worker's consumed cursor of the request body, against this side's.
    pub fn upload_room(&self, ring: ByteRing, produced: u32) -> Result<u32, Violation> {
        let consumed = self.response_word(offset_of!(ResponseWords, request_consumed));
        Ok(ring.bytes() - ring.filled(produced, consumed.unwrap_or(0))?)
    }

    /// The handler has begun to read the body.
    pub fn wants_body(&self) -> bool {
        self.response_word(offset_of!(ResponseWords, wants_body)) == Some(1)
    }

    /// Tells the worker how far the request body has come, and its end if that
    /// is it. Says whether the bell must be rung.
    pub fn publish_upload(&self, produced: u32, end: Option<BodyEnd>) -> bool {
        let requests = &self.lane.session.regions.requests;
        let words = self.offsets.request_words;
        let produced_word = words + offset_of!(RequestWords, body_produced) as u64;
        store_tagged(requests.u64_at(produced_word), self.generation, produced);
        if let Some(end) = end {
            let end_word = words + offset_of!(RequestWords, body_end) as u64;
            store_tagged(requests.u64_at(end_word), self.generation, end as u32);
        }
        self.lane.notify(self.slot_index, self.generation)
    }

    /// Says how many bytes of trailers come behind the request's body, before they do.
    pub fn publish_trailers(&self, bytes: u32) {
        let word = self.offsets.request_words + offset_of!(RequestWords, trailers) as u64;
        let word = self.lane.session.regions.requests.u64_at(word);
        store_tagged(word, self.generation, bytes);
    }

    /// What of a streamed response can be taken, and how it ended if it has.
    pub fn download_ready(&self, ring: ByteRing, consumed: u32) -> Result<Ready, Violation> {
        // The end first: once it is there, the cursor does not move again. And the cursor before the
        // trailers, which are said before it moves over them.
        let end = self.response_word(offset_of!(ResponseWords, body_end));
        let end = end.map(BodyEnd::from_word);
        let produced = self.response_word(offset_of!(ResponseWords, body_produced));
        let filled = ring.filled(produced.unwrap_or(0), consumed)?;
        let trailers = self.response_word(offset_of!(ResponseWords, trailers));
        let trailers_bytes = trailers.unwrap_or(0);
        let has_lied = trailers_bytes as usize > TRAILERS_BYTES_MAX
            || (end == Some(BodyEnd::Complete) && trailers_bytes > filled);
        if has_lied {
            return Err(Violation::Head("trailers"));
        }
        Ok(Ready {
            body_bytes: trailers::body_bytes(filled, trailers),
            trailers_bytes,
            end,
        })
    }

    /// The interim response that the worker wants sent, unless it is the one with this number.
    pub fn interim(&self, seen_number: u16) -> Option<Interim> {
        let word = self.response_word(offset_of!(ResponseWords, interim))?;
        Interim::from_word(word).filter(|interim| interim.number != seen_number)
    }

    /// The interim response of this number has been sent, or dropped. Says whether the bell must be
    /// rung.
    pub fn publish_interim_taken(&self, number: u16) -> bool {
        let word = self.offsets.request_words + offset_of!(RequestWords, interim_taken) as u64;
        let word = self.lane.session.regions.requests.u64_at(word);
        store_tagged(word, self.generation, number.into());
        self.lane.notify(self.slot_index, self.generation)
    }

    fn response_word(&self, field_offset: usize) -> Option<u32> {
        let word = self.offsets.response_words + field_offset as u64;
        load_tagged(
            self.lane.session.regions.responses.u64_at(word),
            self.generation,
        )
    }

    /// Tells the worker how much of its response has been taken. Says whether
    /// the bell must be rung.
    pub fn publish_download(&self, consumed: u32) -> bool {
        let word = self.offsets.request_words + offset_of!(RequestWords, response_consumed) as u64;
        let word = self.lane.session.regions.requests.u64_at(word);
        store_tagged(word, self.generation, consumed);
        self.lane.notify(self.slot_index, self.generation)
    }

    /// The worker is done with the slot, and so is the hub.
    #[inline]
    pub fn release(mut self) {
        self.released = true;
        self.lane.release(self.slot_index);
        self.end_stream();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        match self.lane.phase(self.slot_index) {
            Phase::Reserved | Phase::Responded => self.lane.release(self.slot_index),
            Phase::Submitted | Phase::Streaming => {
                if self.lane.abandon(self.slot_index, self.generation) {
                    // Rare, and outside the turn's order: ring at once.
                    self.lane.ring_bells();
                }
            }
            Phase::Free | Phase::Quarantined => debug_assert!(false, "released twice"),
        }
        self.end_stream();
    }
}
