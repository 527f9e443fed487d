//! Services of tower, such as an axum `Router`, as handlers (`service`), and the `body` of
//! their requests.
//!
//! [`serve`](crate::serve) runs one behind the hub, and
//! [`HubWorker::service`](crate::HubWorker::service) adds one to a worker.

pub(crate) mod body;
pub(crate) mod service;

pub use body::Body;
pub use service::{BoxError, HttpService, RequestContext, ResponseBody, nested_routes, routes};
