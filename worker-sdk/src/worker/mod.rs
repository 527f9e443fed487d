//! The worker: routes, state and how it is run.
//!
//! [`HubWorker`] collects routes and options, [`supervisor`] is the thread that keeps it
//! attached to its hub, [`running`] the handle of a worker that serves, and [`emitter`]
//! sends events to the clients of its event streams.

pub(crate) mod emitter;
mod message;
pub(crate) mod running;
mod supervisor;

#[cfg(feature = "tokio")]
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::RunError;
use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::handler::function::BlockingHandler;
#[cfg(feature = "tokio")]
use crate::handler::function::{AsyncHandler, StreamHandler};
#[cfg(feature = "tokio")]
use crate::handler::owned::HandlerResponse;
use crate::handler::route::Route;
use crate::handler::runtime::Spawner;
use crate::hub::attach::AttachSocket;
use crate::hub::client::{HubClient, HubUrl};
use crate::hub::register::{RegisterRequest, RouteRegistration};
use crate::limits::{
    COLLECTED_BYTES_MAX_DEFAULT, CONNECT_TIME_DEFAULT, EMITTER_CONNECTION_COUNT, HUB_URL_DEFAULT,
    THREAD_COUNT_BOUND, THREAD_COUNT_DEFAULT,
};
use crate::serve::serving::Serving;
use crate::session::live::LiveSessions;
use emitter::HubEmitter;
use running::RunningWorker;
use supervisor::Supervisor;

/// A worker of a hub: answers the routes it registers.
///
/// ```no_run
/// use slotway_worker_sdk::{HubWorker, RunError};
///
/// #[tokio::main]
/// async fn main() -> Result<(), RunError> {
///     HubWorker::new("http://127.0.0.1:3200", "hello", ())
///         .handle("GET", "/hello/{name}", |(), request| {
///             let name = request.param("name").unwrap_or("stranger");
///             request.response(200).text(format_args!("hello {name}\n"))
///         })
///         .run()
///         .await
/// }
/// ```
pub struct HubWorker<S: Send + Sync + 'static> {
    hub_url: String,
    name: String,
    state: Arc<S>,
    routes: Vec<Route<S>>,
    /// Where the routes begin that were added last.
    group_start: usize,
    thread_count: u32,
    follows_hub: bool,
    is_instance: bool,
    spin: Duration,
    connect_timeout: Duration,
    collected_bytes_max: usize,
    hub_socket: Option<PathBuf>,
    trusted_users: Vec<u32>,
    sessions: LiveSessions,
}

