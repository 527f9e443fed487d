//! What the status pages are told: that workers have changed, at once, and each second's
//! numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::Serialize;

use crate::events::frame::Event;
use crate::events::registry::{Filter, Topic};
use crate::shared::Shared;
use crate::shared::inspection::ReactorLoad;
use crate::status::history::{Sample, Second};
use crate::status::observation::{Queues, ask_reactors, faults, slots_of};

/// One second's numbers.
#[derive(Serialize)]
struct Tick {
    second: u64,
    all: Option<Sample>,
    routes: BTreeMap<usize, Sample>,
    /// Of each that uses any: session, slots in use for requests, open streams, quarantined.
    workers: Vec<(u64, u32, u32, u32)>,
    /// Requests that wait, of each route that some wait for.
    queues: BTreeMap<usize, u64>,
    /// What has been counted of each fault that was.
    faults: BTreeMap<&'static str, u64>,
    waiting: u64,
    oldest_ms: u64,
    connections: u64,
    event_streams: u64,
    cpu_percent: f64,
}

/// Whether anybody looks.
pub fn is_watched(shared: &Shared) -> bool {
    shared.streams.count(&Topic::Status) > 0
}

fn push(shared: &Shared, event_type: &str, data: &str) {
    let event = Event {
        event_type,
        data,
        ..Event::default()
    };
    match event.to_frame() {
        Ok(frame) => {
            // A page that is too slow loses a second.
            let _ = shared
                .streams
                .push(&Topic::Status, &Filter::default(), &frame);
        }
        Err(error) => tracing::warn!("the status pages cannot be told what is new: {error}"),
    }
}

/// Workers or routes are others than before.
pub fn tell_changed(shared: &Shared) {
    if is_watched(shared) {
        push(shared, "changed", "");
    }
}

/// Each second's numbers, for whoever looks; asks the reactors first.
pub fn tell_second(shared: &Arc<Shared>, at: u64, second: Second, cpu_percent: f64) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let loads = ask_reactors(&shared).await;
        let tick = tick(&shared, &loads, (at, second), cpu_percent);
        let data = serde_json::to_string(&tick).expect("the hub's own types serialise");
        push(&shared, "tick", &data);
    });
}

fn tick(
    shared: &Shared,
    loads: &[ReactorLoad],
    (at, second): (u64, Second),
    cpu_percent: f64,
) -> Tick {
    let queues = Queues::of(loads);
    let used = slots_of(loads)
        .into_iter()
        .filter(|(_, slots)| slots.used > 0);
    Tick {
        second: at,
        all: second.all,
        routes: second
            .routes
            .into_iter()
            .map(|(id, sample)| (id.index(), sample))
            .collect(),
        workers: used
            .map(|(id, slots)| {
                let requests = slots.used.saturating_sub(slots.open_streams);
                (id, requests, slots.open_streams, slots.quarantined)
            })
            .collect(),
        queues: waiting_of(shared, &queues),
        faults: faults(shared)
            .into_iter()
            .map(|(name, _, count)| (name, count))
            .filter(|(_, count)| *count > 0)
            .collect(),
        waiting: queues.all.waiting,
        oldest_ms: queues.all.oldest_ms,
        connections: loads.iter().map(|load| load.connections).sum(),
        event_streams: shared.streams.client_count() as u64,
        cpu_percent,
    }
}

/// By the index of the route's label.
fn waiting_of(shared: &Shared, queues: &Queues) -> BTreeMap<usize, u64> {
    if queues.all.waiting == 0 {
        return BTreeMap::new();
    }
    let labels = shared.route_labels.lock();
    let labels = labels.unwrap_or_else(PoisonError::into_inner);
    let waiting = labels.iter().map(|label| queues.of_route(label).waiting);
    waiting
        .enumerate()
        .filter(|(_, count)| *count > 0)
        .collect()
}
