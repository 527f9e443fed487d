//! The rules of access of one hub, and who must know its secret.

use std::net::SocketAddr;

use slotway_net::Peer;

use crate::config::error::ConfigError;
use crate::config::listen::ListenAddress;
use crate::config::secret::Secret;
use crate::config::{Config, Internal};

/// The rules of one hub.
#[derive(Clone, Debug)]
pub struct Access {
    /// What peers from elsewhere must know.
    pub secret: Option<Secret>,
    /// Where `/internal/` may be asked for.
    pub internal: Internal,
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
            .any(|address| matches!(address, ListenAddress::Unix { .. }));
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

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
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
