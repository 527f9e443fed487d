//! A route: a method, a pattern and a handler, and how requests are run by it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use slotway_shm_proto::Method;
use slotway_shm_proto::api::RouteRegistration;
use slotway_shm_proto::layout::request_flags;

use super::boxed::BoxedHandler;
use super::function::{Handler, Seal};
#[cfg(feature = "tokio")]
use super::future::AsyncHandler;
use super::scratch::{self, HandlerScratch, PANICKED, UNKNOWN_NS};
use crate::exchange::pattern::RoutePattern;
use crate::exchange::request::{Request, TakenRequest};
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::exchange::ticket::{Published, Ticket};
#[cfg(feature = "tokio")]
use crate::limits::OFFLOAD_NS;
use crate::limits::SLOW_HANDLER_NS;

/// A method, a pattern and their handler; [`HubWorker::routes`](crate::HubWorker::routes)
/// adds it to a worker.
///
/// A pattern's segments are text, a parameter `{name}` with text around it or without, or, as
/// the last, the rest of the path: `{*name}`.
///
/// ```
/// use slotway_worker_sdk::extract::Path;
/// use slotway_worker_sdk::{HubWorker, Method, Route};
///
/// async fn total(Path(year): Path<u16>) -> String {
///     format!("the total of {year}")
/// }
///
/// HubWorker::new("http://127.0.0.1:3200", "totals", ())
///     .routes([Route::new(Method::Get, "/totals/{year}", total).retry()]);
/// ```
pub struct Route<S> {
    /// Its method's token, or another word that the hub will refuse.
    pub(crate) method: String,
    pub(crate) pattern: Arc<RoutePattern>,
    may_retry: bool,
    is_sse: bool,
    raw_params: bool,
    /// What it may use; of the rest of it the other fields say more.
    limits: RouteRegistration,
    handler: BoxedHandler<S>,
    /// What the handler usually takes on the receiving thread; unknown counts
    /// as long.
    usual_ns: Arc<AtomicU32>,
}

