//! An observation as documents: what the admin commands print, for people and programs.

use serde_json::{Value, json};

use super::observation::{Observation, WorkerView};
use crate::metrics::histogram::Durations;
use crate::metrics::recorder::Phase;
use crate::metrics::route::Group;
use crate::routing::session::SessionState;

/// `slotway-hub status`: the hub as a whole.
pub fn status(observation: &Observation) -> Value {
    let facts = &observation.facts;
    let (mut requests, mut failed) = (0, 0);
    let mut durations = Durations::default();
    // What the hub answers itself, probes above all, is no traffic.
    let traffic = observation.routes.iter();
    for route in traffic.filter(|route| !route.id.is_of(Group::Hub)) {
        requests += route.totals.count();
        failed += route.totals.failed();
        durations.merge(&route.totals.durations);
    }
    let phases = Phase::ALL.into_iter().zip(&observation.phases);
    let phases: serde_json::Map<_, _> = phases
        .map(|(phase, durations)| (phase.label().to_owned(), latency(durations)))
        .collect();
    let faults = observation.faults.iter();
    let faults: serde_json::Map<_, _> = faults
        .map(|(name, _, count)| ((*name).to_owned(), json!(count)))
        .collect();
    let control = &observation.control;
    let live = |worker: &&WorkerView| worker.state == SessionState::Live;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "ready": control.not_ready.is_none(),
        "not_ready_because": control.not_ready,
        "started_ms": facts.started_ms,
        "engine": facts.engine,
        "listens_on": facts.urls,
        "operated_at": facts.operations_urls,
        "attach": facts.attach,
        "workers": {
            "live": observation.workers.iter().filter(live).count(),
            "draining": observation.workers.iter().filter(|worker| !live(worker)).count(),
        },
        "routes": observation.routes.iter().filter(|route| !route.workers.is_empty()).count(),
        "connections": {
            "open": observation.connections,
            "busy": observation.busy_connections,
            "max": observation.connections_max,
        },
        "event_stream_clients": observation.event_stream_clients,
        "queue": { "waiting": observation.queue.waiting, "oldest_ms": observation.queue.oldest_ms },
        "requests": requests,
        "failed": failed,
        "latency_us": latency(&durations),
        "phases_us": phases,
        "faults": faults,
        "silent_reactors": observation.silent_reactors,
        "incidents": control.incidents,
    })
}

/// In microseconds; `null` if there is none.
fn latency(durations: &Durations) -> Value {
    let quantile = |share| {
        let duration = durations.quantile(share);
        duration.map(|duration| duration.as_nanos() as f64 / 1000.0)
    };
    json!({
        "p50": quantile(0.5),
        "p99": quantile(0.99),
        "p999": quantile(0.999),
    })
}

/// `slotway-hub workers`: each that is attached.
pub fn workers(observation: &Observation) -> Value {
    let workers = observation.workers.iter().map(|worker| {
        let session = &worker.session;
        let state = match worker.state {
            SessionState::Live => "live",
            SessionState::Draining => "draining",
            SessionState::Ended => "ended",
        };
        json!({
            "name": session.name,
            "worker_id": session.worker_id,
            "state": state,
            "version": session.version,
            "pid": worker.pid(),
            "uid": session.peer.uid,
            "started_ms": session.started_ms,
            "attached_ms": session.attached_ms,
            "threads": session.ringers.len(),
            "upgraded_connections": session.upgrades.count(),
            "routes": session.routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "slots": {
                "total": observation.slot_count,
                "in_use": worker.slots.used.saturating_sub(worker.slots.open_streams),
                "open_streams": worker.slots.open_streams,
                "quarantined": worker.slots.quarantined,
            },
        })
    });
    workers.collect()
}

/// `slotway-hub routes`: each that has a worker, or has had a request.
pub fn routes(observation: &Observation) -> Value {
    let routes = observation.shown_routes().into_iter().map(|route| {
        json!({
            "method": route.label.method,
            "route": route.label.route,
            "workers": route.workers,
            "event_stream": route.is_event_stream,
            "requests": route.totals.count(),
            "failed": route.totals.failed(),
            "latency_us": latency(&route.totals.durations),
            "waiting": route.queue.waiting,
            "oldest_ms": route.queue.oldest_ms,
        })
    });
    routes.collect()
}
