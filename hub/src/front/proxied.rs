//! Connections of balancers that say for whom they speak (`--proxy-protocol`).

use slotway_net::Peer;

use crate::clock;
use crate::http::forwarded::{self, Client};
use crate::http::proxy_header::{self, ProxyHeader};
use crate::limits::PROXY_WORD_INTERVAL;
use crate::reactor::deadline::Wait;
use crate::shared::counters::Counters;
use crate::wire::Wire;

/// Reads the header that the connection must begin with. False: it has none from somebody who may send
/// one, and is to be closed.
pub async fn read(wire: &mut Wire) -> bool {
    let begun = match try_read(wire).await {
        Ok(begun) => begun,
        Err(why) => {
            refuse(wire, &why);
            return false;
        }
    };
    wire.state.wait_for_nothing();
    begun
}

/// False: the peer has left.
async fn try_read(wire: &mut Wire) -> Result<bool, String> {
    let allowed = &wire.reactor.shared.config.proxy_protocol;
    if !forwarded::is_trusted(wire.peer, allowed) {
        return Err("it is none of the peers that may come".to_owned());
    }
    let head_ms = wire.reactor.deadlines().head_ms;
    wire.state
        .wait_until(Wait::Head, clock::coarse_ms() + head_ms);
    loop {
        let parsed = proxy_header::parse(&wire.input).map_err(|error| error.to_string())?;
        if let Some((header, bytes)) = parsed {
            wire.consume_input(bytes);
            let client = match header {
                ProxyHeader::Client { address, is_https } => Client {
                    peer: Peer::Tcp(address),
                    is_https,
                },
                ProxyHeader::Local | ProxyHeader::Unknown => wire.peer_alone(),
            };
            wire.state.is_proxied.set(true);
            wire.state.sender.set(Some(client));
            wire.client = client;
            return Ok(true);
        }
        let read = wire.read_input(proxy_header::HEADER_BYTES_MAX).await;
        if wire.state.is_overdue() {
            return Err("no PROXY header came in time".to_owned());
        }
        if !matches!(read, Ok(1..)) {
            // A health check of the simplest kind connects and leaves.
            if wire.input.is_empty() {
                return Ok(false);
            }
            return Err("it left in the middle of its PROXY header".to_owned());
        }
    }
}

/// Counted; logged once a minute, since whoever does it may do it without end.
fn refuse(wire: &Wire, why: &str) {
    let shared = &wire.reactor.shared;
    Counters::add(&shared.counters.proxy_refused);
    let refused = &shared.proxy_refused;
    if let Some(count) = refused.note(clock::coarse_ms(), PROXY_WORD_INTERVAL) {
        tracing::warn!(
            peer = %wire.peer,
            "a connection was closed (--proxy-protocol): {why}; {count} since this was last said"
        );
    }
}
