//! A request that waits in its route's queue until a slot is free, its client has
//! left, or its deadline has passed.

use std::rc::Rc;
use std::time::Duration;

use slotway_net::Hangup;

use super::reserve::Need;
use super::{absent, outcome};
use crate::clock;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::queue::{Place, RouteQueues};
use crate::routing::registration::RouteSpec;
use crate::shared::counters::Counters;
use crate::wire::{Call, EarlyEnd, Wire};

/// Waits until it is worth trying to get what the request needs of the route's
/// workers. `place` is kept between tries.
pub async fn granted(
    wire: &Wire,
    call: &mut Call,
    need: Need,
    route: &RouteSpec,
    place: &mut Option<Place>,
) -> Result<(), EarlyEnd> {
    let lanes = &wire.reactor.lanes;
    let queue = match need {
        Need::Slot | Need::Worker { .. } => &lanes.queue,
        Need::Stream => &lanes.stream_queue,
        Need::Turn => &lanes.turn_queue,
    };
    // A new table may give the request another route.
    let place = match place.take_if(|place| place.is_in(queue, route)) {
        Some(kept) => place.insert(kept),
        None => place.insert(enter(wire, queue, route, need)?),
    };
    let until_ms = match need {
        Need::Worker { until_ms } => until_ms.min(call.deadline_ms),
        Need::Slot | Need::Stream | Need::Turn => call.deadline_ms,
    };
    let left_ms = until_ms.saturating_sub(clock::coarse_ms());
    let deadline = tokio::time::sleep(Duration::from_millis(left_ms));
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            biased;
            hangup = wire.state.hangup() => {
                after_hangup(wire, call, hangup)?;
            }
            () = place.granted() => return Ok(()),
            () = &mut deadline => {
                if until_ms < call.deadline_ms {
                    // Whether the worker is there now is for the next try to say.
                    return Ok(());
                }
                return Err(match need {
                    Need::Worker { .. } => absent::no_worker(lanes, None).into(),
                    Need::Slot | Need::Stream | Need::Turn => outcome::queue_timed_out(lanes, route).into(),
                });
            }
        }
    }
}

fn enter(
    wire: &Wire,
    queue: &Rc<RouteQueues>,
    route: &RouteSpec,
    need: Need,
) -> Result<Place, LocalReply> {
    let reactor = &wire.reactor;
    let full = || match need {
        Need::Worker { .. } => absent::too_many_wait(&reactor.lanes, route),
        Need::Slot | Need::Stream | Need::Turn => outcome::queue_full(&reactor.lanes, route),
    };
    let limits = reactor.with_routes(|table| table.limits_of(route));
    let count_max = limits.unwrap_or_default().queue;
    let place = queue.enter(route, count_max).ok_or_else(full)?;
    Counters::add(&reactor.shared.counters.queued);
    reactor.hangups.begin(&wire.state);
    reactor.hangups.watch_now(&wire.state);
    Ok(place)
}

/// What follows from a client's hangup while its request waits. One that has closed
/// its side alone still wants the response, and most that have are gone: TCP does not
/// say which until it is sent something, and there is nothing to send yet. Of a client
/// on this host the system knows. That of another goes on, and its handler is told
/// that the response is perhaps unwanted.
pub fn after_hangup(wire: &Wire, call: &mut Call, hangup: Hangup) -> Result<(), EarlyEnd> {
    let is_gone = match hangup {
        Hangup::Gone => Some(true),
        Hangup::Half => wire.is_client_gone(),
    };
    match is_gone {
        Some(true) => return Err(outcome::client_left(wire)),
        Some(false) => {}
        None => call.is_half_closed = true,
    }
    Ok(())
}

/// Tells the worker that has the request now that its client has closed its side, if
/// it has.
pub fn notify_if_half_closed(wire: &Wire, call: &Call, exchange: &Exchange) {
    if call.is_half_closed && exchange.tell_client_closed() {
        wire.reactor.lanes.mark(exchange.lane());
    }
}
