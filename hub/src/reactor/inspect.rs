//! Answers what the slots of this reactor's lanes are in.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::Reactor;
use crate::shared::inspection::{Inspection, LaneReport};

/// Answers for one reactor; never ends before the hub does.
pub async fn serve(reactor: Rc<Reactor>, mut questions: mpsc::UnboundedReceiver<Inspection>) {
    while let Some(question) = questions.recv().await {
        let lanes = reactor.open_lanes();
        let reports = lanes.iter().map(|lane| LaneReport {
            session_id: lane.session.id,
            reactor: reactor.index,
            slots: lane.slot_states(),
        });
        // Who asked may have left.
        let _ = question.send(reports.collect());
    }
}
