//! A worker that has attached: its memory, its bells and its routes, shared by
//! the control thread and every reactor.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::doorbell::Ringer;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::region::HubRegions;

use super::handed_files::HandedFiles;
use super::registration::{RouteOptions, RouteSpec};
use super::upgrades::Upgrades;
use crate::metrics::route::RouteId;

/// Whether a session takes requests. The control thread decides, and the route table says
/// so to the reactors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It does.
    Live,
    /// Replaced: it finishes what it has.
    Draining,
    /// The worker is gone, or has been dropped.
    Ended,
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
    /// See [`Registration::shares_routes`](super::registration::Registration::shares_routes).
    pub shares_routes: bool,
    /// When it started, in milliseconds since 1970, if it says so.
    pub started_ms: Option<u64>,
    /// When it attached, in milliseconds since 1970.
    pub attached_ms: u64,
    /// The version of its program, if it says so.
    pub version: Option<String>,
    /// Its process and user.
    pub peer: PeerCredentials,
    /// Its routes; a slot's `route_index` counts these.
    pub routes: Vec<RouteSpec>,
    /// For each route, what else there is to it.
    pub options: Vec<RouteOptions>,
    /// For each route, where its requests are counted.
    pub route_ids: Vec<RouteId>,
    /// Layout of the regions.
    pub geometry: Geometry,
    /// The shared memory.
    pub regions: HubRegions,
    /// By which the worker rings each lane.
    pub eventfds: Vec<Arc<OwnedFd>>,
    /// One for each thread of the worker that has a doorbell. All lanes share it: a
    /// thread that one lane has woken takes that lane's request, so another lane, for
    /// its own, must wake another thread.
    pub ringers: Vec<Ringer>,
    /// It may send events to whoever listens.
    pub may_emit: bool,
    /// When it last turned out to have answered something, on the coarse clock; looked
    /// at by pings.
    pub alive_at_ms: AtomicU64,
    /// The client sockets that its worker has been handed.
    pub upgrades: Upgrades,
    /// The files that its worker answers with.
    pub files: HandedFiles,
    /// Who still holds a lane of it.
    pub open_lanes: OpenLanes,
}

/// How many reactors still hold a lane of a session.
#[derive(Debug)]
pub struct OpenLanes(AtomicU32);

impl OpenLanes {
    /// None of them has let go of its lane.
    pub fn new(lane_count: u32) -> Self {
        Self(AtomicU32::new(lane_count))
    }
}

impl Session {
    /// A reactor has let go of its lane. Says whether it was the last.
    #[must_use]
    pub fn close_lane(&self) -> bool {
        self.open_lanes.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(test)]
use crate::metrics::route::Group;

#[cfg(test)]
impl Session {
    /// A session without threads and bells, for tests of one process.
    pub fn for_tests(id: u64, name: &str, routes: Vec<RouteSpec>, geometry: Geometry) -> Self {
        Self {
            id,
            index: id as usize,
            worker_id: id.to_string(),
            name: name.to_owned(),
            shares_routes: true,
            started_ms: None,
            attached_ms: 0,
            version: None,
            peer: PeerCredentials {
                pid: None,
                uid: 0,
                gid: 0,
            },
            options: vec![RouteOptions::default(); routes.len()],
            route_ids: vec![RouteId::of_group(Group::Other, None); routes.len()],
            routes,
            geometry,
            regions: HubRegions::create("slotway-test", &geometry).expect("memory"),
            eventfds: Vec::new(),
            ringers: Vec::new(),
            may_emit: true,
            alive_at_ms: 0.into(),
            upgrades: Upgrades::default(),
            files: HandedFiles::new(&Arc::new(tokio::sync::Semaphore::new(1)), 1),
            open_lanes: OpenLanes::new(geometry.lane_count()),
        }
    }
}
