//! Whether workers are alive that answer nothing: one that has not answered
//! anything for an interval gets a ping through a slot, which the SDK answers
//! before any handler. A ping is a request like others: it has the same deadline,
//! since plain handlers may keep a worker's threads for so long.

use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

use slotway_shm_proto::Method;
use slotway_shm_proto::api::WORKER_PING_ROUTE;
use slotway_shm_proto::layout::{PING_ROUTE_INDEX, RequestHead, Span};

use super::lanes::Lanes;
use crate::clock;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::lane::Lane;
use crate::lanes::slot::Event;
use crate::limits::PING_BATCH_COUNT;
use crate::shared::message::ControlMessage;

/// What stands in the arena of a ping.
const PATH: &[u8] = WORKER_PING_ROUTE.as_bytes();

/// Pings each of the reactor's lanes once an `interval`, a few at a time: those of a thousand
/// workers in one turn would hold up every request. Never ends.
pub async fn run(lanes: Rc<Lanes>, interval: Duration) {
    loop {
        // Their memory must not wait for their turn.
        let all: Vec<Weak<Lane>> = lanes.live().iter().map(Rc::downgrade).collect();
        let batch_count = all.len().div_ceil(PING_BATCH_COUNT).max(1);
        for index in 0..batch_count {
            tokio::time::sleep(interval / batch_count as u32).await;
            let batch = all.iter().skip(index * PING_BATCH_COUNT);
            let batch = batch.take(PING_BATCH_COUNT).filter_map(Weak::upgrade);
            for lane in batch.filter(|lane| lane.is_live()) {
                look_after(&lanes, &lane);
            }
        }
    }
}

fn look_after(lanes: &Rc<Lanes>, lane: &Rc<Lane>) {
    if lane.take_signs_of_life() > 0 {
        return note_alive(lane);
    }
    // Without a free slot the others' deadlines tell whether it hangs.
    if let Some(exchange) = Exchange::reserve(lane) {
        tokio::task::spawn_local(ping(Rc::clone(lanes), exchange));
    }
}

async fn ping(lanes: Rc<Lanes>, exchange: Exchange) {
    exchange.write_arena(0, PATH);
    let path = Span {
        offset: 0,
        bytes: PATH.len() as u32,
    };
    let asked_ms = clock::coarse_ms();
    // Handlers that may run for longer do not hang.
    let deadline_ms = asked_ms + exchange.lane().timeout_ms.get();
    exchange.write_head(&RequestHead {
        generation: exchange.generation(),
        route_index: PING_ROUTE_INDEX,
        method: Method::Get as u32,
        target: path,
        path,
        fields_offset: path.bytes.next_multiple_of(8),
        params_offset: path.bytes.next_multiple_of(8),
        body_offset: path.bytes.next_multiple_of(8),
        deadline_ns: deadline_ms * 1_000_000,
        ..RequestHead::default()
    });
    lanes.submit(&exchange, deadline_ms);
    let outcome = poll_fn(|cx| exchange.poll_outcome(cx)).await;
    let lane = exchange.lane();
    if lane.take_signs_of_life() > 0 {
        note_alive(lane);
    }
    // A worker that has answered others, on any lane, is slow rather than dead.
    let is_silent = lane.session.alive_at_ms.load(Ordering::Relaxed) < asked_ms;
    if outcome == Outcome::Event(Event::TimedOut) && is_silent {
        tell_unresponsive(&lanes, lane);
    }
    // A response of any kind is one: its slot goes back with the exchange.
}

fn note_alive(lane: &Lane) {
    let now_ms = clock::coarse_ms();
    lane.session.alive_at_ms.store(now_ms, Ordering::Relaxed);
}

fn tell_unresponsive(lanes: &Lanes, lane: &Lane) {
    let message = ControlMessage::Unresponsive(lane.session.id);
    lanes.shared.tell_control(message);
}
