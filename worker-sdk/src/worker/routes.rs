//! The ways to add a route.

#[cfg(feature = "tokio")]
use std::sync::Arc;

use slotway_shm_proto::Method;

use super::HubWorker;
use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::handler::function::Handler;
use crate::handler::route::Route;
#[cfg(feature = "tower")]
use crate::tower::service::{self, HttpService, Spans};

/// Functions of extractors; see [`Handler`].
impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Adds a route for GET.
    pub fn get<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Get, path, handler)
    }

    /// Adds a route for HEAD. Without one, a HEAD goes to the route for GET, and the body
    /// of its response is left out.
    pub fn head<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Head, path, handler)
    }

    /// Adds a route for POST.
    pub fn post<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Post, path, handler)
    }

    /// Adds a route for PUT.
    pub fn put<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Put, path, handler)
    }

    /// Adds a route for PATCH.
    pub fn patch<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Patch, path, handler)
    }

    /// Adds a route for DELETE.
    pub fn delete<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Delete, path, handler)
    }

    /// Adds a route for OPTIONS.
    pub fn options<Kind>(self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.route(Method::Options, path, handler)
    }

    /// Adds a route for any method. [`Method::Other`] takes all that have no name here, such as QUERY
    /// or PURGE; [`Request::method`] says which one came.
    pub fn route<Kind>(
        mut self,
        method: Method,
        path: &str,
        handler: impl Handler<Kind, S>,
    ) -> Self {
        self.routes.push(Route::new(method, path, handler));
        self
    }

    /// Adds an event stream (Server-Sent Events): clients that `GET` the path stay
    /// connected to the hub, and get what a [`HubEmitter`](crate::HubEmitter) pushes. The handler is told
    /// when one comes or goes, by a POST whose body is an
    /// [`SseLifecycle`](crate::api::SseLifecycle):
    ///
    /// ```json
    /// {"sse_lifecycle": "connect", "params": {"id": "7"}, "path": "/jobs/7/progress",
    ///  "connection": "…", "last_event_id": "41"}
    /// ```
    ///
    /// (or `"disconnect"`; `last_event_id` only where there is one). Its response to
    /// `connect` lets the client in if the status is 2xx, else the client gets it. A
    /// worker that takes over is told of all clients that are there.
    ///
    /// ```
    /// use slotway_worker_sdk::HubWorker;
    ///
    /// let worker = HubWorker::new("http://127.0.0.1:3200", "jobs", ());
    /// let emitter = worker.emitter();
    /// // Lets everybody in.
    /// worker.sse("/jobs/{id}/progress", || ());
    /// // Elsewhere: emitter.sse_push("/jobs/7/progress", "progress", "80").await
    /// ```
    pub fn sse<Kind>(mut self, path: &str, handler: impl Handler<Kind, S>) -> Self {
        self.routes.push(Route::sse(path, handler));
        self
    }
}

/// Functions that read a [`Request`] where it arrived and write a [`Response`] where it
/// leaves: no copy and no allocation.
impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Adds a route with a plain function, which runs on the thread that received the
    /// request. Requests behind it wait until it returns, so it should not block for
    /// long unless there are enough [`HubWorker::threads`].
    ///
    /// ```
    /// use slotway_worker_sdk::{HubWorker, Method};
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "items", ())
    ///     .in_place(Method::Get, "/api/items/{id}", |(), request| {
    ///         let id = request.param("id").unwrap_or_default();
    ///         request.response(200).text(format_args!("item {id}"))
    ///     });
    /// ```
    pub fn in_place<F>(mut self, method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        self.routes.push(Route::in_place(method, path, handler));
        self
    }

    /// Adds a route with an async function. It is polled once on the thread
    /// that received the request and goes to the tokio runtime only if it is
    /// not ready then.
    #[cfg(feature = "tokio")]
    pub fn in_place_async<F, Fut>(mut self, method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.routes
            .push(Route::in_place_async(method, path, handler));
        self
    }

    /// Adds a route with an async function that reads the request's body while it
    /// arrives, however long it is. [`Request::body`] is empty there. Read the body,
    /// or as much of it as is wanted, before the response is begun: what has not been
    /// read then is dropped.
    ///
    /// ```
    /// use slotway_worker_sdk::{HubWorker, Method};
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "sums", ()).in_place_stream(
    ///     Method::Post,
    ///     "/sum",
    ///     |_, request, mut body| async move {
    ///         let mut sum = 0_u64;
    ///         while let Ok(Some(piece)) = body.next().await {
    ///             sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    ///         }
    ///         request.response(200).text(sum)
    ///     },
    /// );
    /// ```
    #[cfg(feature = "tokio")]
    pub fn in_place_stream<F, Fut>(mut self, method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.routes
            .push(Route::in_place_stream(method, path, handler));
        self
    }
}

/// Routes that were made before.
impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Adds routes.
    pub fn routes(mut self, routes: impl IntoIterator<Item = Route<S>>) -> Self {
        self.routes.extend(routes);
        self
    }

    /// Adds a service of tower, such as an axum `Router`, for every path below
    /// `prefix` and every method. The service sees paths as clients send them, with
    /// the prefix. Bodies stream both ways; extensions have a [`RequestContext`](crate::tower::RequestContext) and,
    /// with the feature `axum`, a `ConnectInfo<SocketAddr>`.
    ///
    /// When the client leaves, or its deadline passes, the service's future is dropped.
    ///
    /// What differs from a listener of one's own: a response that begins ends the
    /// request's body, so a service reads what it wants of that first (a response that
    /// streams while the service still has a body that has not all arrived is 500); there are no
    /// upgrades, no trailers, no methods but those of a hub's routes, and no status
    /// above 599.
    ///
    /// [`tower::routes`](crate::tower::routes) makes the same routes for
    /// [`HubWorker::routes`].
    #[cfg(feature = "tower")]
    pub fn service(self, prefix: &str, service: impl HttpService) -> Self {
        let spans = self.spans();
        self.routes(service::routes_of(prefix, service, false, &spans))
    }

    /// Like [`HubWorker::service`], for a service that sees paths without the prefix, as
    /// axum's `nest` has it: under the prefix `/shop`, `/shop/cart` is `/cart` to it.
    #[cfg(feature = "tower")]
    pub fn nest(self, prefix: &str, service: impl HttpService) -> Self {
        let spans = self.spans();
        self.routes(service::routes_of(prefix, service, true, &spans))
    }

    #[cfg(feature = "tower")]
    #[cfg_attr(not(feature = "tracing"), expect(clippy::unused_self))]
    fn spans(&self) -> Spans {
        #[cfg(feature = "tracing")]
        return self.spans.clone();
        #[cfg(not(feature = "tracing"))]
        Spans::default()
    }

    /// How the span of each request of a service is made ([`HubWorker::service`],
    /// [`HubWorker::nest`], `serve`); without this it is a
    /// [`tower::request_span`](crate::tower::request_span).
    #[cfg(feature = "tracing")]
    pub fn make_span(
        self,
        make: impl Fn(&http::Request<crate::tower::Body>) -> tracing::Span + Send + Sync + 'static,
    ) -> Self {
        self.spans.set(make);
        self
    }
}
