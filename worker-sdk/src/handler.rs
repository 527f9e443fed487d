//! Handlers behind one type, and how they are run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use slotway_shm_proto::layout::{RequestHead, request_flags};

#[cfg(feature = "tokio")]
use crate::async_handler::{AsyncHandler, FutureCell};
use crate::body_pool::CollectedBody;
#[cfg(feature = "tokio")]
use crate::limits::OFFLOAD_NS;
use crate::limits::SLOW_HANDLER_NS;
use crate::pattern::RoutePattern;
use crate::placement::Placement;
use crate::request::Request;
use crate::response::Response;
pub(crate) use crate::runtime::Spawner;
use crate::session::{Session, SlotKey};
use crate::ticket::{Published, Ticket};

type PlainHandler<S> = Box<dyn Fn(&Arc<S>, &Request) -> Response + Send + Sync>;

pub(crate) enum Kind<S> {
    Plain(PlainHandler<S>),
    #[cfg(feature = "tokio")]
    Async(AsyncHandler<S>),
}

/// A route and its handler.
pub(crate) struct Route<S> {
    pub method: String,
    pub pattern: Arc<RoutePattern>,
    /// See [`crate::HubWorker::retry`].
    pub may_repeat: bool,
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

/// What one receiving thread keeps between requests.
pub(crate) struct HandlerScratch {
    /// What handlers usually take on this thread.
    pub usual_ns: u32,
    pub placement: Placement,
    #[cfg(feature = "tokio")]
    pub future: Option<FutureCell>,
    #[cfg(feature = "tokio")]
    pub spawner: Spawner,
    /// Whether the runtime has as many threads as receive requests, or more: then
    /// handlers that block are better off there.
    #[cfg(feature = "tokio")]
    pub offloads: bool,
    /// The last handler went to the runtime at once, which learns what it takes.
    pub offloaded: bool,
}

impl HandlerScratch {
    #[cfg_attr(not(feature = "tokio"), expect(unused_variables))]
    pub fn new(spawner: &Spawner, placement: Placement, receiver_count: u32) -> Self {
        Self {
            usual_ns: UNKNOWN_NS,
            placement,
            offloaded: false,
            #[cfg(feature = "tokio")]
            future: None,
            #[cfg(feature = "tokio")]
            spawner: spawner.clone(),
            #[cfg(feature = "tokio")]
            offloads: spawner.thread_count() >= receiver_count as usize,
        }
    }

    /// Learns from one run of a handler.
    pub fn learn(&mut self, took: Duration) {
        self.usual_ns = moving_average(self.usual_ns, took);
    }
}

/// A request as the receiving thread hands it to a handler.
pub(crate) struct Taken<'t> {
    pub session: &'t Arc<Session>,
    pub key: SlotKey,
    pub head: RequestHead,
    pub pattern: Arc<RoutePattern>,
    /// A body that did not fit the arena.
    pub collected: Option<CollectedBody>,
}

impl<S: Send + Sync + 'static> Route<S> {
    pub fn plain<F>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(&Arc<S>, &Request) -> Response + Send + Sync + 'static,
    {
        Self::new(method, path, Kind::Plain(Box::new(handler)))
    }

    pub(crate) fn new(method: &str, path: &str, kind: Kind<S>) -> Self {
        Self {
            method: method.to_owned(),
            pattern: Arc::new(RoutePattern::new(path)),
            may_repeat: false,
            is_sse: false,
            raw_params: false,
            kind,
            usual_ns: Arc::new(AtomicU32::new(UNKNOWN_NS)),
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

    /// Whether answers that wait to be rung should not wait for this handler.
    pub fn is_slow(&self) -> bool {
        self.usual_ns.load(Ordering::Relaxed) > SLOW_HANDLER_NS
    }

    /// Learns from one run; returns the time now.
    pub fn learn(&self, started: Instant) -> Instant {
        learn(&self.usual_ns, started)
    }

    /// Runs the handler for a request that was taken. `None`: the answer will
    /// come later, from the runtime.
    #[cfg_attr(not(feature = "tokio"), expect(clippy::unnecessary_wraps))]
    pub fn run(
        &self,
        state: &Arc<S>,
        taken: Taken<'_>,
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
                    Ok(response) => ticket.answer(response),
                    Err(_) => ticket.answer_failed(PANICKED),
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

/// What a handler takes that has not run yet: it counts as slow.
const UNKNOWN_NS: u32 = u32::MAX;

/// Learns from one run; returns the time now.
pub(crate) fn learn(usual_ns: &AtomicU32, started: Instant) -> Instant {
    let now = Instant::now();
    let usual = usual_ns.load(Ordering::Relaxed);
    let next = moving_average(usual, now - started);
    usual_ns.store(next, Ordering::Relaxed);
    now
}

/// An average over some eight runs; the first run stands alone.
fn moving_average(usual_ns: u32, took: Duration) -> u32 {
    let took_ns = u32::try_from(took.as_nanos()).unwrap_or(UNKNOWN_NS - 1);
    if usual_ns == UNKNOWN_NS {
        took_ns
    } else {
        usual_ns - usual_ns / 8 + took_ns / 8
    }
}

pub(crate) const PANICKED: &str = "the handler panicked";
