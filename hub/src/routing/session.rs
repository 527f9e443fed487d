//! A worker that has attached: its memory, its bells and its routes, shared by
//! the control thread and every reactor.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::doorbell::Ringer;
use slotway_shm_proto::layout::Geometry;
use slotway_shm_proto::region::HubRegions;

use super::registration::{RouteOptions, RouteSpec};

/// Whether a session takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionState {
    /// It does.
    Live = 0,
    /// Replaced: it finishes what it has.
    Draining = 1,
    /// The worker is gone, or has been dropped.
    Ended = 2,
}

/// A session; see the module.
#[derive(Debug)]
pub struct Session {
    /// Never used twice in one hub.
    pub id: u64,
    /// Dense index, re-used once every reactor has let go of the session.
    pub index: usize,
    /// What register answered.
    pub worker_id: String,
    /// The worker's name.
    pub name: String,
    /// Its process and user.
    pub peer: PeerCredentials,
    /// Its routes; a slot's `route_index` counts these.
    pub routes: Vec<RouteSpec>,
    /// For each route, what else there is to it.
    pub options: Vec<RouteOptions>,
    /// Layout of the regions.
    pub geometry: Geometry,
    /// The shared memory.
    pub regions: HubRegions,
    /// By which the worker rings each lane.
    pub eventfds: Vec<OwnedFd>,
    /// One for each thread of the worker that has a doorbell. All lanes share it: a
    /// thread that one lane has woken takes that lane's request, so another lane, for
    /// its own, must wake another thread.
    pub ringers: Vec<Ringer>,
    /// When it last turned out to have answered something, on the coarse clock; looked
    /// at by pings.
    pub alive_at_ms: AtomicU64,
    /// Where it is in its life.
    pub life: Life,
}

/// A session's state and who still holds a lane of it.
#[derive(Debug)]
pub struct Life {
    state: AtomicU8,
    lanes_open: AtomicU32,
}

impl Life {
    /// A live session, none of whose lanes a reactor has let go of.
    pub fn new(lane_count: u32) -> Self {
        Self {
            state: AtomicU8::new(SessionState::Live as u8),
            lanes_open: AtomicU32::new(lane_count),
        }
    }
}

impl Session {
    /// Its state now.
    pub fn state(&self) -> SessionState {
        // Pairs with the Release in `set_state`.
        match self.life.state.load(Ordering::Acquire) {
            0 => SessionState::Live,
            1 => SessionState::Draining,
            _ => SessionState::Ended,
        }
    }

    /// Changes it; reactors look when they are told that the table changed.
    pub fn set_state(&self, state: SessionState) {
        self.life.state.store(state as u8, Ordering::Release);
    }

    /// A reactor has let go of its lane. Says whether it was the last.
    #[must_use]
    pub fn close_lane(&self) -> bool {
        self.life.lanes_open.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
