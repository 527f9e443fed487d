//! Who may ask for what: the secret that peers from elsewhere must send, and the hub's
//! own paths, which are not for browsers.

use std::sync::Arc;

use slotway_net::Peer;
use slotway_shm_proto::credentials::peer_credentials;

use crate::config::Internal;
use crate::http::head::value_in;
use crate::http::local_reply::LocalReply;
use crate::http::target;
use crate::routing::session::{Session, SessionState};
use crate::wire::{Call, Wire};

/// The field that carries the secret. The parser drops it, so no worker sees it.
pub const SECRET_FIELD: &[u8] = b"x-hub-secret";

/// What proxies add to requests of others.
const PROXY_FIELDS: [&[u8]; 4] = [b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"];

/// 401.
pub fn no_secret() -> LocalReply {
    let why = "peers on other hosts must send X-Hub-Secret";
    LocalReply::error(401, why).with("WWW-Authenticate", "X-Hub-Secret")
}

/// Whether the peer has sent the secret.
pub fn check_secret(wire: &Wire, call: &Call) -> Result<(), LocalReply> {
    let live = wire.reactor.lanes.settings();
    let secret = live.secret.as_ref();
    let sent = value_in(&call.head.dropped, &wire.input, SECRET_FIELD);
    let is_right = secret
        .zip(sent)
        .is_some_and(|(secret, sent)| secret.is(sent));
    if is_right { Ok(()) } else { Err(no_secret()) }
}

/// Whether the secret stands in what could not be parsed: who does not know it
/// learns nothing of what is wrong.
pub fn has_secret_line(wire: &Wire) -> bool {
    let live = wire.reactor.lanes.settings();
    let Some(secret) = &live.secret else {
        return false;
    };
    wire.input.split(|byte| *byte == b'\n').any(|line| {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        line[..colon].eq_ignore_ascii_case(SECRET_FIELD)
            && secret.is(line[colon + 1..].trim_ascii())
    })
}

/// Whether the request came through a proxy, which speaks for somebody who may be anywhere.
pub fn came_through_proxy(wire: &Wire, call: &Call) -> bool {
    let has_field = |name: &&[u8]| call.head.has_field(&wire.input, name);
    wire.state.is_proxied.get() || PROXY_FIELDS.iter().any(has_field)
}

/// Whether the peer is a process of the hub's user or of root, as far as the system says: over
/// TCP a peer on this host may be anybody, another user or a proxy that runs as one, and who is
/// gone has no user any more; a Unix socket may be open to a proxy's group.
pub fn is_own_process(wire: &Wire) -> bool {
    match local_user(wire) {
        LocalUser::Untold => true,
        LocalUser::Gone => false,
        LocalUser::Known(uid) => uid == rustix::process::geteuid().as_raw() || uid == 0,
    }
}

/// Whether the peer's user has a worker here that may send events: it may push them as well.
fn has_emitting_worker(wire: &Wire) -> bool {
    let LocalUser::Known(uid) = local_user(wire) else {
        return false;
    };
    let is_one = |(session, state): &(Arc<Session>, SessionState)| {
        *state == SessionState::Live && session.peer.uid == uid && session.may_emit
    };
    wire.reactor
        .with_routes(|table| table.sessions.iter().any(is_one))
}

/// What the system says of the peer.
enum LocalUser {
    Known(u32),
    /// It has closed its socket, or is not of this host.
    Gone,
    /// The kernel tells of nobody.
    Untold,
}

fn local_user(wire: &Wire) -> LocalUser {
    if wire.peer == Peer::Unix {
        let peer = peer_credentials(wire.state.stream());
        return peer.map_or(LocalUser::Gone, |peer| LocalUser::Known(peer.uid));
    }
    if wire.reactor.local_peers.is_none() {
        return LocalUser::Untold;
    }
    match wire.local_peer() {
        Some(peer) if !peer.is_closed => LocalUser::Known(peer.uid),
        _ => LocalUser::Gone,
    }
}

/// Refuses names that somebody has pointed at this host (DNS rebinding), or that a proxy passes
/// on. Unix sockets have no names.
pub fn check_own_name(wire: &Wire, call: &Call) -> Result<(), LocalReply> {
    let host = call.head.field_value(&wire.input, b"host");
    if matches!(wire.peer, Peer::Tcp(_)) && !host.is_none_or(target::is_loopback_host) {
        let why = "this path is served only under the names localhost, 127.0.0.1 and [::1]";
        return Err(LocalReply::error(403, why));
    }
    Ok(())
}

/// Whether the peer may ask for a path of the hub's own, without the prefix.
pub fn check_control_access(wire: &Wire, call: &Call, path: &str) -> Result<(), LocalReply> {
    if path == "/health" {
        return Ok(());
    }
    let has_field = |name: &[u8]| call.head.has_field(&wire.input, name);
    let field_value = |name: &[u8]| call.head.field_value(&wire.input, name);
    let refuse = |why| Err(LocalReply::error(403, why));
    let is_tcp = matches!(wire.peer, Peer::Tcp(_));
    if wire.reactor.shared.config.internal == Internal::Socket && is_tcp {
        return refuse("this path is served only on the hub's Unix socket");
    }
    if came_through_proxy(wire, call) {
        return refuse("requests that came through a proxy may not use this path");
    }
    // Who knows the secret is no page.
    if !call.must_know_secret {
        check_own_name(wire, call)?;
    }
    // A page that a browser on this host shows must not register workers. Browsers
    // send Origin with every POST, and Sec-Fetch-Site to this host with all else.
    let is_page = field_value(b"sec-fetch-site").is_some_and(|site| site != b"none");
    let is_push = matches!(path, "/internal/emit" | "/internal/sse-push");
    let may = || is_own_process(wire) || (is_push && has_emitting_worker(wire));
    if !call.must_know_secret && !may() {
        return refuse(
            "only the hub's own user and root may use this path; for events, also users whose attached \
             workers may send them",
        );
    }
    if has_field(b"origin") || is_page {
        return refuse("web pages may not use this path");
    }
    Ok(())
}
