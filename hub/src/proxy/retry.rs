//! A request whose worker went away before it began with it goes to another worker of the
//! same route. Whether it had begun is settled between the two by
//! [`slotway_shm_proto::claim`]; a request that may have been begun with is run again
//! only where its method is safe (RFC 9110 section 9.2.1) and its route says that it may
//! run twice.

use std::rc::Rc;

use slotway_shm_proto::Method;

use super::reserve::{Need, Pace, Reservation, reserve};
use super::{absent, outcome, wait};
use crate::lanes::exchange::Exchange;
use crate::lanes::streams::StreamClient;
use crate::limits::READ_BUFFER_BYTES;
use crate::routing::registration::RouteSpec;
use crate::routing::table::Target;
use crate::shared::counters::Counters;
use crate::wire::{Call, EarlyEnd, Wire};

/// Gives the request to another worker, or ends it with 502. A body that streams is not
/// kept, so its request cannot go on.
pub async fn reroute(wire: &Wire, call: &mut Call, gone: &Exchange) -> Result<Exchange, EarlyEnd> {
    let lanes = &wire.reactor.lanes;
    let head = gone.own_head();
    let session = &gone.lane().session;
    let route_index = head.route_index as usize;
    let was_begun = !gone.give_up();
    let may_retry = !call.is_retried
        && session.options[route_index].may_retry
        && call.head.method.is_some_and(Method::is_safe);
    if (was_begun && !may_retry) || head.body_ring_bytes > 0 {
        return Err(outcome::worker_gone(lanes).into());
    }
    // Once: a request that crashes its worker must not go on to crash them all.
    call.is_retried |= was_begun;
    let raw_params = session.options[route_index].raw_params;
    let mut route = session.routes[route_index].clone();
    let (mut place, mut granted) = (None, None);
    loop {
        let need = match attempt(wire, call, gone, (&route, raw_params), granted)? {
            Ok(exchange) => {
                Counters::add(&lanes.shared.counters.rerouted);
                return Ok(exchange);
            }
            Err((need, others)) => {
                // A worker may have come back with other names of the parameters.
                route = others.map_or(route, |others| *others);
                need
            }
        };
        wait::granted(wire, call, need, &route, &mut place).await?;
        granted = Some(need);
    }
}

/// What has to be waited for, and the route as its workers have it.
type MustWait = (Need, Option<Box<RouteSpec>>);

/// The request in another slot, or what has to be waited for.
fn attempt(
    wire: &Wire,
    call: &mut Call,
    gone: &Exchange,
    (route, raw_params): (&RouteSpec, bool),
    granted: Option<Need>,
) -> Result<Result<Exchange, MustWait>, EarlyEnd> {
    let lanes = &wire.reactor.lanes;
    // It has waited once: it goes before those that have not been in a slot yet.
    let granted = granted.or(Some(Need::Slot));
    wire.reactor.with_routes(|table| {
        let targets = table.targets_of(route);
        let is_another = |target: &Target| {
            let options = &target.session.options[target.route_index as usize];
            target.is_sse || options.raw_params != raw_params
        };
        if targets.iter().any(is_another) {
            return Err(outcome::worker_gone(lanes).into());
        }
        let Some(reservation) = reserve(lanes, targets, Pace::Worker, granted) else {
            // Of one that was begun no more than that is known.
            let absence = table.absence_of(route);
            let need = absent::wait_or_refuse(lanes, absence);
            return need.map(|need| Err((need, None))).map_err(|refusal| {
                if call.is_retried {
                    return outcome::worker_gone(lanes).into();
                }
                refusal.into()
            });
        };
        match reservation {
            Reservation::Slot {
                mut exchange,
                route_index,
                streams,
            } => {
                if streams {
                    exchange.begin_stream(Rc::clone(&wire.state) as Rc<dyn StreamClient>);
                }
                let mut scratch = wire.reactor.scratch.borrow_mut();
                gone.copy_request_to(&exchange, route_index, &mut scratch);
                // A body may have gone through it.
                scratch.clear();
                scratch.shrink_to(READ_BUFFER_BYTES);
                drop(scratch);
                exchange.keep(gone.take_kept());
                if let Some(offer) = &call.offer {
                    let session = &exchange.lane().session;
                    offer.move_to(session, exchange.slot_use());
                }
                call.note_worker(&exchange.lane().session);
                lanes.submit(&exchange, call.deadline_ms);
                Ok(Ok(exchange))
            }
            Reservation::MustWait(need, route) => Ok(Err((need, Some(route)))),
        }
    })
}
