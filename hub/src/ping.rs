//! Whether workers are alive that answer nothing: one that has not answered
//! anything for an interval gets a ping through a slot, which the SDK answers
//! before any handler. A ping is a request like others: it has the same deadline,
//! since plain handlers may keep a worker's threads for so long.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use slotway_shm_proto::Method;
use slotway_shm_proto::layout::{PING_ROUTE_INDEX, RequestHead, Span};

use crate::clock;
use crate::control::ControlMessage;
use crate::exchange::{Exchange, Outcome};
use crate::lane::Lane;
use crate::reactor::Reactor;
use crate::slot::Event;

/// What stands in the arena of a ping.
const PATH: &[u8] = b"/__ping__";

/// Pings the reactor's lanes every `interval`; never ends.
pub async fn run(reactor: Rc<Reactor>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        for lane in reactor.live_lanes() {
            if lane.take_signs_of_life() > 0 {
                continue;
            }
            // Without a free slot the others' deadlines tell whether it hangs.
            if let Some(exchange) = lane.reserve() {
                tokio::task::spawn_local(ping(Rc::clone(&reactor), exchange));
            }
        }
    }
}

async fn ping(reactor: Rc<Reactor>, exchange: Exchange) {
    exchange.write_arena(0, PATH);
    let path = Span {
        offset: 0,
        bytes: PATH.len() as u32,
    };
    let deadline_ms = clock::coarse_ms() + reactor.shared.config.timeout_ms();
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
    exchange.submit(deadline_ms);
    reactor.mark(exchange.lane());
    let outcome = poll_fn(|cx| exchange.poll_outcome(cx)).await;
    if outcome == Outcome::Event(Event::TimedOut) {
        tell_unresponsive(&reactor, exchange.lane());
    }
    // An answer of any kind is one: its slot goes back with the exchange.
}

fn tell_unresponsive(reactor: &Reactor, lane: &Lane) {
    let message = ControlMessage::Unresponsive(lane.session.id);
    reactor.shared.tell_control(message);
}
