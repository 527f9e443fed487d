//! Handlers behind one type, and how they are run.

#[cfg(feature = "tokio")]
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use slotway_shm_proto::api::RouteRegistration;
use slotway_shm_proto::layout::request_flags;

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
use crate::handler::owned::HandlerResponse;
#[cfg(feature = "tokio")]
use crate::limits::OFFLOAD_NS;
use crate::limits::SLOW_HANDLER_NS;

type PlainHandler<S> = Box<dyn Fn(&Arc<S>, &Request) -> Response + Send + Sync>;

enum Kind<S> {
    Plain(PlainHandler<S>),
    #[cfg(feature = "tokio")]
    Async(AsyncHandler<S>),
}

/// A route and its handler.
pub(crate) struct Route<S> {
    pub method: String,
    pub pattern: Arc<RoutePattern>,
    /// See [`crate::HubWorker::retry`].
    pub may_retry: bool,
    /// See [`crate::HubWorker::handle_sse`].
    pub is_sse: bool,
    /// The handler looks at the path itself: parameters that cannot be decoded are no
    /// reason to refuse a request.
    pub raw_params: bool,
    kind: Kind<S>,
    /// What the handler usually takes on the receiving thread; unknown counts
    /// as long.
    usual_ns: Arc<AtomicU32>,
}

impl<S: Send + Sync + 'static> Route<S> {
    pub fn plain<F>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(&Arc<S>, &Request) -> Response + Send + Sync + 'static,
    {
        Self::new(method, path, Kind::Plain(Box::new(handler)))
    }

    #[cfg(feature = "tokio")]
    pub fn asynchronous<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::new(method, path, Kind::Async(AsyncHandler::whole(handler)))
    }

    /// A handler that reads the body itself.
    #[cfg(feature = "tokio")]
    pub fn streaming<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::new(method, path, Kind::Async(AsyncHandler::reading(handler)))
    }

    /// A handler of the seed's form, which gets owned copies.
    #[cfg(feature = "tokio")]
    pub fn owned<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        Self::asynchronous(method, path, move |state, request| {
            let params = request
                .params()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let query = request.query().map(str::to_owned);
            let future = handler(state, params, query, request.body().to_vec());
            async move { future.await.into_response(&request) }
        })
    }

    fn new(method: &str, path: &str, kind: Kind<S>) -> Self {
        Self {
            method: method.to_owned(),
            pattern: Arc::new(RoutePattern::new(path)),
            may_retry: false,
            is_sse: false,
            raw_params: false,
            kind,
            usual_ns: Arc::new(AtomicU32::new(UNKNOWN_NS)),
        }
    }

    /// What the hub is told of it.
    pub fn registration(&self) -> RouteRegistration {
        RouteRegistration {
            method: self.method.clone(),
            path: self.pattern.path().to_owned(),
            retry: self.may_retry,
            sse: self.is_sse,
            raw_params: self.raw_params,
        }
    }

    /// Whether the handler is async.
    pub fn is_async(&self) -> bool {
        !matches!(self.kind, Kind::Plain(_))
    }

    /// Whether the handler reads the body itself.
    pub fn reads_body(&self) -> bool {
        match &self.kind {
            Kind::Plain(_) => false,
            #[cfg(feature = "tokio")]
            Kind::Async(handler) => handler.reads_body(),
        }
    }

    /// Whether responses that wait to be rung should not wait for this handler.
    pub fn is_slow(&self) -> bool {
        self.usual_ns.load(Ordering::Relaxed) > SLOW_HANDLER_NS
    }

    /// Learns from one run; returns the time now.
    pub fn learn(&self, started: Instant) -> Instant {
        scratch::learn(&self.usual_ns, started)
    }

    /// Runs the handler for a request that was taken. `None`: the response will
    /// come later, from the runtime.
    #[cfg_attr(not(feature = "tokio"), expect(clippy::unnecessary_wraps))]
    pub fn run(
        &self,
        state: &Arc<S>,
        taken: TakenRequest<'_>,
        scratch: &mut HandlerScratch,
    ) -> Option<Published> {
        let wants_times = taken.head.flags & request_flags::WANTS_TIMES != 0;
        let ticket = Ticket::new(Arc::clone(taken.session), taken.key, wants_times);
        match &self.kind {
            Kind::Plain(handler) => {
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
            Kind::Async(handler) => {
                let usual_ns = self.usual_ns.load(Ordering::Relaxed);
                let is_long = scratch.offloads && usual_ns != UNKNOWN_NS && usual_ns > OFFLOAD_NS;
                scratch.offloaded = is_long;
                let offloaded = is_long.then(|| Arc::clone(&self.usual_ns));
                handler.run(state, taken, ticket, scratch, offloaded)
            }
        }
    }
}