impl<S: Send + Sync + 'static> Route<S> {
    /// A route with a function of extractors; see [`Handler`].
    pub fn new<Kind>(method: Method, path: &str, handler: impl Handler<Kind, S>) -> Self {
        Self::boxed(method.as_str(), path, handler.boxed(Seal))
    }

    /// An event stream; see [`HubWorker::sse`](crate::HubWorker::sse).
    pub fn sse<Kind>(path: &str, handler: impl Handler<Kind, S>) -> Self {
        Self::new(Method::Get, path, handler).into_sse()
    }

    /// See [`HubWorker::in_place`](crate::HubWorker::in_place).
    pub fn in_place<F>(method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        let handler = move |state: &Arc<S>, request: &Request| handler(state, request);
        Self::boxed(method.as_str(), path, BoxedHandler::plain(handler))
    }

    /// See [`HubWorker::in_place_async`](crate::HubWorker::in_place_async).
    #[cfg(feature = "tokio")]
    pub fn in_place_async<F, Fut>(method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::of_any_method(method.as_str(), path, handler)
    }

    /// See [`HubWorker::in_place_stream`](crate::HubWorker::in_place_stream).
    #[cfg(feature = "tokio")]
    pub fn in_place_stream<F, Fut>(method: Method, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let handler = BoxedHandler::Async(AsyncHandler::reading(handler));
        Self::boxed(method.as_str(), path, handler)
    }

    /// Lets requests of this route run again on another instance when a worker dies with
    /// them, if their method is safe (GET, HEAD, OPTIONS). A request that its handler had
    /// not begun goes to another instance anyway.
    pub fn retry(mut self) -> Self {
        self.may_retry = true;
        self
    }

    /// The time that this route's handler has to respond, instead of the hub's `--timeout`, which
    /// may be less. Where the hub's configuration has a time for the route as well, the shorter one
    /// counts; so it is with the other limits.
    ///
    /// ```
    /// use slotway_worker_sdk::{HubWorker, Method, Route};
    /// use std::time::Duration;
    ///
    /// let report = Route::new(Method::Get, "/reports/{year}", || "a long report");
    /// HubWorker::new("http://127.0.0.1:3200", "reports", ())
    ///     .routes([report.timeout(Duration::from_secs(300)).concurrency(2)]);
    /// ```
    pub fn timeout(mut self, time: Duration) -> Self {
        self.limits.timeout_ms = Some(time.as_millis().try_into().unwrap_or(u64::MAX));
        self
    }

    /// Bytes of the largest request body of this route, instead of the hub's `--body-bytes-max`; a
    /// larger one gets 413.
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.limits.body_bytes_max = Some(bytes);
        self
    }

    /// How many requests of this route may wait on each reactor of the hub, instead of its `--queue`;
    /// further ones get 503.
    pub fn queue(mut self, count: u32) -> Self {
        self.limits.queue = Some(count);
        self
    }

    /// How many requests of this route all its workers together may have at a time; others wait in the
    /// hub. At least 1; an event stream ([`Route::sse`]) has no such limit.
    pub fn concurrency(mut self, count: u32) -> Self {
        self.limits.concurrency = Some(count);
        self
    }

    /// Like [`Route::in_place_async`], with a method that is perhaps none: the hub says so.
    #[cfg(feature = "tokio")]
    pub(crate) fn of_any_method<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let handler = BoxedHandler::Async(AsyncHandler::whole(handler));
        Self::boxed(method, path, handler)
    }

    fn boxed(method: &str, path: &str, handler: BoxedHandler<S>) -> Self {
        Self {
            method: method.to_owned(),
            pattern: Arc::new(RoutePattern::new(path)),
            may_retry: false,
            is_sse: false,
            raw_params: false,
            limits: RouteRegistration::default(),
            handler,
            usual_ns: Arc::new(AtomicU32::new(UNKNOWN_NS)),
        }
    }

    /// As an event stream.
    pub(crate) fn into_sse(mut self) -> Self {
        self.is_sse = true;
        self
    }

    /// The handler looks at the path itself: parameters that cannot be decoded are no
    /// reason to refuse a request.
    #[cfg(feature = "tower")]
    pub(crate) fn with_raw_params(mut self) -> Self {
        self.raw_params = true;
        self
    }

    /// What the hub is told of it.
    pub(crate) fn registration(&self) -> RouteRegistration {
        RouteRegistration {
            method: self.method.clone(),
            path: self.pattern.path().to_owned(),
            host: None,
            retry: self.may_retry,
            sse: self.is_sse,
            raw_params: self.raw_params,
            reads_body: self.reads_body(),
            ..self.limits.clone()
        }
    }

    /// Whether the handler is async.
    pub(crate) fn is_async(&self) -> bool {
        !matches!(self.handler, BoxedHandler::Plain(_))
    }

    /// Whether the handler reads the body itself.
    pub(crate) fn reads_body(&self) -> bool {
        self.handler.reads_body()
    }

    /// Whether responses that wait to be rung should not wait for this handler.
    pub(crate) fn is_slow(&self) -> bool {
        self.usual_ns.load(Ordering::Relaxed) > SLOW_HANDLER_NS
    }

    /// Learns from one run; returns the time now.
    pub(crate) fn learn(&self, started: Instant) -> Instant {
        scratch::learn(&self.usual_ns, started)
    }

    /// Runs the handler for a request that was taken. `None`: the response will
    /// come later, from the runtime.
    #[cfg_attr(not(feature = "tokio"), expect(clippy::unnecessary_wraps))]
    pub(crate) fn run(
        &self,
        state: &Arc<S>,
        taken: TakenRequest<'_>,
        scratch: &mut HandlerScratch,
    ) -> Option<Published> {
        let wants_times = taken.head.flags & request_flags::WANTS_TIMES != 0;
        let ticket = Ticket::new(Arc::clone(taken.session), taken.key, wants_times);
        match &self.handler {
            BoxedHandler::Plain(handler) => {
                scratch.offloaded = false;
                let request = Request::new(taken, None);
                let result = catch_unwind(AssertUnwindSafe(|| handler(state, &request)));
                drop(request);
                Some(match result {
                    Ok(response) => ticket.respond(response),
                    Err(_) => ticket.respond_failed(PANICKED),
                })
            }
            #[cfg(feature = "tokio")]
            BoxedHandler::Async(handler) => {
                let usual_ns = self.usual_ns.load(Ordering::Relaxed);
                let is_long = scratch.offloads && usual_ns != UNKNOWN_NS && usual_ns > OFFLOAD_NS;
                scratch.offloaded = is_long;
                let offloaded = is_long.then(|| Arc::clone(&self.usual_ns));
                handler.run(state, taken, ticket, scratch, offloaded)
            }
        }
    }
}
