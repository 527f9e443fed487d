//! Who may ask for what: the secret that peers from elsewhere must send, and the hub's
//! own paths, which are not for browsers.

use std::fmt;
use std::net::SocketAddr;

use slotway_net::{LocalPeer, Peer};
use slotway_shm_proto::layout::FieldEntry;
use subtle::ConstantTimeEq;

use crate::config::{Config, ConfigError, Internal, ListenAddress};
use crate::connection::Connection;
use crate::http::target;
use crate::limits::SECRET_CHARS_MIN;
use crate::local_answer::LocalAnswer;
use crate::request::{Instead, bytes_of};

/// The field that carries the secret. The parser drops it, so no worker sees it.
pub const SECRET_FIELD: &[u8] = b"x-hub-secret";

/// What proxies add to requests of others.
const PROXY_FIELDS: [&[u8]; 4] = [b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"];

/// What peers that are not on this host must know. Not shown in logs.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// What `HUB_SECRET` says, if it says anything.
    pub fn new(text: &str) -> Result<Option<Self>, ConfigError> {
        let text = text.trim();
        match text.chars().count() {
            0 => Ok(None),
            count if count < SECRET_CHARS_MIN => Err(ConfigError::SecretTooShort),
            _ => Ok(Some(Self(text.to_owned()))),
        }
    }

    /// Takes the same time wherever the first difference is.
    fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(bytes).into()
    }
}

/// The rules of one hub.
#[derive(Clone, Debug)]
pub struct Access {
    secret: Option<Secret>,
    internal: Internal,
}

impl Access {
    /// Refuses addresses that others can reach unless there is a secret.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let addresses = config.listen_addresses();
        let is_public = |address: &&ListenAddress| matches!(address, ListenAddress::Tcp(address) if !is_loopback(*address));
        if config.secret.is_none()
            && let Some(ListenAddress::Tcp(address)) = addresses.iter().find(is_public)
        {
            return Err(ConfigError::NoSecret(*address));
        }
        let has_socket = addresses
            .iter()
            .any(|address| matches!(address, ListenAddress::Unix(_)));
        if config.internal == Internal::Socket && !has_socket {
            return Err(ConfigError::NoInternalSocket);
        }
        Ok(Self {
            secret: config.secret.clone(),
            internal: config.internal,
        })
    }
}

/// Whether a peer must send the secret with every request.
pub fn must_know_secret(peer: Peer) -> bool {
    matches!(peer, Peer::Tcp(address) if !is_loopback(address))
}

/// 401.
pub fn no_secret() -> LocalAnswer {
    let why = "peers that are not on this host must send X-Hub-Secret";
    LocalAnswer::error(401, why).with("WWW-Authenticate", "X-Hub-Secret")
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
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
    pub(crate) fn check_secret(&self) -> Result<(), LocalAnswer> {
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
        let refuse = |why| Err(LocalAnswer::error(403, why).into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn access(flags: &[&str], secret: &str) -> Result<Access, String> {
        let mut config = Config::parse_from(["slotway-hub"].iter().chain(flags));
        config.secret = Secret::new(secret).map_err(|error| error.to_string())?;
        Access::new(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_others_reach_needs_a_secret_of_sixteen_characters() {
        let long = "0123456789abcdef";
        for open in ["0.0.0.0", "::", "192.0.2.1"] {
            let flags = ["--bind", open];
            assert!(access(&flags, "").unwrap_err().contains("HUB_SECRET"));
            assert!(
                access(&flags, "  0123456789abcde  ")
                    .unwrap_err()
                    .contains("16")
            );
            assert!(access(&flags, long).is_ok());
        }
        for own in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(access(&["--bind", own], "").is_ok(), "{own}");
        }
        assert!(access(&["--listen", "0.0.0.0:1"], "").is_err());
        assert!(access(&["--listen", "unix:/run/h.sock"], "").is_ok());
    }

    #[test]
    fn internal_paths_on_the_socket_alone_need_a_socket() {
        let flags = ["--internal", "socket", "--listen", "127.0.0.1:1"];
        assert!(access(&flags, "").unwrap_err().contains("unix:"));
        let both = ["--internal", "socket", "--listen", "unix:/run/h.sock"];
        assert!(access(&both, "").is_ok());
    }

    #[test]
    fn peers_from_elsewhere_are_asked_for_the_secret() {
        let must = |text: &str| must_know_secret(Peer::Tcp(text.parse().unwrap()));
        assert!(must("192.0.2.1:1") && must("[2001:db8::1]:1"));
        assert!(!must("127.0.0.1:1") && !must("[::1]:1") && !must("[::ffff:127.0.0.1]:1"));
        assert!(!must_know_secret(Peer::Unix));
    }

    #[test]
    fn a_secret_is_all_of_it_and_is_not_shown() {
        let secret = Secret::new(" 0123456789abcdef\n").unwrap().unwrap();
        assert!(secret.is(b"0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
