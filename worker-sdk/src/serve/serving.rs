//! What all sessions of a worker share.

use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::api::RegisterRequest;

use crate::handler::route::Route;
use crate::handler::runtime::Spawner;
use crate::hub::attach::AttachSocket;
use crate::hub::client::HubClient;
use crate::session::live::LiveSessions;
use crate::session::meter::Meter;

/// What all sessions of a worker share.
pub(crate) struct Serving<S> {
    pub name: String,
    pub hub: HubClient,
    pub attach: AttachSocket,
    pub registration: Arc<RegisterRequest>,
    pub routes: Arc<Vec<Route<S>>>,
    pub state: Arc<S>,
    pub thread_count: u32,
    pub follows_hub: bool,
    pub spin: Duration,
    pub connect_timeout: Duration,
    pub collected_bytes_max: usize,
    pub spawner: Spawner,
    pub sessions: LiveSessions,
    pub meter: Arc<Meter>,
}
