//! Who may ask for what: the secret that peers from elsewhere must send, and the hub's
//! own paths, which are not for browsers.

use slotway_net::{LocalPeer, Peer};
use slotway_shm_proto::layout::FieldEntry;

use crate::config::Internal;
use crate::front::connection::Connection;
use crate::front::request::{Instead, bytes_of};
use crate::http::local_reply::LocalReply;
use crate::http::target;

/// The field that carries the secret. The parser drops it, so no worker sees it.
pub const SECRET_FIELD: &[u8] = b"x-hub-secret";

/// What proxies add to requests of others.
const PROXY_FIELDS: [&[u8]; 4] = [b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"];

/// 401.
pub fn no_secret() -> LocalReply {
    let why = "peers that are not on this host must send X-Hub-Secret";
    LocalReply::error(401, why).with("WWW-Authenticate", "X-Hub-Secret")
}

impl Connection {
    /// The value of the first header field of a name.
    pub(crate) fn field_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.value_in(&self.head.fields, name)
    }

    fn value_in(&self, fields: &[FieldEntry], name: &[u8]) -> Option<&[u8]> {
        let is_it =
            |field: &&FieldEntry| bytes_of(&self.input, field.name).eq_ignore_ascii_case(name);
        let field = fields.iter().find(is_it)?;
        Some(bytes_of(&self.input, field.value))
    }

    /// Whether the peer has sent the secret.
    pub(crate) fn check_secret(&self) -> Result<(), LocalReply> {
        let secret = self.reactor.shared.access.secret.as_ref();
        let sent = self.value_in(&self.head.dropped, SECRET_FIELD);
        let is_right = secret
            .zip(sent)
            .is_some_and(|(secret, sent)| secret.is(sent));
        if is_right { Ok(()) } else { Err(no_secret()) }
    }

    /// Whether the secret stands in what could not be parsed: who does not know it
    /// learns nothing of what is wrong.
    pub(crate) fn has_secret_line(&self) -> bool {
        let Some(secret) = &self.reactor.shared.access.secret else {
            return false;
        };
        self.input.split(|byte| *byte == b'\n').any(|line| {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return false;
            };
            line[..colon].eq_ignore_ascii_case(SECRET_FIELD)
                && secret.is(line[colon + 1..].trim_ascii())
        })
    }

    /// Whether a field of the request has this name, also one that is dropped.
    fn has_field(&self, name: &[u8]) -> bool {
        self.field_value(name).is_some() || self.value_in(&self.head.dropped, name).is_some()
    }

    /// Whether the peer may ask for a path of the hub's own.
    pub(crate) fn check_control_access(&self) -> Result<(), Instead> {
        if self.text(self.head.path) == "/health" {
            return Ok(());
        }
        let refuse = |why| Err(LocalReply::error(403, why).into());
        let is_tcp = matches!(self.peer, Peer::Tcp(_));
        if self.reactor.shared.access.internal == Internal::Socket && is_tcp {
            return refuse("only on the hub's Unix socket");
        }
        // The peer is a proxy that speaks for somebody, who may be anywhere.
        if PROXY_FIELDS.iter().any(|name| self.has_field(name)) {
            return refuse("not through a proxy");
        }
        // A name that somebody has pointed at this host (DNS rebinding), or that a proxy
        // passes on. Who knows the secret is no page, and Unix sockets have no names.
        let is_own_name = |host| target::is_loopback_host(host);
        if is_tcp && !self.must_know_secret && !self.field_value(b"host").is_none_or(is_own_name) {
            return refuse("only under this host's own names: localhost, 127.0.0.1, [::1]");
        }
        // A page that a browser on this host shows must not register workers. Browsers
        // send Origin with every POST, and Sec-Fetch-Site to this host with all else.
        let is_page = self
            .field_value(b"sec-fetch-site")
            .is_some_and(|site| site != b"none");
        // A peer on this host is somebody: another user, or a proxy that runs as one, and
        // who is gone has no user any more.
        if is_tcp && !self.must_know_secret && self.reactor.local_peers.is_some() {
            let is_own = |peer: LocalPeer| {
                let own = rustix::process::geteuid().as_raw();
                !peer.is_closed && (peer.uid == own || peer.uid == 0)
            };
            if !self.local_peer().is_some_and(is_own) {
                return refuse("only for the hub's own user and root; others have its sockets");
            }
        }
        if self.has_field(b"origin") || is_page {
            return refuse("not for web pages");
        }
        Ok(())
    }
}
