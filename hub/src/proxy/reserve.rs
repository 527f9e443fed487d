//! Takes a slot of a route's workers: the one place where the rules of the queues stand.

use crate::lanes::exchange::Exchange;
use crate::lanes::lane::Lane;
use crate::lanes::streams::StreamHabit;
use crate::reactor::lanes::Lanes;
use crate::routing::registration::RouteSpec;
use crate::routing::table::Target;

/// What a request may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A slot.
    Slot,
    /// A place among the bodies that stream.
    Stream,
    /// A place among the requests of its route that workers may have at a time.
    Turn,
    /// A worker, which may come back until then, on the coarse clock.
    Worker {
        /// Until then.
        until_ms: u64,
    },
}

/// At whose pace a request holds its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Its worker's.
    Worker,
    /// Its client's, which sends a body.
    Client,
    /// That of a client which has paused in its body: a slot that others could need is not for it.
    PausingClient,
}

/// A free slot, or what has to be waited for.
pub enum Reservation {
    /// It is taken.
    Slot {
        /// The hold on it.
        exchange: Exchange,
        /// Index of the route in the worker's registration.
        route_index: u32,
        /// It counts among the bodies that stream.
        streams: bool,
    },
    /// What is needed is in use, or others wait for it.
    MustWait(Need, Box<RouteSpec>),
}

/// Takes a slot of the least loaded of a route's workers. `granted` is what the request has waited for, if it has: it is next
/// then. `None`: no worker of the route is there.
#[inline]
pub fn reserve(
    lanes: &Lanes,
    targets: &[Target],
    pace: Pace,
    granted: Option<Need>,
) -> Option<Reservation> {
    let is_stream = |lane: &Lane, route_index| {
        pace != Pace::Worker || lane.habit(route_index).is_some_and(StreamHabit::is_usual)
    };
    let has_place = |lane: &Lane| match pace {
        Pace::Worker | Pace::Client => lane.streams().has_room(),
        Pace::PausingClient => {
            let nobody_waits = lanes.queue.is_empty() && lanes.stream_queue.is_empty();
            nobody_waits && lane.streams().has_room_to_spare()
        }
    };
    let has_room = |lane: &Lane, index| !is_stream(lane, index) || has_place(lane);
    let (lane, route_index) = lanes
        .least_loaded(targets, has_room)
        .or_else(|| lanes.least_loaded(targets, |_, _| true))?;
    let route = &lane.session.routes[route_index as usize];
    let must_wait = |need| Some(Reservation::MustWait(need, Box::new(route.clone())));
    let streams = is_stream(&lane, route_index);
    // Who came before is next.
    if streams
        && (!has_place(&lane)
            || (granted != Some(Need::Stream) && lanes.stream_queue.is_queueing(route)))
    {
        return must_wait(Need::Stream);
    }
    if granted.is_none() && lanes.queue.is_queueing(route) {
        return must_wait(Need::Slot);
    }
    match Exchange::reserve(&lane) {
        Some(exchange) => Some(Reservation::Slot {
            exchange,
            route_index,
            streams,
        }),
        None => must_wait(Need::Slot),
    }
}
