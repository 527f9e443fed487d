//! The question what every slot is in, and its answer. Only its reactor knows.

use tokio::sync::oneshot;

use crate::lanes::slot::Phase;

/// A question to a reactor.
pub type Inspection = oneshot::Sender<Vec<LaneReport>>;

/// The slots of one lane.
#[derive(Debug)]
pub struct LaneReport {
    /// Of the session.
    pub session_id: u64,
    /// Index of the reactor.
    pub reactor: u32,
    /// Phase and generation of each slot.
    pub slots: Vec<(Phase, u32)>,
}
