//! A worker with a route of every kind that the demo, the tests and the
//! benchmarks use. Start a hub, then:
//!
//! ```text
//! cargo run --release --example echo -- http://127.0.0.1:3200
//! ```

use std::time::Duration;

use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{HubWorker, Method, Request, RunError};

/// Largest body that `/api/bytes/{n}` makes.
const BYTES_MAX: usize = 1 << 30;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let hub_url = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("HUB_URL").ok())
        .unwrap_or_else(|| "http://127.0.0.1:3200".to_owned());
    worker(&hub_url, "echo").run().await
}

/// The worker, for a hub at `hub_url`.
pub fn worker(hub_url: &str, name: &str) -> HubWorker<()> {
    HubWorker::new(hub_url, name, ())
        .in_place(Method::Get, "/api/items/{id}", |(), request| {
            let id = request.param("id").unwrap_or_default();
            request.response(200).text(format_args!("item {id}"))
        })
        .in_place(Method::Post, "/api/echo", |(), request| {
            let content_type = request
                .header("content-type")
                .unwrap_or("application/octet-stream");
            request.response(200).bytes(content_type, request.body())
        })
        .in_place_async(Method::Get, "/api/sleep/{ms}", |_, request| async move {
            let Some(ms) = number(&request, "ms") else {
                return not_a_number(&request);
            };
            tokio::time::sleep(Duration::from_millis(ms)).await;
            request.response(200).text(format_args!("slept {ms} ms"))
        })
        .in_place(Method::Get, "/api/bytes/{n}", |(), request| {
            let Some(n) = number(request, "n") else {
                return not_a_number(request);
            };
            let response = request
                .response(200)
                .header("content-type", "application/octet-stream");
            response.body_vec(vec![
                b'x';
                usize::try_from(n).unwrap_or(BYTES_MAX).min(BYTES_MAX)
            ])
        })
}

fn number(request: &Request, name: &str) -> Option<u64> {
    request.param(name)?.parse().ok()
}

fn not_a_number(request: &Request) -> Response {
    request
        .response(400)
        .json(&serde_json::json!({ "error": "not a number" }))
}
