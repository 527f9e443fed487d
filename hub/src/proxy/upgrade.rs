//! A connection that stops being HTTP: the worker answers 101, the client gets it, and then the
//! worker gets the client's socket. From there on the hub has nothing to do with it but to count it.
//!
//! A socket on which HTTP could go on is never handed over: a worker could read the requests that a
//! proxy in front sends there for others.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::limits::HANDED_BYTES_MAX;

use super::{head, outcome};
use crate::http::encode;
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::response_head::WorkerResponse;
use crate::limits::{HAND_OVER_PAUSE, HAND_OVER_TIME};
use crate::routing::session::Session;
use crate::routing::upgrades::NotHanded;
use crate::wire::offer::Offer;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// A worker's 101, until the hand-over: the worker is told if it does not come to that.
struct Accepted(Rc<Offer>);

impl Accepted {
    /// Tries for a while: the worker may be busy with other messages.
    async fn hand_over(&self, wire: &Wire, session: &Session) -> Result<(), NotHanded> {
        let message = self.0.message(true, &wire.input);
        let mut waited = Duration::ZERO;
        loop {
            let socket = wire.state.stream().as_fd();
            match session.upgrades.hand_over(message, socket) {
                Err(NotHanded::Busy) if waited < HAND_OVER_TIME => {
                    tokio::time::sleep(HAND_OVER_PAUSE).await;
                    waited += HAND_OVER_PAUSE;
                }
                Ok(()) => {
                    self.0.settle();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.call_off();
    }
}

/// Sends a worker's 101 and hands it the client's socket.
pub async fn accept(
    wire: &mut Wire,
    call: &mut Call,
    exchange: Exchange,
    response: &WorkerResponse,
) -> Result<AfterRequest, EarlyEnd> {
    let session = Arc::clone(&exchange.lane().session);
    let Some(offer) = call.offer.clone() else {
        return refused(wire, &session, "the request offers no upgrade");
    };
    offer.take_up();
    let accepted = Accepted(offer);
    if let Err(why) = write_head(wire, call, &exchange, response) {
        return refused(wire, &session, &why);
    }
    wire.reactor.lanes.finish(exchange);
    wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
    // The client speaks another protocol from here on. What has been read of that goes along.
    wire.state.stream().hold_back().await;
    while wire.state.stream().is_ahead() && wire.input.len() <= HANDED_BYTES_MAX {
        wire.read_input(0).await.map_err(|_| EarlyEnd::ClientGone)?;
    }
    let worker = &session.name;
    if wire.input.len() > HANDED_BYTES_MAX {
        tracing::warn!(
            worker,
            "a client sent more than {HANDED_BYTES_MAX} bytes before it had its 101; it was ended"
        );
        return Ok(AfterRequest::Reset);
    }
    if let Err(why) = accepted.hand_over(wire, &session).await {
        let why = match why {
            NotHanded::Busy => "it does not read the messages of its session",
            NotHanded::Ended => "it has gone",
        };
        tracing::warn!(
            worker,
            "an upgraded connection was ended, since its worker could not take it: {why}"
        );
        return Ok(AfterRequest::Reset);
    }
    Ok(AfterRequest::HandedOver)
}

fn refused(wire: &Wire, session: &Session, why: &str) -> Result<AfterRequest, EarlyEnd> {
    let worker = &session.name;
    tracing::warn!(worker, "502: the worker's 101 cannot be sent: {why}");
    Err(outcome::bad_response(&wire.reactor.lanes).into())
}

fn write_head(
    wire: &mut Wire,
    call: &mut Call,
    exchange: &Exchange,
    response: &WorkerResponse,
) -> Result<(), String> {
    let start = wire.output.len();
    head::encode(wire, call, exchange, response, AfterRequest::Next)?;
    if !encode::has_field(&wire.output[start..], "upgrade") {
        wire.output.truncate(start);
        return Err("it has no Upgrade field, which says what is spoken from here on".to_owned());
    }
    Ok(())
}

/// 501: a client of WebSocket takes any ordinary response for a broken server.
#[cold]
pub fn not_taken(session: &Session) -> LocalReply {
    LocalReply::error(
        501,
        format!(
            "the worker {:?} cannot take over connections, so it has no WebSockets",
            session.name
        ),
    )
}
