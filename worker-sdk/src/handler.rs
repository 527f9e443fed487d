//! Handlers behind one type, and how they are run.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slotway_shm_proto::layout::{RequestHead, request_flags};
use tokio::runtime::Handle;
use tokio_util::sync::ReusableBoxFuture;

use crate::handler_response::HandlerResponse;
use crate::limits::SLOW_HANDLER_NS;
use crate::pattern::RoutePattern;
use crate::placement::Placement;
use crate::request::Request;
use crate::request_body::RequestBody;
use crate::response::Response;
use crate::session::{Session, SlotKey};
use crate::ticket::{Published, Ticket};

/// The memory of an async handler's future, re-used between requests.
type FutureCell = ReusableBoxFuture<'static, Response>;

type PlainHandler<S> = Box<dyn Fn(&S, &Request) -> Response + Send + Sync>;
type AsyncHandler<S> = Box<dyn Fn(Arc<S>, Request, Option<FutureCell>) -> FutureCell + Send + Sync>;

type StreamHandler<S> = Box<dyn Fn(Arc<S>, Request, RequestBody) -> FutureCell + Send + Sync>;

enum Kind<S> {
    Plain(PlainHandler<S>),
    Async(AsyncHandler<S>),
    Stream(StreamHandler<S>),
}

/// A route and its handler.
pub(crate) struct Route<S> {
    pub method: String,
    pub pattern: Arc<RoutePattern>,
    /// See [`crate::HubWorker::retry`].
    pub may_repeat: bool,
    kind: Kind<S>,
    /// What the handler usually takes on the receiving thread; unknown counts
    /// as long.
    usual_ns: AtomicU32,
}

/// What one receiving thread keeps between requests.
pub(crate) struct HandlerScratch {
    /// What handlers usually take on this thread.
    pub usual_ns: u32,
    pub placement: Placement,
    future: Option<FutureCell>,
    runtime: Handle,
}

impl HandlerScratch {
    pub fn new(runtime: Handle, placement: Placement) -> Self {
        Self {
            usual_ns: UNKNOWN_NS,
            placement,
            future: None,
            runtime,
        }
    }

    /// Learns from one run of a handler.
    pub fn learn(&mut self, took: Duration) {
        self.usual_ns = moving_average(self.usual_ns, took);
    }
}

