//! The accept loop of a reactor.

use std::io;
use std::rc::Rc;

use slotway_net::Listener;

use crate::front::connection;
use crate::limits::{ACCEPT_BATCH_COUNT, ACCEPT_PAUSE};
use crate::reactor::Reactor;
use crate::shared::sabotage;

/// Accepts until the listener is closed.
pub async fn run(reactor: Rc<Reactor>, listener: Rc<Listener>) {
    let mut open = reactor.shared.open.subscribe();
    // The sender lives as long as the reactor does.
    let _ = open.wait_for(|is_open| *is_open).await;
    for accepted in 1_u64.. {
        if accepted.is_multiple_of(ACCEPT_BATCH_COUNT) {
            // However many come at once, others have their turn.
            tokio::task::yield_now().await;
        }
        // Only connections that there is room for: the others wait in the
        // backlog, where they cost nothing.
        let admission = &reactor.shared.admission;
        if !admission.has_room() {
            tracing::warn!(
                connections = admission.count_max(),
                "the connection limit is reached; new clients wait"
            );
            while !admission.has_room() {
                if listener.is_closed() {
                    return;
                }
                admission.changed().await;
            }
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                sabotage::point("accept");
                admission.enter();
                tokio::task::spawn_local(connection::serve(Rc::clone(&reactor), stream, peer));
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

/// Errors of a connection that died before it was accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkUnreachable
    )
}
