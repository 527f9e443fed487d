//! Answers HTTP requests that `slotway-hub` hands over through shared memory.
//!
//! ```no_run
//! use slotway_worker_sdk::{HubWorker, RunError};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), RunError> {
//!     HubWorker::new("http://127.0.0.1:3200", "items", ())
//!         .handle("GET", "/api/items/{id}", |(), request| {
//!             let id = request.param("id").unwrap_or_default();
//!             request.response(200).text(format_args!("item {id}"))
//!         })
//!         .run()
//!         .await
//! }
//! ```
//!
//! Ways to write a handler:
//!
//! - [`HubWorker::handle`]: a plain function over a [`Request`] that is read
//!   in place and a [`Response`] that is written in place;
//! - [`HubWorker::handle_async`]: the same, async;
//! - [`HubWorker::handle_stream`]: async, reading the body while it arrives;
//! - [`HubWorker::on`], [`HubWorker::on_blocking`], [`HubWorker::on_stream`]: functions of
//!   extractors ([`Path`], [`Query`], [`Json`] …);
//! - [`HubWorker::handle_sse`]: event streams, fed by a [`HubEmitter`];
//! - `HubWorker::service` and `serve` (feature `tower`): an axum `Router` or any
//!   service of tower;
//! - [`HubWorker::route`] and [`HubWorker::sse_route`]: async over owned copies, answering
//!   with a [`HandlerResponse`].
//!
//! [`Request::cancellation`] tells a handler that nobody waits any more,
//! [`HubWorker::instance`] joins workers of the same name, [`HubWorker::run_until`]
//! finishes what the worker has before it goes. The guide is the crate's README.
//!
//! The way of a request, by folder; a line imports from those below it:
//!
//! ```text
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
mod serve;
mod session;
#[cfg(feature = "tower")]
mod tower;
mod worker;

pub use error::{EmitError, RunError};
pub use exchange::body_sender::BodySender;
#[cfg(feature = "tokio")]
pub use exchange::cancellation::CancellationToken;
pub use exchange::request::Request;
#[cfg(feature = "tokio")]
pub use exchange::request_body::RequestBody;
pub use exchange::response::{Response, ResponseBuilder};
pub use handler::error::Error;
pub use handler::extract::{FromRequest, Headers, Json, Path, Query, State};
pub use handler::function::BlockingHandler;
#[cfg(feature = "tokio")]
pub use handler::function::{AsyncHandler, StreamHandler};
pub use handler::into_response::IntoResponse;
pub use handler::owned::HandlerResponse;
pub use session::stream::BodyClosed;
pub use slotway_shm_proto::message::{Goodbye, Refusal};
pub use slotway_shm_proto::{Method, api};
#[cfg(feature = "tower")]
pub use tower::body::Body;
#[cfg(feature = "tower")]
pub use tower::service::{BoxError, RequestContext};
pub use worker::HubWorker;
pub use worker::emitter::{HubEmitter, SseEvent, SseTarget};
pub use worker::running::{RunningWorker, Stopper};
#[cfg(feature = "tower")]
pub use worker::service::{Serve, ServeUntil, serve};
