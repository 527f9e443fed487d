//! A worker on the native API: items over HTTP, and their changes as events.

use std::sync::RwLock;

use serde::{Deserialize, Serialize};
use slotway_worker_sdk::extract::{Json, Path, State};
use slotway_worker_sdk::response::Rejection;
use slotway_worker_sdk::{HubEmitter, HubWorker, RunError, SseEvent, SseTarget};

/// What there is to know of an item.
#[derive(Clone, Serialize, Deserialize)]
pub struct Item {
    name: String,
}

/// All items; an item's id is its place.
pub type Items = RwLock<Vec<Item>>;

fn main() -> Result<(), RunError> {
    worker(HubWorker::from_env("items", Items::default())).run_blocking()
}

/// Adds the routes.
pub fn worker(worker: HubWorker<Items>) -> HubWorker<Items> {
    let emitter = worker.emitter();
    worker
        .get("/items/{id}", find)
        .post("/items", move |items: State<Items>, item: Json<Item>| {
            add(&emitter, items, item)
        })
        .sse("/items/changes", || ())
        .threads(2)
}

fn find(State(items): State<Items>, Path(id): Path<usize>) -> Result<Json<Item>, Rejection> {
    let items = items.read().map_err(Rejection::internal)?;
    let item = items
        .get(id)
        .ok_or_else(|| Rejection::not_found("no such item"))?;
    Ok(Json(item.clone()))
}

fn add(
    emitter: &HubEmitter,
    State(items): State<Items>,
    Json(item): Json<Item>,
) -> Result<(u16, Json<usize>), Rejection> {
    let event = SseEvent::new("added", &item.name);
    let id = {
        let mut items = items.write().map_err(Rejection::internal)?;
        items.push(item);
        items.len() - 1
    };
    // Perhaps nobody listens, which is no error here.
    let _ = emitter.push_blocking(
        &SseTarget::path("/items/changes"),
        &event.id(&id.to_string()),
    );
    Ok((201, Json(id)))
}
