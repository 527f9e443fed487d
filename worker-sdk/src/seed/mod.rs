//! The API of the crate that Slotway grew out of: a worker that was written for that
//! changes its import alone.
//!
//! ```no_run
//! use std::collections::HashMap;
//! use std::sync::Arc;
//!
//! use slotway_worker_sdk::seed::{HandlerResponse, HubWorker};
//!
//! async fn item(
//!     _state: Arc<()>,
//!     params: HashMap<String, String>,
//!     _query: Option<String>,
//!     _body: Vec<u8>,
//! ) -> HandlerResponse {
//!     HandlerResponse::ok_json(&serde_json::json!({ "id": params["id"] }))
//! }
//!
//! # async fn example() -> Result<(), slotway_worker_sdk::RunError> {
//! HubWorker::new("http://127.0.0.1:3200", "items", ())
//!     .route("GET", "/items/{id}", item)
//!     .run()
//!     .await
//! # }
//! ```
//!
//! A handler of this kind gets copies of what it may want to know, and returns its
//! response in parts (`handler_response`). [`HubWorker::into_worker`] is the way to everything else.

mod handler_response;

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::RunError;
use crate::handler::into_response::IntoResponse;
use crate::handler::route::Route;
use crate::worker;
pub use crate::worker::emitter::HubEmitter;
pub use handler_response::HandlerResponse;

/// A worker whose handlers get the state, the path's parameters, the query and the body.
pub struct HubWorker<S: Send + Sync + 'static> {
    worker: worker::HubWorker<S>,
}

impl<S: Send + Sync + 'static> HubWorker<S> {
    /// See [`HubWorker::new`](crate::HubWorker::new).
    pub fn new(hub_url: &str, name: &str, state: S) -> Self {
        Self {
            worker: worker::HubWorker::new(hub_url, name, state),
        }
    }

    /// Adds a route.
    pub fn route<F, Fut>(self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        self.add(route(method, path, handler))
    }

    /// Adds an event stream, whose handler gets the JSON document of
    /// [`HubWorker::sse`](crate::HubWorker::sse) as body.
    pub fn sse_route<F, Fut>(self, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        self.add(route("GET", path, handler).into_sse())
    }

    /// See [`HubWorker::emitter`](crate::HubWorker::emitter).
    pub fn emitter(&self) -> HubEmitter {
        self.worker.emitter()
    }

    /// The shared state.
    pub fn state(&self) -> Arc<S> {
        self.worker.state()
    }

    /// See [`HubWorker::run`](crate::HubWorker::run).
    pub async fn run(self) -> Result<(), RunError> {
        self.worker.run().await
    }

    /// The worker with its routes, for options and routes that are not of this API.
    pub fn into_worker(self) -> worker::HubWorker<S> {
        self.worker
    }

    fn add(self, route: Route<S>) -> Self {
        Self {
            worker: self.worker.routes([route]),
        }
    }
}

fn route<S, F, Fut>(method: &str, path: &str, handler: F) -> Route<S>
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResponse> + Send + 'static,
{
    Route::of_any_method(method, path, move |state, request| {
        let params = request.params();
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = request.query().map(str::to_owned);
        let future = handler(state, params.collect(), query, request.body().to_vec());
        async move { future.await.into_response(&request) }
    })
}
