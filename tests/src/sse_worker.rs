//! A worker with event streams, which remembers what it was told of their clients.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use slotway_worker_sdk::extract::{self, Headers, Json};
use slotway_worker_sdk::{HubWorker, Method, SseEvent, SseTarget};

use crate::http::{self, Response};
use crate::system::{HubPart, wait_until};

/// What it was told.
#[derive(Debug, Default)]
pub struct State {
    told: Mutex<Vec<Value>>,
    /// What a browser says that it has seen.
    seen: Mutex<Vec<String>>,
}

/// Says what it sees. A fetch that fails, since no worker is there, is tried again.
const PAGE: &str = r"<!doctype html><title>events</title><script>
async function tell(text) {
    for (;;) {
        try {
            const response = await fetch('/browser-seen/' + encodeURIComponent(text), {method: 'POST'});
            if (response.ok) return;
        } catch (error) {}
        await new Promise((done) => setTimeout(done, 20));
    }
}
const source = new EventSource('/sse/browser');
source.addEventListener('news', (event) => tell(event.data + ' ' + event.lastEventId));
</script>";

/// The worker, for a hub at `hub_url`. `GET /sse-told` says what it was told; a GET of
/// `/sse-push/{room}/{type}` pushes to a room, and of `/sse-emit/{type}` emits;
/// `/browser` is a page that listens, and tells `/browser-seen`.
pub fn worker(hub_url: &str, name: &str) -> HubWorker<State> {
    let worker = HubWorker::new(hub_url, name, State::default()).share_routes();
    let (pusher, emitter) = (worker.emitter(), worker.emitter());
    worker
        .sse("/sse/{room}", notice)
        .in_place(Method::Get, "/sse-told", |state, request| {
            let told = state.told.lock().unwrap_or_else(PoisonError::into_inner);
            request.response(200).json(&*told)
        })
        .in_place(Method::Get, "/browser", |_, request| {
            request.response(200).bytes("text/html", PAGE.as_bytes())
        })
        .in_place(Method::Post, "/browser-seen/{text}", |state, request| {
            let mut seen = state.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(request.param("text").unwrap_or_default().to_owned());
            request.response(200).empty()
        })
        .in_place(Method::Get, "/browser-seen", |state, request| {
            let seen = state.seen.lock().unwrap_or_else(PoisonError::into_inner);
            request.response(200).json(&*seen)
        })
        .in_place_async(Method::Get, "/sse-push/{room}/{type}", move |_, request| {
            let emitter = pusher.clone();
            async move {
                let room = request.param("room").unwrap_or_default();
                let event_type = request.param("type").unwrap_or_default();
                let target = SseTarget::pattern("/sse/{room}").param("room", room);
                let event = SseEvent::new(event_type, "from the worker").id("w");
                match emitter.push(&target, &event).await {
                    Ok(()) => request.response(200).empty(),
                    Err(error) => request.response(500).text(error),
                }
            }
        })
        .in_place_async(Method::Get, "/sse-emit/{type}", move |_, request| {
            let emitter = emitter.clone();
            async move {
                let data = json!({"channel": "jobs", "n": 1}).to_string();
                let event_type = request.param("type").unwrap_or_default();
                match emitter.emit(event_type, &data).await {
                    Ok(()) => request.response(200).empty(),
                    Err(error) => request.response(500).text(error),
                }
            }
        })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler's arguments are its own"
)]
fn notice(
    extract::State(state): extract::State<State>,
    method: Method,
    headers: Headers,
    Json(mut told): Json<Value>,
) -> Result<(), (u16, &'static str)> {
    if told["params"]["room"] == "forbidden" {
        return Err((403, "not you"));
    }
    told["method"] = method.as_str().into();
    told["cookie"] = headers.get("cookie").into();
    told["content-type"] = headers.get("content-type").into();
    let mut all = state.told.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(told);
    Ok(())
}

/// Posts a document.
pub fn post(hub: &HubPart, path: &str, document: &Value) -> Response {
    http::request(hub.address, "POST", path, document.to_string().as_bytes())
}

/// Pushes an event to a target.
pub fn push(hub: &HubPart, target: &Value, event_type: &str, data: &str) -> Response {
    let mut document = json!({"event_type": event_type, "data": data});
    for (name, value) in target.as_object().unwrap() {
        document[name] = value.clone();
    }
    post(hub, "/internal/sse-push", &document)
}

/// What the worker was told.
pub fn told(hub: &HubPart) -> Vec<Value> {
    let response = http::get(hub.address, "/sse-told");
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// What the worker was told, once that is so many documents.
pub fn await_told(hub: &HubPart, count: usize) -> Vec<Value> {
    wait_until("the worker is told", || told(hub).len() >= count);
    told(hub)
}
