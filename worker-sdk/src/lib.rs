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
//! The way of a request, by file: `serve` (a receiving thread takes it from
//! the ring) → `handler` (`async_handler`, `handler_fn`, `service`) → `request`
//! (`extract`) → `response` (`into_answer`) → `ticket` (the answer is published, exactly
//! once) → `session` (rings the hub). `register` (over `hub_client`) and `attach` make
//! a session, `keeper` keeps one alive, `transfer` moves bodies that do not fit a slot's
//! arena, `stream` those that a handler reads (`request_body`) or writes (`body_sender`)
//! itself. `emitter` pushes events.
#![deny(unsafe_code)]
#![cfg_attr(
    not(feature = "tokio"),
    allow(dead_code, reason = "some parts serve async handlers alone")
)]

#[cfg(feature = "tokio")]
mod async_handler;
mod attach;
mod block_on;
mod body_pool;
mod body_sender;
mod cancellation;
mod clock;
mod emitter;
mod error;
mod extract;
mod handler;
mod handler_fn;
mod handler_response;
mod hub_client;
mod hub_worker;
#[allow(unsafe_code)]
mod in_place;
mod into_answer;
mod keeper;
pub mod limits;
mod path_params;
mod pattern;
mod placement;
mod register;
mod request;
#[cfg(feature = "tokio")]
mod request_body;
mod response;
mod ring_copy;
mod running_worker;
mod runtime;
mod serve;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod service_body;
mod session;
mod stream;
mod ticket;
mod transfer;

pub use body_sender::BodySender;
#[cfg(feature = "tokio")]
pub use cancellation::CancellationToken;
pub use emitter::{HubEmitter, SseEvent, SseTarget};
pub use error::{EmitError, RunError};
pub use extract::{FromRequest, Headers, Json, Path, Query, State};
pub use handler_fn::BlockingHandler;
#[cfg(feature = "tokio")]
pub use handler_fn::{AsyncHandler, StreamHandler};
pub use handler_response::HandlerResponse;
pub use hub_worker::HubWorker;
pub use into_answer::{Error, IntoAnswer};
pub use request::Request;
#[cfg(feature = "tokio")]
pub use request_body::RequestBody;
pub use response::{Response, ResponseBuilder};
pub use running_worker::{RunningWorker, Stopper};
#[cfg(feature = "tower")]
pub use service::{BoxError, RequestContext, Serve, ServeUntil, serve};
#[cfg(feature = "tower")]
pub use service_body::Body;
pub use slotway_shm_proto::message::{Goodbye, Refusal};
pub use stream::BodyClosed;
