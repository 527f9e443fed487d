//! A worker on the API of the seed: only its import differs from what was
//! written for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slotway_worker_sdk::seed::{HandlerResponse, HubEmitter, HubWorker};
use slotway_worker_sdk::types::{SseLifecycle, SseNotification};

/// What the handlers share.
pub struct Counter {
    requests: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let hub_url = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("HUB_URL").ok())
        .unwrap_or_else(|| "http://127.0.0.1:3200".to_owned());
    worker(&hub_url).run().await?;
    Ok(())
}

/// The worker, for a hub at `hub_url`.
pub fn worker(hub_url: &str) -> HubWorker<Counter> {
    let state = Counter {
        requests: AtomicU64::new(0),
    };
    let worker = HubWorker::new(hub_url, "seed-api", state);
    let emitter = worker.emitter();
    worker
        .sse_route("/api/users/{id}/changes", watch)
        .route(
            "POST",
            "/api/users/{id}/changes",
            move |_, params, _, body| tell(emitter.clone(), params, body),
        )
        .route("GET", "/api/users/{id}", get_user)
        .route("POST", "/api/users", create_user)
        .route("GET", "/api/status/{code}", |_, params, _, _| async move {
            HandlerResponse::status(params["code"].parse().unwrap_or(400))
        })
}

/// Is told when a client begins or ends to listen: `{"sse_lifecycle": …, "params": …}`.
async fn watch(
    state: Arc<Counter>,
    _params: HashMap<String, String>,
    _query: Option<String>,
    body: Vec<u8>,
) -> HandlerResponse {
    let notification = serde_json::from_slice::<SseNotification>(&body);
    if notification.is_ok_and(|told| told.sse_lifecycle == SseLifecycle::Connect) {
        state.requests.fetch_add(1, Ordering::Relaxed);
    }
    HandlerResponse::ok()
}

/// Tells everyone who listens to a user, and everyone who listens to everything.
async fn tell(
    emitter: HubEmitter,
    params: HashMap<String, String>,
    body: Vec<u8>,
) -> HandlerResponse {
    let data = String::from_utf8_lossy(&body);
    let path = format!("/api/users/{}/changes", params["id"]);
    let told = async {
        emitter.sse_push(&path, "by-path", &data).await?;
        let pattern = "/api/users/{id}/changes";
        emitter
            .sse_push_by_pattern(pattern, params, "by-pattern", &data)
            .await?;
        emitter.emit("changed", &data).await
    };
    match told.await {
        Ok(()) => HandlerResponse::ok_json(&serde_json::json!({ "source": emitter.source() })),
        Err(error) => HandlerResponse::error(502, &error.to_string()),
    }
}

async fn get_user(
    state: Arc<Counter>,
    params: HashMap<String, String>,
    query: Option<String>,
    _body: Vec<u8>,
) -> HandlerResponse {
    let count = state.requests.fetch_add(1, Ordering::Relaxed) + 1;
    HandlerResponse::ok_json(&serde_json::json!({
        "id": params["id"],
        "query": query,
        "request": count,
    }))
}

async fn create_user(
    _state: Arc<Counter>,
    _params: HashMap<String, String>,
    _query: Option<String>,
    body: Vec<u8>,
) -> HandlerResponse {
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(user) => HandlerResponse::json(201, &user),
        Err(error) => HandlerResponse::error(400, &error.to_string()),
    }
}