impl<S: Send + Sync + 'static> Route<S> {
    pub fn plain<F>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        Self::new(method, path, Kind::Plain(Box::new(handler)))
    }

    pub fn asynchronous<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let start: AsyncHandler<S> = Box::new(move |state, request, cell| {
            let future = handler(state, request);
            match cell {
                Some(mut cell) => {
                    cell.set(future);
                    cell
                }
                None => ReusableBoxFuture::new(future),
            }
        });
        Self::new(method, path, Kind::Async(start))
    }

    /// A handler that reads the body itself.
    pub fn streaming<F, Fut>(method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let start: StreamHandler<S> = Box::new(move |state, request, body| {
            ReusableBoxFuture::new(handler(state, request, body))
        });
        Self::new(method, path, Kind::Stream(start))
    }

    /// A handler of the seed's form, which gets owned copies.
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
            may_repeat: false,
            kind,
            usual_ns: AtomicU32::new(UNKNOWN_NS),
        }
    }

    /// Whether the handler is async.
    pub fn is_async(&self) -> bool {
        !matches!(self.kind, Kind::Plain(_))
    }

    /// Whether the handler reads the body itself.
    pub fn reads_body(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Whether answers that wait to be rung should not wait for this handler.
    pub fn is_slow(&self) -> bool {
        self.usual_ns.load(Ordering::Relaxed) > SLOW_HANDLER_NS
    }

    /// Learns from one run; returns the time now.
    pub fn learn(&self, started: Instant) -> Instant {
        let now = Instant::now();
        let took = u32::try_from((now - started).as_nanos()).unwrap_or(u32::MAX);
        let usual = self.usual_ns.load(Ordering::Relaxed);
        // A moving average over some eight runs; the first run stands alone.
        let next = if usual == u32::MAX {
            took
        } else {
            usual - usual / 8 + took / 8
        };
        self.usual_ns.store(next, Ordering::Relaxed);
        now
    }

    /// Runs the handler for a request that was taken. `None`: the answer will
    /// come later, from the runtime.
    pub fn run(
        &self,
        state: &Arc<S>,
        session: &Arc<Session>,
        key: SlotKey,
        head: RequestHead,
        collected: Option<Vec<u8>>,
        scratch: &mut HandlerScratch,
    ) -> Option<Published> {
        let wants_times = head.flags & request_flags::WANTS_TIMES != 0;
        let mut ticket = Ticket::new(Arc::clone(session), key, wants_times);
        let pattern = Arc::clone(&self.pattern);
        match &self.kind {
            Kind::Plain(handler) => {
                let request =
                    Request::new(Arc::clone(session), key, head, pattern, collected, None);
                let result = catch_unwind(AssertUnwindSafe(|| handler(state, &request)));
                drop(request);
                Some(match result {
                    Ok(response) => ticket.answer(response),
                    Err(_) => ticket.answer_failed(PANICKED),
                })
            }
            Kind::Async(start) => {
                let [hold] = ticket.hold();
                let hold = Some(hold);
                let request =
                    Request::new(Arc::clone(session), key, head, pattern, collected, hold);
                let cell = scratch.future.take();
                poll_once(session, ticket, scratch, || {
                    start(Arc::clone(state), request, cell)
                })
            }
            Kind::Stream(start) => {
                let [hold, body_hold] = ticket.hold();
                let hold = Some(hold);
                let session = Arc::clone(session);
                let request = Request::new(
                    Arc::clone(&session),
                    key,
                    head,
                    pattern,
                    Some(Vec::new()),
                    hold,
                );
                let whole = (head.body_ring_bytes == 0).then(|| request.slot_body().to_vec());
                let body = RequestBody::new(Arc::clone(&session), key, body_hold, whole);
                poll_once(&session, ticket, scratch, || {
                    start(Arc::clone(state), request, body)
                })
            }
        }
    }
}

/// Starts an async handler and polls it once: most are ready at once. Those
/// that are not are polled again by the runtime, with a waker of its own.
fn poll_once(
    session: &Arc<Session>,
    ticket: Ticket,
    scratch: &mut HandlerScratch,
    start: impl FnOnce() -> FutureCell,
) -> Option<Published> {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut future = start();
        let mut context = Context::from_waker(Waker::noop());
        (Pin::new(&mut future).poll(&mut context), future)
    }));
    match polled {
        Ok((Poll::Ready(response), future)) => {
            let published = ticket.answer(response);
            // A finished future may still own its request, which then holds
            // the answer back: it must go.
            scratch.future = (published == Published::Yes).then_some(future);
            Some(published)
        }
        Ok((Poll::Pending, future)) => {
            scratch
                .runtime
                .spawn(finish_later(Arc::clone(session), ticket, future));
            None
        }
        Err(_) => Some(ticket.answer_failed(PANICKED)),
    }
}

/// What a handler takes that has not run yet: it counts as slow.
const UNKNOWN_NS: u32 = u32::MAX;

/// An average over some eight runs; the first run stands alone.
fn moving_average(usual_ns: u32, took: Duration) -> u32 {
    let took_ns = u32::try_from(took.as_nanos()).unwrap_or(UNKNOWN_NS - 1);
    if usual_ns == UNKNOWN_NS {
        took_ns
    } else {
        usual_ns - usual_ns / 8 + took_ns / 8
    }
}

const PANICKED: &str = "the handler panicked";

async fn finish_later(session: Arc<Session>, ticket: Ticket, mut future: FutureCell) {
    let lane_index = ticket.lane_index();
    // A panic here unwinds through the task, and the ticket answers 500.
    let response = Pin::new(&mut future).await;
    drop(future);
    if ticket.answer(response) == Published::Yes {
        session.ring(lane_index);
    }
}
