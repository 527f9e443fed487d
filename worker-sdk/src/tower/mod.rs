//! Services of tower, such as an axum `Router`, as handlers (`service`), the `body` of
//! their requests, and `upgrade` of their connections.
//!
//! [`serve`](crate::serve) runs one behind the hub, and
//! [`HubWorker::service`](crate::HubWorker::service) adds one to a worker. With the feature
//! `tracing` each request has a `span`.

pub(crate) mod body;
pub(crate) mod service;
#[cfg(feature = "tracing")]
pub(crate) mod span;
mod upgrade;

pub use body::Body;
pub use service::{BoxError, HttpService, RequestContext, ResponseBody, nested_routes, routes};
#[cfg(feature = "tracing")]
pub use span::request_span;
