//! What a worker's threads share of one session with the hub.
//!
//! [`Session`] is its memory, rings and bells; a [`slot_key`] is one use of a slot, [`slot_state`] what the worker keeps of each
//! slot. [`transfer`] moves bodies that do not fit a slot's arena, [`stream`] those that a
//! handler reads or writes itself, [`ring_copy`] copies their bytes, [`body_pool`] bounds
//! their memory, [`sockets`] are those of clients that are handed over (each a [`held_socket`]), [`meter`] counts, and [`live`] are the sessions that a worker has now.

pub(crate) mod body_pool;
pub(crate) mod held_socket;
pub(crate) mod live;
pub(crate) mod meter;
pub(crate) mod ring_copy;
pub(crate) mod slot_key;
pub(crate) mod slot_state;
pub(crate) mod sockets;
pub(crate) mod stream;
pub(crate) mod transfer;

use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use slotway_shm_proto::atomic::{OwnU64, OwnWords, PeerU64};
use slotway_shm_proto::claim::{self, CANCELLED};
use slotway_shm_proto::doorbell::{Ringer, ring_eventfd};
use slotway_shm_proto::geometry::{Geometry, LaneOffsets, SlotOffsets};
use slotway_shm_proto::layout::{RequestWords, ResponseHead, ResponseWords};
use slotway_shm_proto::region::WorkerRegions;
use slotway_shm_proto::ring::{CompletionKind, CompletionProducer, NoticeGate, SubmissionIn};
use slotway_shm_proto::tagged::load_tagged;

use body_pool::BodyPool;
use meter::Meter;
pub(crate) use slot_key::SlotKey;
use slot_state::{SlotState, TransferState};
use sockets::SessionSockets;

/// One session with a hub.
pub(crate) struct Session {
    /// Never used twice in one process.
    pub id: u64,
    pub geometry: Geometry,
    pub regions: WorkerRegions,
    pub lanes: Vec<Lane>,
    /// Buffers for bodies that do not fit their slot.
    pub bodies: Arc<BodyPool>,
    /// The connection that is the session.
    pub connection: OwnedFd,
    /// The session is over: threads end.
    pub ended: AtomicBool,
    /// What the worker counts.
    pub meter: Arc<Meter>,
    /// The client sockets that it is handed.
    pub sockets: SessionSockets,
}

/// One lane, seen from the worker.
pub(crate) struct Lane {
    offsets: LaneOffsets,
    completions: CompletionProducer,
    ringer: Ringer,
    eventfd: OwnedFd,
    slots: Vec<SlotState>,
}

