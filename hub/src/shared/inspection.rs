//! Questions that only a reactor can answer, and their answers.

use tokio::sync::oneshot;

use crate::lanes::phase::Phase;
use crate::lanes::queue::QueueLoad;
use crate::lanes::slot::SlotLoad;

/// A question to a reactor.
#[derive(Debug)]
pub enum Inspection {
    /// What is every slot in?
    Slots(oneshot::Sender<Vec<LaneReport>>),
    /// What has it to do?
    Load(oneshot::Sender<ReactorLoad>),
}

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

/// What one reactor has to do.
#[derive(Clone, Debug, Default)]
pub struct ReactorLoad {
    /// Of each session's lane.
    pub lanes: Vec<(u64, SlotLoad)>,
    /// Requests that wait for a slot or a worker.
    pub queues: Vec<QueueLoad>,
    /// Requests that wait for a place among the bodies that stream.
    pub stream_queues: Vec<QueueLoad>,
    /// Client connections.
    pub connections: u64,
    /// Those of them that have a request.
    pub busy_connections: u64,
}
