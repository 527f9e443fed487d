//! One client connection: reads a head, has the request answered, and again.
//!
//! Requests of a connection are answered one after the other, so pipelined ones get their
//! responses in order.

use std::net::Shutdown;
use std::rc::Rc;

use slotway_net::{Peer, Stream, monotonic_ns};
use slotway_shm_proto::Method;

use super::door::Door;
use super::{auth, identity, proxied, request};
use crate::clock;
use crate::http::error::HeadError;
use crate::http::local_reply::LocalReply;
use crate::http::scan::HeadScanner;
use crate::limits::{IDLE_GRACE, READ_BUFFER_BYTES};
use crate::reactor::Reactor;
use crate::reactor::connections::ConnectionState;
use crate::reactor::deadline::Wait;
use crate::shared::auth::must_know_secret;
use crate::wire::{AfterRequest, Call, Wire};

/// Serves a connection to its end.
pub async fn serve(reactor: Rc<Reactor>, stream: Stream, peer: Peer, door: Door) {
    let is_operator = door == Door::Operations;
    let mut wire = Wire::new(Rc::clone(&reactor), stream, peer, is_operator);
    let mut call = Call::new(!is_operator && must_know_secret(peer));
    // Also if a panic ends the connection: the hub waits for all of them when it stops.
    let _entered = Entered {
        reactor,
        state: Rc::clone(&wire.state),
    };
    wire.state.learn_task().await;
    let begins_with_header = !is_operator && !wire.reactor.shared.config.proxy_protocol.is_empty();
    // On the heap, for the sake of all hubs without.
    if begins_with_header && !Box::pin(proxied::read(&mut wire)).await {
        drop(wire);
        return;
    }
    run(&mut wire, &mut call).await;
    drop(wire);
}

/// A connection's place in the reactor's list.
struct Entered {
    reactor: Rc<Reactor>,
    state: Rc<ConnectionState>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An operation of the ring that nobody awaits any more ends with the
            // socket alone, and the reactor would wait for it when it stops.
            self.state.close();
        }
        self.reactor.connections.remove(self.state.id());
        // The worker says when a connection ends that it has been handed.
        if !self.state.is_operator() && !self.state.is_handed_over.get() {
            self.reactor.shared.admission.leave();
        }
    }
}

async fn run(wire: &mut Wire, call: &mut Call) {
    let mut request_count = 0;
    loop {
        let after = match read_head(wire, call).await {
            Ok(true) => {
                request_count += 1;
                let most = wire.reactor.lanes.settings().requests_per_connection;
                call.is_last = request_count == most;
                wire.output = wire.reactor.buffers.take();
                let after = request::serve(wire, call).await;
                wire.reactor
                    .buffers
                    .put_back(std::mem::take(&mut wire.output));
                after
            }
            Ok(false) => return,
            Err(error) => {
                let reply = reply_to_no_request(wire, call, error);
                call.head.bytes = 0;
                wire.client = wire.peer_alone();
                identity::give_to_no_request(wire);
                call.arrive(wire, monotonic_ns(), false);
                let after = call.send_local(wire, &reply, AfterRequest::Close).await;
                call.count(wire, after);
                after
            }
        };
        match after {
            // A read that nobody waits for would take bytes of the next request.
            AfterRequest::Next if wire.pending_read.is_some() => return wire.linger().await,
            AfterRequest::Next => {}
            AfterRequest::Drain(bytes) => {
                if !wire.drain(bytes).await {
                    return wire.state.stream().shutdown(Shutdown::Both);
                }
            }
            AfterRequest::Close => return wire.linger().await,
            AfterRequest::Reset => return wire.state.stream().reset(),
            AfterRequest::HandedOver => return wire.state.is_handed_over.set(true),
        }
    }
}

/// Reads until a whole head is there; false when the client has no more.
async fn read_head(wire: &mut Wire, call: &mut Call) -> Result<bool, HeadError> {
    call.begin();
    wire.state.stream().message_over();
    wire.status = 0;
    if wire.reactor.identifies {
        wire.state.request_id.borrow_mut().clear();
    }
    let mut scanner = HeadScanner::new(wire.reactor.head_limits);
    let mut wait = Wait::Worker;
    loop {
        if !wire.input.is_empty()
            && let Some(end) = scanner.find_end(&wire.input)?
        {
            let now_ns = monotonic_ns();
            call.head.parse(&wire.input[..end])?;
            call.arrive(wire, now_ns, wire.reactor.must_measure());
            wire.state.wait_for_nothing();
            return Ok(true);
        }
        let idle = wire.input.is_empty();
        let next = if idle { Wait::Request } else { Wait::Head };
        // The deadline of a head counts from its first byte, not from each.
        if next != wait {
            wait = next;
            let deadlines = wire.reactor.deadlines();
            let time_ms = match wait {
                Wait::Head => deadlines.head_ms,
                // The last response may have said that the connection stays.
                _ if wire.reactor.is_stopping() => IDLE_GRACE.as_millis() as u64,
                _ => deadlines.idle_ms,
            };
            wire.state.wait_until(wait, clock::coarse_ms() + time_ms);
        }
        // A first read has the buffer as it is; a head that fills it gets more.
        let room = if wire.input.len() < wire.input.capacity() {
            0
        } else {
            READ_BUFFER_BYTES
        };
        let read = wire.read_input(room).await;
        if !idle && wire.state.is_overdue() {
            return Err(HeadError::Timeout);
        }
        // A client that leaves in the middle of a head gets no response:
        // there is no whole request to respond to.
        if !matches!(read, Ok(1..)) {
            return Ok(false);
        }
    }
}

/// The response to what is no request.
fn reply_to_no_request(wire: &Wire, call: &mut Call, error: HeadError) -> LocalReply {
    // A response to HEAD has no body, whatever else is wrong with the request.
    let request = wire.input.trim_ascii_start();
    call.head.method = request.starts_with(b"HEAD ").then_some(Method::Head);
    if call.must_know_secret && !auth::has_secret_line(wire) {
        return auth::no_secret();
    }
    LocalReply::error(error.status(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<F>(_: impl FnOnce(Rc<Reactor>, Stream, Peer, Door) -> F) -> usize {
        size_of::<F>()
    }

    /// Tens of thousands of them may be idle. 1,936 bytes, and room for other compilers.
    #[test]
    fn a_connection_s_future_is_small() {
        let bytes = future_bytes(serve);
        assert!(bytes <= 2000, "{bytes}");
    }
}
