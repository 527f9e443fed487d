//! The accept loop of a reactor.

use std::io;
use std::rc::Rc;

use slotway_net::Listener;

use super::connection;
use super::door::Door;
use crate::limits::{ACCEPT_BATCH_COUNT, ACCEPT_PAUSE, OPERATOR_COUNT_MAX};
use crate::reactor::Reactor;
use crate::shared::sabotage;

/// Accepts until the listener is closed.
pub async fn run(reactor: Rc<Reactor>, listener: Rc<Listener>, door: Door) {
    let mut open = reactor.shared.open.subscribe();
    // The sender lives as long as the reactor does.
    let _ = open.wait_for(|is_open| *is_open).await;
    for accepted in 1_u64.. {
        if accepted.is_multiple_of(ACCEPT_BATCH_COUNT) {
            // However many come at once, others have their turn.
            tokio::task::yield_now().await;
        }
        if door == Door::Clients && !has_room(&reactor, &listener).await {
            return;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                sabotage::point("accept");
                if door == Door::Clients {
                    reactor.shared.admission.enter();
                    reactor.lanes.recorder.accepted();
                } else if reactor.connections.operator_count() >= OPERATOR_COUNT_MAX
                    && !reactor.connections.end_waiting_operator()
                {
                    tracing::warn!(
                        "too many connections at the operations listener (--ops); another was closed"
                    );
                    continue;
                }
                let serve = connection::serve(Rc::clone(&reactor), stream, peer, door);
                tokio::task::spawn_local(serve);
            }
            Err(_) if listener.is_closed() => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept clients; trying again after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Only connections that there is room for are accepted: the others wait in the backlog,
/// where they cost nothing. False: the listener is closed.
async fn has_room(reactor: &Reactor, listener: &Listener) -> bool {
    let admission = &reactor.shared.admission;
    if !admission.has_room() {
        tracing::warn!(
            connections = admission.count_max(),
            "the connection limit is reached; new clients wait"
        );
        while !admission.has_room() {
            if listener.is_closed() {
                return false;
            }
            admission.changed().await;
        }
    }
    true
}

/// Errors of a connection that died before it was accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkUnreachable
    )
}