/// Sessions are told apart by number; see [`Session::id`].
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Session {
    pub fn new(
        geometry: Geometry,
        regions: WorkerRegions,
        eventfds: Vec<OwnedFd>,
        connection: OwnedFd,
        collected_bytes_max: usize,
        meter: Arc<Meter>,
    ) -> Self {
        let slots = || {
            (0..geometry.slot_count())
                .map(|_| SlotState::default())
                .collect()
        };
        let lanes = eventfds
            .into_iter()
            .enumerate()
            .map(|(lane_index, eventfd)| Lane {
                offsets: geometry.lane(lane_index as u32),
                completions: CompletionProducer::default(),
                ringer: Ringer::default(),
                eventfd,
                slots: slots(),
            })
            .collect();
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            geometry,
            regions,
            lanes,
            bodies: Arc::new(BodyPool::new(collected_bytes_max)),
            connection,
            ended: AtomicBool::new(false),
            meter,
            sockets: SessionSockets::default(),
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the session from this side: whoever waits on its connection learns
    /// of it.
    pub fn disconnect(&self) {
        // Fails only if the hub has closed it already.
        let _ = rustix::net::shutdown(&self.connection, rustix::net::Shutdown::Both);
    }

    #[inline]
    pub fn submissions(&self, lane_index: u32) -> SubmissionIn<'_> {
        let offsets = &self.lanes[lane_index as usize].offsets;
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        SubmissionIn {
            tail: self.regions.requests.u32_at(offsets.submission_tail),
            head: self.regions.responses.u32_at(offsets.submission_head),
            entries: self
                .regions
                .requests
                .words_at(offsets.submission_entries, word_count),
        }
    }

    /// The CPU on which the lane's reactor last rang.
    pub fn hub_cpu(&self, lane_index: u32) -> Option<u32> {
        let offsets = &self.lanes[lane_index as usize].offsets;
        self.regions
            .requests
            .u32_at(offsets.hub_cpu)
            .load(Ordering::Relaxed)
            .checked_sub(1)
    }

    /// Says which CPU a receiving thread is kept to.
    pub fn tell_cpu(&self, thread_index: u32, cpu: Option<u32>) {
        let word = self.geometry.thread_cpu(thread_index);
        let told = cpu.map_or(0, |cpu| cpu + 1);
        let word = self.regions.responses.u32_at(word);
        word.store(told, Ordering::Relaxed);
    }

    fn completion_entries(&self, lane_index: u32) -> OwnWords<'_> {
        let offsets = &self.lanes[lane_index as usize].offsets;
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        self.regions
            .responses
            .words_at(offsets.completion_entries, word_count)
    }

    /// The body under way in a slot. A panic elsewhere does not end it.
    pub fn lock_transfer(&self, key: SlotKey) -> MutexGuard<'_, TransferState> {
        let transfer = self.slot(key).transfer.lock();
        transfer.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes every handler that waits for a body or for its cancellation: the
    /// session is over.
    pub fn wake_all_handlers(&self) {
        for slot in self.lanes.iter().flat_map(|lane| &lane.slots) {
            let state = slot.transfer.lock();
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            state.wake();
            if let Some(token) = &state.cancellation {
                token.cancel();
            }
        }
    }

    /// Says something of a slot to the hub. [`Session::ring`] must follow.
    #[inline]
    pub fn publish(&self, key: SlotKey, kind: CompletionKind) -> u32 {
        self.lanes[key.lane_index as usize].completions.push(
            self.completion_entries(key.lane_index),
            kind,
            key.slot_index,
            key.generation,
        )
    }

    /// Tells the hub that a word of the slot has changed, unless a notice is
    /// on its way.
    pub fn notify(&self, key: SlotKey, notices: &mut NoticeGate) {
        let offsets = &self.lanes[key.lane_index as usize].offsets;
        let head = self.regions.requests.u32_at(offsets.completion_head);
        if notices.must_send(head, self.geometry.ring_entry_count()) {
            notices.sent(self.publish(key, CompletionKind::Notice));
        }
    }

    /// Wakes the lane's reactor if it sleeps and nobody has woken it.
    #[inline]
    pub fn ring(&self, lane_index: u32) {
        let lane = &self.lanes[lane_index as usize];
        Ringer::after_publishing();
        if lane
            .ringer
            .must_ring(self.regions.requests.u32_at(lane.offsets.hub_sleep))
            && let Err(error) = ring_eventfd(lane.eventfd.as_fd())
        {
            tracing::error!(%error, "cannot ring the hub");
        }
    }

    #[inline]
    pub fn offsets(&self, key: SlotKey) -> SlotOffsets {
        let lane = &self.lanes[key.lane_index as usize];
        self.geometry.slot(&lane.offsets, key.slot_index)
    }

    #[inline]
    pub fn slot(&self, key: SlotKey) -> &SlotState {
        &self.lanes[key.lane_index as usize].slots[key.slot_index as usize]
    }

    /// A word of the slot that the hub writes.
    pub fn request_word(&self, key: SlotKey, field_offset: usize) -> PeerU64<'_> {
        self.regions
            .requests
            .u64_at(self.offsets(key).request_words + field_offset as u64)
    }

    /// A word of the slot that this worker writes.
    pub fn response_word(&self, key: SlotKey, field_offset: usize) -> OwnU64<'_> {
        self.regions
            .responses
            .u64_at(self.offsets(key).response_words + field_offset as u64)
    }

    fn cancelled_word(&self, key: SlotKey) -> PeerU64<'_> {
        self.request_word(key, offset_of!(RequestWords, cancelled))
    }

    /// Nobody waits for the response any more.
    #[inline]
    pub fn is_cancelled(&self, key: SlotKey) -> bool {
        load_tagged(self.cancelled_word(key), key.generation) == Some(CANCELLED)
    }

    /// Nobody waits for the response, or the client may have left.
    pub fn is_perhaps_unwanted(&self, key: SlotKey) -> bool {
        load_tagged(self.cancelled_word(key), key.generation).is_some()
    }

    /// Says that a handler is about to run, and whether it may: from here on the
    /// request is never given to another worker.
    #[inline]
    pub fn take(&self, key: SlotKey) -> bool {
        let taken = self.response_word(key, offset_of!(ResponseWords, taken));
        claim::take(taken, self.cancelled_word(key), key.generation)
    }

    /// Writes the head of the slot's response.
    #[inline]
    pub fn write_head(&self, key: SlotKey, head: &ResponseHead) {
        self.regions
            .responses
            .write_head(self.offsets(key).response_head, head);
    }
}
