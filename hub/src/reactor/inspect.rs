//! Tells what the slots of this reactor's lanes are in.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::lanes::Lanes;
use crate::shared::inspection::{Inspection, LaneReport};

/// Answers questions; never ends before the hub does.
pub async fn serve(lanes: Rc<Lanes>, mut questions: mpsc::UnboundedReceiver<Inspection>) {
    while let Some(question) = questions.recv().await {
        let all = lanes.all();
        let reports = all.iter().map(|lane| LaneReport {
            session_id: lane.session.id,
            reactor: lanes.index,
            slots: lane.slot_states(),
        });
        // Who asked may have left.
        let _ = question.send(reports.collect());
    }
}
