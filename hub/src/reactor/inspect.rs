//! Tells what this reactor's lanes, queues and connections are in.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::connections::Connections;
use super::lanes::Lanes;
use crate::shared::inspection::{Inspection, LaneReport, ReactorLoad};

/// Answers questions; never ends before the hub does.
pub async fn serve(
    lanes: Rc<Lanes>,
    connections: Rc<Connections>,
    mut questions: mpsc::UnboundedReceiver<Inspection>,
) {
    while let Some(question) = questions.recv().await {
        // Who asked may have left.
        match question {
            Inspection::Slots(answer) => {
                let _ = answer.send(slots(&lanes));
            }
            Inspection::Load(answer) => {
                let _ = answer.send(load(&lanes, &connections));
            }
        }
    }
}

fn slots(lanes: &Lanes) -> Vec<LaneReport> {
    let all = lanes.all();
    let reports = all.iter().map(|lane| LaneReport {
        session_id: lane.session.id,
        reactor: lanes.index,
        slots: lane.slot_states(),
    });
    reports.collect()
}

fn load(lanes: &Lanes, connections: &Connections) -> ReactorLoad {
    let (connections, busy_connections) = connections.counts();
    let all = lanes.all();
    ReactorLoad {
        lanes: all
            .iter()
            .map(|lane| (lane.session.id, lane.load()))
            .collect(),
        queues: [lanes.queue.loads(), lanes.turn_queue.loads()].concat(),
        stream_queues: lanes.stream_queue.loads(),
        connections,
        busy_connections,
    }
}
