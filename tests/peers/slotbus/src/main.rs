//! The routes of the benchmarks, served by the worker SDK of slotbus-hub.

use slotbus_hub::{HandlerResponse, HubWorker};

fn main() -> Result<(), String> {
    let hub_url = std::env::args().nth(1).ok_or("usage: slotbus-worker HUB_URL")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let worker = HubWorker::new(&hub_url, "bench", ())
        .route("GET", "/api/items/{id}", |_, params, _, _| async move {
            let text = format!("item {}", params["id"]);
            HandlerResponse::bytes(200, text.into_bytes(), "text/plain")
        })
        .route("POST", "/api/echo", |_, _, _, body| async move {
            HandlerResponse::bytes(200, body, "application/octet-stream")
        });
    runtime.map_err(|error| error.to_string())?.block_on(worker.run())
}
