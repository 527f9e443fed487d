//! Async handlers: polled once where the request was received, since most are ready
//! then, and by the runtime after that.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio_util::sync::ReusableBoxFuture;

use super::scratch::{self, FutureCell, HandlerScratch, PANICKED};
use crate::exchange::request::Request;
use crate::exchange::request::TakenRequest;
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::exchange::ticket::{Published, Ticket};
use crate::session::Session;
use crate::session::body_pool::CollectedBody;

type Whole<S> = Box<dyn Fn(Arc<S>, Request, Option<FutureCell>) -> FutureCell + Send + Sync>;
type Reading<S> = Box<dyn Fn(Arc<S>, Request, RequestBody) -> FutureCell + Send + Sync>;

/// An async handler, of either kind.
pub enum AsyncHandler<S> {
    /// Gets the body with the request.
    Whole(Whole<S>),
    /// Reads the body itself.
    Reading(Reading<S>),
}

impl<S: Send + Sync + 'static> AsyncHandler<S> {
    pub(crate) fn whole<F, Fut>(handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::Whole(Box::new(move |state, request, cell| {
            let future = handler(state, request);
            match cell {
                Some(mut cell) => {
                    cell.set(future);
                    cell
                }
                None => ReusableBoxFuture::new(future),
            }
        }))
    }

    pub(crate) fn reading<F, Fut>(handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        Self::Reading(Box::new(move |state, request, body| {
            ReusableBoxFuture::new(handler(state, request, body))
        }))
    }
}

impl<S> AsyncHandler<S> {
    pub(crate) fn reads_body(&self) -> bool {
        matches!(self, Self::Reading(_))
    }

    pub(crate) fn run(
        &self,
        state: &Arc<S>,
        taken: TakenRequest<'_>,
        mut ticket: Ticket,
        scratch: &mut HandlerScratch,
        offloaded: Option<Arc<AtomicU32>>,
    ) -> Option<Published> {
        let session = taken.session;
        match self {
            Self::Whole(start) => {
                let hold = ticket.hold();
                let request = Request::new(taken, Some(hold));
                let cell = scratch.future.take();
                let start = || start(Arc::clone(state), request, cell);
                begin(session, ticket, scratch, offloaded, start)
            }
            Self::Reading(start) => {
                let hold = ticket.hold();
                ticket.reads_body = true;
                let (key, streams) = (taken.key, taken.head.body_ring_bytes > 0);
                let taken = TakenRequest {
                    collected: Some(CollectedBody::new(&session.bodies)),
                    ..taken
                };
                let request = Request::new(taken, Some(hold));
                let whole = (!streams).then(|| {
                    let trailers = request.trailer_section().to_vec();
                    (request.slot_body().to_vec(), trailers)
                });
                let body = RequestBody::new(Arc::clone(session), key, whole);
                let start = || start(Arc::clone(state), request, body);
                begin(session, ticket, scratch, offloaded, start)
            }
        }
    }
}

/// Starts an async handler and polls it once: most are ready at once. Those
/// that are not are polled again by the runtime, with a waker of its own; so are those
/// that usually take long even for that.
fn begin(
    session: &Arc<Session>,
    ticket: Ticket,
    scratch: &mut HandlerScratch,
    offloaded: Option<Arc<AtomicU32>>,
    start: impl FnOnce() -> FutureCell,
) -> Option<Published> {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut future = start();
        if offloaded.is_some() {
            return (Poll::Pending, future);
        }
        let mut context = Context::from_waker(Waker::noop());
        (Pin::new(&mut future).poll(&mut context), future)
    }));
    match polled {
        Ok((Poll::Ready(response), future)) => {
            let published = ticket.respond(response);
            // A finished future may still own its request, which then holds
            // the response back: it must go.
            scratch.future = (published == Published::Yes).then_some(future);
            Some(published)
        }
        Ok((Poll::Pending, future)) => {
            let (thread_index, begun) = scratch.begun;
            let in_flight = InFlight {
                session: Arc::clone(session),
                thread_index,
                begun,
            };
            scratch
                .spawner
                .spawn(finish_later(in_flight, ticket, future, offloaded));
            None
        }
        Err(_) => Some(ticket.respond_failed(PANICKED)),
    }
}

async fn finish_later(
    in_flight: InFlight,
    ticket: Ticket,
    mut future: FutureCell,
    mut offloaded: Option<Arc<AtomicU32>>,
) {
    let session = Arc::clone(&in_flight.session);
    let lane_index = ticket.lane_index();
    // A panic here unwinds through the task, and the ticket responds with 500.
    let response = poll_fn(|cx| {
        // The first step, which the receiving thread would have made.
        let started = offloaded.is_some().then(Instant::now);
        let polled = Pin::new(&mut future).poll(cx);
        if let Some((usual_ns, started)) = offloaded.take().zip(started) {
            scratch::learn(&usual_ns, started);
        }
        polled
    })
    .await;
    drop(future);
    drop(in_flight);
    if ticket.respond(response) == Published::Yes {
        session.ring(lane_index);
    }
}

/// A handler that has begun; it has ended when this is dropped, also by a panic.
struct InFlight {
    session: Arc<Session>,
    thread_index: u32,
    begun: Instant,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.session.meter.ended(self.thread_index, took);
    }
}
