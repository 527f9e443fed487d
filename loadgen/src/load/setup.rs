//! What a thread of the generator is told before it starts.

use std::sync::Arc;
use std::time::Duration;

use slotway_net::Engine;

use super::plan::Stop;
use crate::limits::SUPERVISION_STEP;
use crate::schedule::Schedule;
use crate::workload::Workload;

/// What a thread is told before it starts.
pub struct Setup {
    /// Which thread, and of how many.
    pub index: usize,
    /// See `index`.
    pub thread_count: usize,
    /// What moves its bytes.
    pub engine: Engine,
    /// What to ask.
    pub workload: Arc<Workload>,
    /// Its share of the connections.
    pub connection_count: usize,
    /// Its share of the connections to be opened per second.
    pub connect_rate: Option<f64>,
    /// Requests after which a connection is replaced.
    pub requests_per_connection: Option<u64>,
    /// An open loop's intended times; a closed loop has none.
    pub schedule: Option<Schedule>,
    /// Its share of the measured requests of a closed loop, where a count ends
    /// the run.
    pub count: Option<u64>,
    /// A request that takes longer is an error.
    pub timeout: Duration,
    /// The thread never sleeps.
    pub spin: bool,
    /// Connections follow event streams; they send no request after the other.
    pub follows_streams: bool,
    /// Ends the run early.
    pub stop: Arc<Stop>,
    /// Ends it too: another thread could not start.
    pub give_up: Arc<Stop>,
}

impl Setup {
    pub fn is_stopped(&self) -> bool {
        self.stop.is_requested() || self.give_up.is_requested()
    }

    /// Waits for a future, or for the end of the run.
    pub async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            while !self.is_stopped() {
                tokio::time::sleep(SUPERVISION_STEP).await;
            }
        };
        tokio::select! {
            biased;
            output = future => Some(output),
            () = stopped => None,
        }
    }
}
