//! `GET /internal/slots`: what every slot is in. Only its reactor knows, so each is
//! asked, and answers between two requests.

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::reactor::Reactor;
use crate::session::Session;
use crate::shared::Shared;
use crate::slot::Phase;

/// A question to a reactor.
pub type Inspection = oneshot::Sender<Vec<LaneReport>>;

/// The slots of one lane.
#[derive(Debug)]
pub struct LaneReport {
    session_id: u64,
    reactor: u32,
    /// Phase and generation of each slot.
    slots: Vec<(Phase, u32)>,
}

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

/// Asks all reactors for the slots of these sessions.
pub async fn inspect(shared: &Shared, sessions: &[std::sync::Arc<Session>]) -> Value {
    let mut reports = Vec::new();
    for reactor in &shared.inspections {
        let (question, answer) = oneshot::channel();
        if reactor.send(question).is_ok()
            && let Ok(lanes) = answer.await
        {
            reports.extend(lanes);
        }
    }
    let workers = sessions.iter().map(|session| {
        let own = reports.iter().filter(|lane| lane.session_id == session.id);
        let slots: Vec<_> = own
            .flat_map(|lane| lane.slots.iter().enumerate().map(move |slot| (lane, slot)))
            .collect();
        let is_free = |(_, (_, (phase, _))): &&(_, (_, &(Phase, u32)))| *phase == Phase::Free;
        let free = slots.iter().filter(is_free).count();
        let states = slots.iter().map(|(lane, (slot, (phase, generation)))| {
            json!({
                "reactor": lane.reactor,
                "slot": slot,
                "state": name(*phase),
                "generation": generation,
            })
        });
        json!({
            "name": session.name,
            "worker_id": session.worker_id,
            "total": slots.len(),
            "free": free,
            "in_use": slots.len() - free,
            "slots": states.collect::<Vec<_>>(),
        })
    });
    json!({ "workers": workers.collect::<Vec<_>>() })
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Free => "free",
        Phase::Reserved => "reserved",
        Phase::Submitted => "submitted",
        Phase::Answered => "answered",
        Phase::Streaming => "streaming",
        Phase::Quarantined => "quarantined",
    }
}
