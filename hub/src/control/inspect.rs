//! `GET /internal/slots`: what every slot is in that is not free. Only its reactor knows, so each is
//! asked, and answers between two requests.

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::lanes::phase::Phase;
use crate::routing::session::Session;
use crate::shared::Shared;
use crate::shared::inspection::Inspection;

/// Asks all reactors for the slots of these sessions.
pub async fn inspect(shared: &Shared, sessions: &[std::sync::Arc<Session>]) -> Value {
    let mut reports = Vec::new();
    for reactor in &shared.inspections {
        let (question, answer) = oneshot::channel();
        if reactor.send(Inspection::Slots(question)).is_ok()
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
        let in_use = slots.iter().filter(|slot| !is_free(slot));
        let states = in_use.map(|(lane, (slot, (phase, generation)))| {
            json!({
                "reactor": lane.reactor,
                "slot": slot,
                "index": slot,
                "state": name(*phase),
                "generation": generation,
            })
        });
        json!({
            "name": session.name,
            "worker_id": session.worker_id,
            "total": slots.len(),
            "total_slots": slots.len(),
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
        Phase::Responded => "answered",
        Phase::Streaming => "streaming",
        Phase::Quarantined => "quarantined",
    }
}
