//! Responds to HTTP requests that `slotway-hub` hands over through shared memory.
//!
//! ```no_run
//! use slotway_worker_sdk::extract::Path;
//! use slotway_worker_sdk::{HubWorker, RunError};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), RunError> {
//!     HubWorker::new("http://127.0.0.1:3200", "items", ())
//!         .get("/api/items/{id}", async |Path(id): Path<u64>| format!("item {id}"))
//!         .run()
//!         .await
//! }
//! ```
//!
//! Ways to write a handler:
//!
//! - [`HubWorker::get`], [`HubWorker::post`] … and [`HubWorker::route`]: a function, plain or
//!   async, whose arguments are made of the request ([`extract`]) and whose result becomes
//!   the response ([`response`]); see [`Handler`];
//! - [`HubWorker::in_place`], [`HubWorker::in_place_async`], [`HubWorker::in_place_stream`]: a function
//!   over a [`Request`] that is read in place and a [`response::Response`] that is written in place;
//! - [`HubWorker::sse`]: event streams, fed by a [`HubEmitter`];
//! - `HubWorker::service` and `serve` (feature `tower`): an axum `Router` or any
//!   service of tower;
//! - [`HubWorker::routes`]: any of them as a value, a [`Route`], which may be run again
//!   ([`Route::retry`]);
//! - [`seed`]: the API of the crate that Slotway grew out of.
//!
//! [`Request::cancellation`] tells a handler that nobody waits any more,
//! [`HubWorker::instance`] joins workers of the same name, [`HubWorker::run_until`]
//! finishes what the worker has before it goes. The guide is the crate's README.
//!
//! The way of a request, by folder; a line imports from those below it:
//!
//! ```text
//! seed      HubWorker as the crate has it that Slotway grew out of
//! worker    HubWorker: routes and options; the supervisor that keeps it attached
//! serve     the threads that take requests from the rings
//! tower     services of tower, such as axum's Router, as handlers
//! handler   the functions of a service, and what they take and return
//! exchange  one request and its response in their slot
//! session   memory, rings and bells of one session; bodies that do not fit a slot
//! hub       registering and attaching
//! limits, error, clock
//! ```
//!
//! `serve/receiver` takes a request from the ring and finds its `handler/route`, which
//! hands the handler an `exchange/request`; the handler returns an `exchange/response`,
//! which an `exchange/ticket` publishes, exactly once, and `serve/receiver` rings the hub.
#![deny(unsafe_code)]
#![cfg_attr(
    not(feature = "tokio"),
    allow(dead_code, reason = "some parts serve async handlers alone")
)]

mod clock;
mod error;
mod exchange;
mod handler;
mod hub;
pub mod limits;
#[cfg(feature = "tokio")]
pub mod seed;
mod serve;
mod session;
#[cfg(feature = "tower")]
pub mod tower;
mod worker;

pub use error::{EmitError, RunError};
pub use exchange::body_sender::{BodySender, TrailersNotSent};
#[cfg(feature = "tokio")]
pub use exchange::cancellation::CancellationToken;
pub use exchange::early_hints::HintsNotSent;
pub use exchange::request::Request;
#[cfg(feature = "tokio")]
pub use exchange::request_body::RequestBody;
pub use handler::function::Handler;
pub use handler::route::Route;
pub use session::meter::WorkerMetrics;
pub use session::stream::BodyClosed;
pub use slotway_shm_proto::message::{Goodbye, Refusal};
pub use slotway_shm_proto::trailers::TrailerError;
pub use slotway_shm_proto::{Method, api};
pub use worker::HubWorker;
pub use worker::emitter::{HubEmitter, SseEvent, SseTarget};
pub use worker::running::{MetricsReader, RunningWorker, Stopper};
#[cfg(feature = "tower")]
pub use worker::service::{Serve, ServeUntil, serve};

/// The documents of the hub's own paths, under the name that the seed's crate has for them.
pub mod types {
    pub use slotway_shm_proto::api::*;
}

/// What the arguments of a [`Handler`] may be.
pub mod extract {
    pub use crate::handler::extract::{FromRequest, Headers, Json, Path, Query, State};
    pub use crate::handler::rejection::Rejection;
}

/// Connections that a handler takes over, for WebSocket or any other protocol: see
/// [`Upgrade`](upgrade::Upgrade).
pub mod upgrade {
    #[cfg(feature = "tokio")]
    pub use crate::exchange::upgrade::UpgradedStream;
    pub use crate::exchange::upgrade::{ConnectionCount, NotUpgraded, Upgrade, UpgradedConnection};
}

/// What a handler returns.
pub mod response {
    pub use crate::exchange::response::{Response, ResponseBuilder};
    pub use crate::handler::extract::Json;
    pub use crate::handler::into_response::IntoResponse;
    pub use crate::handler::rejection::Rejection;
}