impl<S: Send + Sync + 'static> HubWorker<S> {
    /// A worker that will register as `name` with the hub at `hub_url`:
    /// `http://host:port`, or `unix:/path` for a hub that listens on a Unix socket. A
    /// worker that is there under the same name is replaced: it finishes what
    /// it has.
    pub fn new(hub_url: &str, name: &str, state: S) -> Self {
        Self {
            hub_url: hub_url.to_owned(),
            name: name.to_owned(),
            state: Arc::new(state),
            routes: Vec::new(),
            group_start: 0,
            thread_count: THREAD_COUNT_DEFAULT,
            follows_hub: true,
            is_instance: false,
            spin: Duration::ZERO,
            connect_timeout: CONNECT_TIME_DEFAULT,
            collected_bytes_max: COLLECTED_BYTES_MAX_DEFAULT,
            hub_socket: None,
            trusted_users: Vec::new(),
            sessions: LiveSessions::default(),
        }
    }

    /// Like [`HubWorker::new`], with the hub that the environment's `HUB_URL` names, or
    /// the one at `http://127.0.0.1:3200`.
    pub fn from_env(name: &str, state: S) -> Self {
        let url = std::env::var("HUB_URL").ok();
        Self::new(url.as_deref().unwrap_or(HUB_URL_DEFAULT), name, state)
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
    /// ([`FromRequest`](crate::FromRequest)), and what it returns becomes the answer ([`IntoResponse`](crate::IntoResponse)).
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
        let handler = move |state: &Arc<S>, request: &Request| handler.call(state, request);
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
        let start = move |state, request| Arc::clone(&handler).call(state, request);
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
        let start = move |state, request, body| Arc::clone(&handler).call(state, request, body);
        self.add_alone(Route::streaming(method, path, start))
    }

    /// Adds an event stream (Server-Sent Events): clients that `GET` the path stay
    /// connected to the hub, and get what [`HubEmitter`] pushes. The handler is told
    /// when one comes or goes, by a POST whose body is
    ///
    /// ```json
    /// {"sse_lifecycle": "connect", "params": {"id": "7"}, "path": "/jobs/7/progress",
    ///  "connection": "…", "last_event_id": "41"}
    /// ```
    ///
    /// (or `"disconnect"`; `last_event_id` only where there is one). Its answer to
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
    /// or as much of it as is wanted, before the answer is begun: what has not been
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
            route.may_repeat = true;
        }
        self
    }

    /// The routes from here on belong together: [`HubWorker::retry`] is about all.
    #[cfg(feature = "tower")]
    pub(crate) fn begin_group(&mut self) {
        self.group_start = self.routes.len();
    }

    #[cfg(feature = "tower")]
    pub(crate) fn add(&mut self, route: Route<S>) {
        self.routes.push(route);
    }

    fn add_alone(mut self, route: Route<S>) -> Self {
        self.group_start = self.routes.len();
        self.routes.push(route);
        self
    }

    /// How many threads receive requests, 1 to 64; 1 unless this says
    /// otherwise.
    pub fn threads(mut self, count: u32) -> Self {
        self.thread_count = count.clamp(1, THREAD_COUNT_BOUND);
        self
    }

    /// Whether receiving threads keep to the core of the hub's reactor while
    /// they run plain handlers that are quick (some 20 µs); they do unless this
    /// says otherwise. Waking a thread on the same core costs a few
    /// microseconds, on another one several times that.
    ///
    /// A thread that such a handler starts inherits that core. Say `false` if a
    /// plain handler starts threads that do work.
    pub fn follow_hub(mut self, follow: bool) -> Self {
        self.follows_hub = follow;
        self
    }

    /// Joins the workers of the same name rather than replace them: each request
    /// goes to the one that has the fewest. Workers of different names may share
    /// routes as well.
    pub fn instance(mut self) -> Self {
        self.is_instance = true;
        self
    }

    /// How long a receiving thread looks for the next request before it sleeps; it
    /// sleeps at once unless this says otherwise. A thread that looks answers some tens
    /// of microseconds earlier and keeps a core busy: only for machines with cores to
    /// spare.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// How long registering may take, and attaching after it, before the worker tries
    /// again; 5 s unless this says otherwise.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How much memory the bodies of requests may take, in bytes, that are collected for
    /// their handlers since they do not fit their slots; 256 MiB unless this says
    /// otherwise. A request beyond that is answered with 503. Bodies that handlers read
    /// themselves ([`HubWorker::handle_stream`]) take none of it.
    pub fn collected_bytes_max(mut self, bytes: usize) -> Self {
        self.collected_bytes_max = bytes;
        self
    }

    /// Where the hub's attach socket is (its start line says so). The worker registers
    /// there, where the system says who is at the other end. Unless this says otherwise it
    /// is what the environment's `HUB_SOCKET` names, else the hub's default for the port of
    /// its URL; where there is none the worker registers over HTTP.
    pub fn hub_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.hub_socket = Some(path.into());
        self
    }

    /// The hub runs as this user (a number). Without this, a hub that is neither the
    /// worker's own user's nor root's is not trusted with its routes: anybody could be
    /// listening in the place of one that is gone.
    pub fn trust_hub_user(mut self, uid: u32) -> Self {
        self.trusted_users.push(uid);
        self
    }

    /// Pushes events to clients that listen. To be taken after
    /// [`HubWorker::connect_timeout`], which bounds its requests as well.
    pub fn emitter(&self) -> HubEmitter {
        // A wrong URL is told when the worker runs.
        let url = HubUrl::parse(&self.hub_url).ok();
        let client = |url| HubClient::new(url, self.connect_timeout, EMITTER_CONNECTION_COUNT);
        let hub = url.map(client);
        HubEmitter::new(hub, &self.name, self.sessions.clone())
    }

    /// The shared state.
    pub fn state(&self) -> Arc<S> {
        Arc::clone(&self.state)
    }

    /// Starts the worker on threads of its own, and returns at once: it registers,
    /// attaches and serves. When the hub goes away the worker connects again, at once
    /// first and then with growing pauses; routes and state stay.
    ///
    /// Async handlers run in the tokio runtime that is current here.
    pub fn start(self) -> Result<RunningWorker, RunError> {
        self.spawn(|outcome| outcome)
    }

    /// Like [`HubWorker::start`], and waits for the end: an error that trying again
    /// cannot mend, like a refused registration or another worker that took over the
    /// name. Blocks.
    pub fn run_blocking(self) -> Result<(), RunError> {
        self.start()?.wait()
    }

    /// `ended` is called with the outcome before the thread ends.
    fn spawn(
        self,
        ended: impl FnOnce(Result<(), RunError>) -> Result<(), RunError> + Send + 'static,
    ) -> Result<RunningWorker, RunError> {
        let url = HubUrl::parse(&self.hub_url)?;
        let told = self.hub_socket.or_else(|| {
            std::env::var_os("HUB_SOCKET")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let attach = AttachSocket {
            told,
            usual: url.usual_attach_sockets(),
            trusted: self.trusted_users,
        };
        let hub = HubClient::new(url, self.connect_timeout, 0);
        let spawner = Spawner::current();
        #[cfg(feature = "tokio")]
        if !spawner.is_there() && self.routes.iter().any(Route::is_async) {
            return Err(RunError::NoRuntime);
        }
        let registration = RegisterRequest {
            name: self.name.clone(),
            routes: self.routes.iter().map(Route::registration).collect(),
            instance: self.is_instance,
        };
        let serving = Serving {
            name: self.name,
            hub,
            attach,
            registration: Arc::new(registration),
            routes: Arc::new(self.routes),
            state: self.state,
            thread_count: self.thread_count,
            follows_hub: self.follows_hub,
            spin: self.spin,
            connect_timeout: self.connect_timeout,
            collected_bytes_max: self.collected_bytes_max,
            spawner,
            sessions: self.sessions,
        };
        let (supervisor, sender) = Supervisor::new(serving);
        let thread = std::thread::Builder::new().name("slotway-supervisor".to_owned());
        let thread = thread.spawn(move || ended(supervisor.run()));
        let thread = thread.map_err(RunError::Threads)?;
        Ok(RunningWorker::new(sender, thread))
    }
}

#[cfg(feature = "tokio")]
impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Like [`HubWorker::run_blocking`], without blocking.
    ///
    /// Dropping the future ends the session, and with it the requests that the worker
    /// has; [`HubWorker::run_until`] finishes them.
    pub async fn run(self) -> Result<(), RunError> {
        self.run_until(std::future::pending()).await
    }

    /// Like [`HubWorker::run`], until `stop` is done. Then the hub sends no further
    /// request, those that the worker has are finished (for as long as the hub lets a
    /// worker take), and this returns.
    ///
    /// ```no_run
    /// # use slotway_worker_sdk::{HubWorker, RunError};
    /// # async fn example() -> Result<(), RunError> {
    /// HubWorker::new("http://127.0.0.1:3200", "hello", ())
    ///     .handle("GET", "/hello", |(), request| request.response(200).text("hello"))
    ///     .run_until(async { tokio::signal::ctrl_c().await.expect("a handler of SIGINT") })
    ///     .await
    /// # }
    /// ```
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let (done, mut outcome) = tokio::sync::oneshot::channel();
        // Ends the worker if this future is dropped.
        let running = self.spawn(move |result| {
            // Nobody listens in that case.
            let _ = done.send(result);
            Ok(())
        })?;
        let ended = |result: Result<_, _>| result.expect("the supervisor does not panic");
        tokio::select! {
            result = &mut outcome => return ended(result),
            () = stop => running.stop(),
        }
        ended(outcome.await)
    }
}

