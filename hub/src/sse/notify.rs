//! Notifies an SSE route's worker that a client has come or gone: a request through a
//! slot, as POST to the route, with the client's own head and a JSON document as body.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::api::SseLifecycle;

use super::notice::Next;
use super::subscriber::{Owner, Subscriber};
use crate::clock;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::queue::Place;
use crate::lanes::response_head::{self, WorkerResponse};
use crate::lanes::slot::Event;
use crate::limits::SSE_QUEUE_RETRY;
use crate::proxy::fill::{self, DispatchBody, Request};
use crate::proxy::reserve::{Need, Pace, Reservation, reserve};
use crate::proxy::{absent, outcome};
use crate::routing::limits::Limits;

/// What a worker says to a client that has come.
pub enum Notified {
    /// It is in.
    Accepted(Owner),
    /// It is not: this is the response to it.
    Refused(Exchange, WorkerResponse),
}

/// Why a worker was not notified, or not so that it is known.
pub enum NotNotified {
    /// There is none, or it went; or the document does not fit a slot.
    Reply(LocalReply),
    /// It has begun, and did not respond in time: it may know of the client or not.
    Unknown(Owner),
    /// The route is no event stream any more.
    NoStream,
}

impl From<LocalReply> for NotNotified {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(reply)
    }
}

/// Whom a notification is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Any worker of the route, in the route's queue like requests.
    Any,
    /// The session of this id. The queue is for those that any worker can serve, so it
    /// does not wait in it.
    Session(u64),
}

/// Tells a worker of the route that the client is there.
pub async fn connect(
    subscriber: &Subscriber,
    last_event_id: Option<&str>,
) -> Result<Notified, NotNotified> {
    let document = subscriber.document(SseLifecycle::Connect, last_event_id);
    let (exchange, response) = notify(subscriber, &document, To::Any).await?;
    let is_in = response
        .status
        .is_some_and(|status| (200..300).contains(&status));
    if !is_in {
        return Ok(Notified::Refused(exchange, response));
    }
    let owner = Arc::downgrade(&exchange.lane().session);
    end(subscriber, exchange);
    Ok(Notified::Accepted(owner))
}

/// Tells the client's owner that it has left. No other worker knew of it.
pub async fn disconnect(subscriber: &Subscriber, owner: &Owner, last_event_id: Option<&str>) {
    let Some(owner) = subscriber.live_owner(owner) else {
        return;
    };
    let to = To::Session(owner.id);
    drop(owner);
    let document = subscriber.document(SseLifecycle::Disconnect, last_event_id);
    if let Ok((exchange, _)) = notify(subscriber, &document, to).await {
        end(subscriber, exchange);
    }
}

fn end(subscriber: &Subscriber, exchange: Exchange) {
    if exchange.is_streaming() {
        // Dropping it tells the worker that nobody reads on.
        drop(exchange);
    } else {
        subscriber.reactor.lanes.finish(exchange);
    }
}

async fn notify(
    subscriber: &Subscriber,
    document: &[u8],
    to: To,
) -> Result<(Exchange, WorkerResponse), NotNotified> {
    let lanes = &subscriber.reactor.lanes;
    let deadline_ms = clock::coarse_ms() + limits_of(subscriber).timeout_ms;
    loop {
        if to == To::Any && subscriber.notice.borrow_mut().begin() == Next::Drop {
            return Err(LocalReply::error(503, "the client has left").into());
        }
        let exchange = submit(subscriber, document, to, deadline_ms).await?;
        let streams = response_streams(subscriber, &exchange).await?;
        if exchange.lane().is_over() {
            // A worker that went takes what it was told with it: the next is told.
            continue;
        }
        let head = exchange.copy_head();
        let (generation, arena_bytes) = (exchange.generation(), exchange.arena_bytes());
        return match response_head::check(&head, generation, arena_bytes, streams) {
            Ok(response) => Ok((exchange, response)),
            Err(violation) => Err(outcome::violated(lanes, &exchange, violation).into()),
        };
    }
}

/// Waits for the worker. Says whether the body of its response streams.
async fn response_streams(
    subscriber: &Subscriber,
    exchange: &Exchange,
) -> Result<bool, NotNotified> {
    loop {
        if exchange.is_streaming() {
            return Ok(true);
        }
        match poll_fn(|cx| exchange.poll_outcome(cx)).await {
            Outcome::Event(Event::Changed) => {}
            Outcome::Event(Event::TimedOut) => {
                let timed_out = outcome::timed_out(&subscriber.reactor.lanes, exchange);
                if exchange.give_up() {
                    // It has not begun, and never will.
                    return Err(timed_out.into());
                }
                let owner = Arc::downgrade(&exchange.lane().session);
                return Err(NotNotified::Unknown(owner));
            }
            Outcome::Event(Event::Responded) | Outcome::WorkerGone => return Ok(false),
        }
    }
}

