//! An axum service behind a hub: what changes is the line that serves.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), slotway_worker_sdk::RunError> {
    // Before: axum::serve(listener, router()).await
    slotway_worker_sdk::serve(router()).await
}

/// The service.
pub fn router() -> Router {
    Router::new()
        .route("/", get(async || "hello from axum\n"))
        .route("/users/{id}", get(user))
}

async fn user(Path(id): Path<u64>) -> Result<Json<Value>, StatusCode> {
    match id {
        1 => Ok(Json(json!({ "id": id, "name": "Ada" }))),
        _ => Err(StatusCode::NOT_FOUND),
    }
}
