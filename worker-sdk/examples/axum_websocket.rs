//! `WebSocket`, and bodies that go both ways at once: what an axum service has behind a listener, it has
//! behind a hub.
//!
//! ```console
//! $ cargo run --example axum_websocket --features axum -- http://127.0.0.1:3200
//! ```

use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{any, post};
use slotway_worker_sdk::{HubWorker, RunError};

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let hub = std::env::args().nth(1);
    let hub = hub.as_deref().unwrap_or("http://127.0.0.1:3200");
    let worker = HubWorker::new(hub, "axum-websocket", ());
    slotway_worker_sdk::serve(router()).on(worker).await
}

/// The service.
pub fn router() -> Router {
    Router::new()
        .route("/ws", any(upgrade))
        .route("/duplex", post(duplex))
}

async fn upgrade(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo)
}

/// Sends each message back.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        // A ping has its answer already.
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// The answer is the request's own body, as it comes.
async fn duplex(request: Request) -> Response {
    Response::new(request.into_body())
}