async fn submit(
    subscriber: &Subscriber,
    document: &[u8],
    to: To,
    deadline_ms: u64,
) -> Result<Exchange, NotNotified> {
    let mut place = None;
    let mut granted = match to {
        To::Any => None,
        To::Session(_) => Some(Need::Slot),
    };
    loop {
        let need = match try_submit(subscriber, document, to, deadline_ms, granted)? {
            Ok(exchange) => return Ok(exchange),
            Err(need) => need,
        };
        if to == To::Any {
            let lanes = &subscriber.reactor.lanes;
            let queue = match need {
                Need::Slot | Need::Worker { .. } => &lanes.queue,
                Need::Stream => &lanes.stream_queue,
                // Event streams have no such bound.
                Need::Turn => &lanes.turn_queue,
            };
            place = place
                .take_if(|place: &mut Place| place.is_in(queue, &subscriber.route))
                .or_else(|| queue.enter(&subscriber.route, limits_of(subscriber).queue));
            granted = place.is_some().then_some(need);
        }
        let until_ms = match need {
            Need::Worker { until_ms } => until_ms.min(deadline_ms),
            Need::Slot | Need::Stream | Need::Turn => deadline_ms,
        };
        wait(subscriber, place.as_ref(), deadline_ms, until_ms).await?;
    }
}

/// What notices of its route may use; what all routes may, where it has gone.
fn limits_of(subscriber: &Subscriber) -> Limits {
    let reactor = &subscriber.reactor;
    let own = reactor.with_routes(|table| table.limits_of(&subscriber.route));
    own.unwrap_or_else(|| reactor.lanes.settings().limits)
}

/// In the route's queue, or without a place in it for a while.
async fn wait(
    subscriber: &Subscriber,
    place: Option<&Place>,
    deadline_ms: u64,
    until_ms: u64,
) -> Result<(), LocalReply> {
    let now_ms = clock::coarse_ms();
    if now_ms >= deadline_ms {
        return Err(outcome::queue_timed_out(
            &subscriber.reactor.lanes,
            &subscriber.route,
        ));
    }
    let left_ms = until_ms.saturating_sub(now_ms);
    match place {
        Some(place) => {
            let granted = place.granted();
            // The deadline is looked at by the next turn.
            let _ = tokio::time::timeout(Duration::from_millis(left_ms), granted).await;
        }
        None => tokio::time::sleep(SSE_QUEUE_RETRY).await,
    }
    Ok(())
}

/// The notification in a slot, or what has to be waited for.
fn try_submit(
    subscriber: &Subscriber,
    document: &[u8],
    to: To,
    deadline_ms: u64,
    granted: Option<Need>,
) -> Result<Result<Exchange, Need>, NotNotified> {
    let lanes = &subscriber.reactor.lanes;
    subscriber.reactor.with_routes(|table| {
        let mut targets = table.targets_of(&subscriber.route);
        if targets.iter().any(|target| !target.is_sse) {
            return Err(NotNotified::NoStream);
        }
        if let To::Session(id) = to {
            let own = targets.iter().position(|target| target.session.id == id);
            targets = own.map_or(&[], |index| &targets[index..=index]);
        }
        let Some(reservation) = reserve(lanes, targets, Pace::Worker, granted) else {
            let absence = table.absence_of(&subscriber.route);
            return match to {
                To::Any => Ok(Err(absent::wait_or_refuse(lanes, absence)?)),
                To::Session(_) => Err(absent::no_worker(lanes, absence).into()),
            };
        };
        let (exchange, route_index) = match reservation {
            Reservation::Slot {
                exchange,
                route_index,
                ..
            } => (exchange, route_index),
            Reservation::MustWait(need, _) => return Ok(Err(need)),
        };
        let given = subscriber.given.iter();
        let given: Vec<_> = given.map(|(name, value)| (*name, &**value)).collect();
        let request = Request {
            given: &given,
            head: &subscriber.head,
            head_bytes: &subscriber.head_bytes,
            params: &subscriber.raw_params,
            raw_params: exchange.lane().session.options[route_index as usize].raw_params,
            route_index,
            body: DispatchBody::Whole {
                here: document,
                waiting_bytes: 0,
                trailers: &[],
            },
            client: subscriber.client,
            deadline_ns: deadline_ms * 1_000_000,
            wants_times: false,
            offers_upgrade: false,
        };
        fill::write(&request, &exchange, &mut Vec::new())
            .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
        lanes.submit(&exchange, deadline_ms);
        subscriber.notice.borrow_mut().submitted();
        Ok(Ok(exchange))
    })
}