impl<S: Send + Sync + 'static> Route<S> {
    fn registration(&self) -> RouteRegistration {
        RouteRegistration {
            method: self.method.clone(),
            path: self.pattern.path().to_owned(),
            retry: self.may_repeat,
            sse: self.is_sse,
            raw_params: self.raw_params,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_an_error_at_once() {
        let result = HubWorker::new("nonsense", "w", ()).run_blocking();
        assert!(matches!(result, Err(RunError::Url { .. })));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn async_handlers_without_a_runtime_are_an_error_at_once() {
        let worker = HubWorker::new("http://127.0.0.1:9", "w", ());
        let worker = worker.handle_async("GET", "/", |_, request| async move {
            request.response(200).empty()
        });
        assert!(matches!(worker.start(), Err(RunError::NoRuntime)));
    }

    #[test]
    fn a_worker_without_a_hub_can_be_stopped() {
        // Port 9 is discard; nobody listens there.
        let worker = HubWorker::new("http://127.0.0.1:9", "w", ())
            .start()
            .unwrap();
        worker.stop();
        assert!(worker.wait().is_ok());
    }

    #[test]
    fn state_is_shared_not_copied() {
        let worker = HubWorker::new("http://h", "w", 7);
        assert!(Arc::ptr_eq(&worker.state(), &worker.state()));
    }
}
