//! The ways to add a route.

#[cfg(feature = "tokio")]
use std::collections::HashMap;
#[cfg(feature = "tower")]
use std::convert::Infallible;
use std::sync::Arc;

#[cfg(feature = "tower")]
use http_body::Body as HttpBody;
#[cfg(feature = "tower")]
use tower_service::Service;

use super::HubWorker;
use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
#[cfg(feature = "tokio")]
use crate::handler::function::{AsyncHandler, StreamHandler};
use crate::handler::function::{BlockingHandler, Seal};
#[cfg(feature = "tokio")]
use crate::handler::owned::HandlerResponse;
use crate::handler::route::Route;
#[cfg(feature = "tower")]
use crate::tower::body::Body;
#[cfg(feature = "tower")]
use crate::tower::service::{self, BoxError};

impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Adds a service of tower, such as an axum `Router`, for every path below
    /// `prefix` and every method. The service sees paths as clients send them, with
    /// the prefix. Bodies stream both ways; extensions have a [`RequestContext`](crate::RequestContext) and,
    /// with the feature `axum`, a `ConnectInfo<SocketAddr>`.
    ///
    /// When the client leaves, or its deadline passes, the service's future is dropped.
    ///
    /// What differs from a listener of one's own: a response that begins ends the
    /// request's body, so a service reads what it wants of that first (a response that
    /// streams while the service still has a body that has not all arrived is 500); there are no
    /// upgrades, no trailers, no methods but those of a hub's routes, and no status
    /// above 599.
    #[cfg(feature = "tower")]
    pub fn service<Svc, Rsp>(mut self, prefix: &str, service: Svc) -> Self
    where
        Svc: Service<http::Request<Body>, Response = http::Response<Rsp>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        Svc::Future: Send,
        Rsp: HttpBody<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        self.group_start = self.routes.len();
        self.routes.extend(service::routes(prefix, service));
        self
    }

    /// Adds a route whose handler gets owned copies: state, parameters, query
    /// and body. [`HubWorker::handle`] and [`HubWorker::handle_async`] copy
    /// nothing.
    #[cfg(feature = "tokio")]
    pub fn route<F, Fut>(self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        self.add_alone(Route::owned(method, path, handler))
    }

    /// Like [`HubWorker::handle_sse`], with a handler that gets owned copies: state,
    /// parameters, query, and the JSON document as body.
    #[cfg(feature = "tokio")]
    pub fn sse_route<F, Fut>(self, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        let mut route = Route::owned("GET", path, handler);
        route.is_sse = true;
        self.add_alone(route)
    }

    /// Adds a route with a plain function, which runs on the thread that
    /// received the request: no task, no allocation. Requests behind it wait
    /// until it returns, so it should not block for long unless there are
    /// enough [`HubWorker::threads`].
    pub fn handle<F>(self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        let handler = move |state: &Arc<S>, request: &Request| handler(state, request);
        self.add_alone(Route::plain(method, path, handler))
    }

    /// Adds a route with a function of extractors: each argument is made of the request
    /// ([`FromRequest`](crate::FromRequest)), and what it returns becomes the response ([`IntoResponse`](crate::IntoResponse)).
    /// Runs on the thread that received the request, like [`HubWorker::handle`].
    ///
    /// ```
    /// use slotway_worker_sdk::{Error, HubWorker, Json, Path, State};
    ///
    /// fn find(State(items): State<Vec<String>>, Path(id): Path<usize>) -> Result<Json<String>, Error> {
    ///     let item = items.get(id).ok_or_else(|| Error::not_found("no such item"))?;
    ///     Ok(Json(item.clone()))
    /// }
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "items", vec!["first".to_owned()])
    ///     .on_blocking("GET", "/items/{id}", find);
    /// ```
    pub fn on_blocking<Args, H>(self, method: &str, path: &str, handler: H) -> Self
    where
        H: BlockingHandler<Args, S>,
    {
        let handler = move |state: &Arc<S>, request: &Request| handler.call(state, request, Seal);
        self.add_alone(Route::plain(method, path, handler))
    }

    /// Like [`HubWorker::on_blocking`], with an async function. Arguments are made
    /// before it starts.
    ///
    /// ```
    /// use slotway_worker_sdk::{HubWorker, Json, Query};
    ///
    /// #[derive(serde::Deserialize, serde::Serialize)]
    /// struct Page { page: u32 }
    ///
    /// async fn list(Query(page): Query<Page>) -> Json<Page> {
    ///     Json(page)
    /// }
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "items", ()).on("GET", "/items", list);
    /// ```
    #[cfg(feature = "tokio")]
    pub fn on<Args: 'static, H>(self, method: &str, path: &str, handler: H) -> Self
    where
        H: AsyncHandler<Args, S>,
    {
        let handler = Arc::new(handler);
        let start = move |state, request| Arc::clone(&handler).call(state, request, Seal);
        self.add_alone(Route::asynchronous(method, path, start))
    }

    /// Like [`HubWorker::on`], with a last argument that is the body while it arrives:
    /// see [`HubWorker::handle_stream`]. Arguments that are made of the body, like
    /// [`Json`](crate::Json), find none there.
    ///
    /// ```
    /// use slotway_worker_sdk::{BodyClosed, Error, HubWorker, Path, RequestBody};
    ///
    /// async fn store(Path(name): Path<String>, mut body: RequestBody) -> Result<String, Error> {
    ///     let mut bytes = 0;
    ///     while let Some(piece) = body.next().await.map_err(Error::internal)? {
    ///         bytes += piece.len();
    ///     }
    ///     Ok(format!("{name}: {bytes} bytes"))
    /// }
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "files", ()).on_stream("PUT", "/files/{name}", store);
    /// ```
    #[cfg(feature = "tokio")]
    pub fn on_stream<Args: 'static, H>(self, method: &str, path: &str, handler: H) -> Self
    where
        H: StreamHandler<Args, S>,
    {
        let handler = Arc::new(handler);
        let start =
            move |state, request, body| Arc::clone(&handler).call(state, request, body, Seal);
        self.add_alone(Route::streaming(method, path, start))
    }

    /// Adds an event stream (Server-Sent Events): clients that `GET` the path stay
    /// connected to the hub, and get what a [`HubEmitter`](crate::HubEmitter) pushes. The handler is told
    /// when one comes or goes, by a POST whose body is
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
    /// worker.handle_sse("/jobs/{id}/progress", |(), request| {
    ///     request.response(200).empty()
    /// });
    /// // Elsewhere: emitter.sse_push("/jobs/7/progress", "progress", "80").await
    /// ```
    pub fn handle_sse<F>(self, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        let handler = move |state: &Arc<S>, request: &Request| handler(state, request);
        let mut route = Route::plain("GET", path, handler);
        route.is_sse = true;
        self.add_alone(route)
    }

    /// Adds a route with an async function. It is polled once on the thread
    /// that received the request and goes to the tokio runtime only if it is
    /// not ready then.
    #[cfg(feature = "tokio")]
    pub fn handle_async<F, Fut>(self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.add_alone(Route::asynchronous(method, path, handler))
    }

    /// Adds a route with an async function that reads the request's body while it
    /// arrives, however long it is. [`Request::body`] is empty there. Read the body,
    /// or as much of it as is wanted, before the response is begun: what has not been
    /// read then is dropped.
    ///
    /// ```
    /// use slotway_worker_sdk::HubWorker;
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "sums", ()).handle_stream(
    ///     "POST",
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
    pub fn handle_stream<F, Fut>(self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.add_alone(Route::streaming(method, path, handler))
    }

    /// Lets requests of the route that was added last run again on another instance
    /// when this worker dies with them, if their method is safe (GET, HEAD, OPTIONS).
    /// A request that its handler had not begun goes to another instance anyway.
    ///
    /// # Panics
    /// If no route has been added.
    pub fn retry(mut self) -> Self {
        let last = &mut self.routes[self.group_start..];
        assert!(!last.is_empty(), "retry() is about the route before it");
        for route in last {
            route.may_retry = true;
        }
        self
    }

    fn add_alone(mut self, route: Route<S>) -> Self {
        self.group_start = self.routes.len();
        self.routes.push(route);
        self
    }
}
