//! What the values of a configuration must be to each other.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::listen::ListenAddress;
use super::{Config, Internal};

/// Everything that is wrong.
pub fn check(config: &Config) -> Vec<ConfigError> {
    let problems = [
        config.geometry().err(),
        config.attach.rules().err(),
        forbidden_core(config),
        same_place_twice(config),
    ];
    let of_sockets = [no_secret(config), no_internal_socket(config)];
    // Those that it is given are looked at when it has them.
    let of_sockets = of_sockets.into_iter().filter(|_| !is_given_sockets());
    let problems = problems.into_iter().chain(of_sockets);
    problems.flatten().collect()
}

/// Whether this process gets its sockets from the service manager, or from another hub.
fn is_given_sockets() -> bool {
    ["LISTEN_FDS", HANDOVER_VARIABLE]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// In the environment of a hub that is to take over.
pub const HANDOVER_VARIABLE: &str = "SLOTWAY_HANDOVER";

/// Reactors can keep only to cores that the process may use.
fn forbidden_core(config: &Config) -> Option<ConfigError> {
    let (core, allowed) = config.affinity.forbidden()?;
    Some(ConfigError::Affinity { core, allowed })
}

/// Addresses that others can reach need a secret.
fn no_secret(config: &Config) -> Option<ConfigError> {
    let public = |address: ListenAddress| match address {
        ListenAddress::Tcp(address) if !is_loopback(address) => Some(address),
        _ => None,
    };
    let mut addresses = config.listen_addresses().into_iter().filter_map(public);
    let address = addresses.next()?;
    config
        .secret
        .is_none()
        .then_some(ConfigError::NoSecret(address))
}

/// Nothing can listen twice in one place.
fn same_place_twice(config: &Config) -> Option<ConfigError> {
    let clients = config.listen_addresses();
    let others = config.ops.iter().chain(&config.agent_check);
    let attach = config
        .attach
        .socket
        .iter()
        .map(|path| path.display().to_string());
    let places = clients
        .iter()
        .chain(others)
        .filter_map(|address| match address {
            // The system picks any free one.
            ListenAddress::Tcp(address) if address.port() == 0 => None,
            ListenAddress::Tcp(address) => Some(address.to_string()),
            ListenAddress::Unix { path, .. } => Some(path.display().to_string()),
        });
    let mut places: Vec<_> = places.chain(attach).collect();
    places.sort();
    let twice = places.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(ConfigError::Twice(twice[0].clone()))
}

fn no_internal_socket(config: &Config) -> Option<ConfigError> {
    let is_socket = |address: &ListenAddress| matches!(address, ListenAddress::Unix { .. });
    let is_missing =
        config.internal == Internal::Socket && !config.listen_addresses().iter().any(is_socket);
    is_missing.then_some(ConfigError::NoInternalSocket)
}

/// Whether an address is of this host alone.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;
    use clap::Parser;

    fn problems(flags: &[&str], secret: &str) -> String {
        let mut config = Config::parse_from(["slotway-hub"].iter().chain(flags));
        match Secret::new(secret) {
            Ok(secret) => config.secret = secret,
            Err(error) => return error.to_string(),
        }
        let problems = check(&config);
        let problems = problems.iter().map(ToString::to_string);
        problems.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn an_address_that_others_reach_needs_a_secret_of_sixteen_characters() {
        let long = "0123456789abcdef";
        for open in ["0.0.0.0", "::", "192.0.2.1"] {
            let flags = ["--bind", open];
            assert!(problems(&flags, "").contains("HUB_SECRET"));
            assert!(problems(&flags, "  0123456789abcde  ").contains("16"));
            assert_eq!(problems(&flags, long), "");
        }
        for own in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(problems(&["--bind", own], ""), "", "{own}");
        }
        assert_ne!(problems(&["--listen", "0.0.0.0:1"], ""), "");
        assert_eq!(problems(&["--listen", "unix:/run/h.sock"], ""), "");
    }

    #[test]
    fn internal_paths_on_the_socket_alone_need_a_socket() {
        let flags = ["--internal", "socket", "--listen", "127.0.0.1:1"];
        assert!(problems(&flags, "").contains("unix:"));
        let both = ["--internal", "socket", "--listen", "unix:/run/h.sock"];
        assert_eq!(problems(&both, ""), "");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let twice = ["--listen", "unix:/a", "--agent-check", "unix:/a"];
        assert!(problems(&twice, "").contains("/a is to be listened on twice"));
        let flags = ["--bind", "0.0.0.0", "--internal", "socket", "--slots", "0"];
        let problems = problems(&flags, "");
        for part in ["--slots", "HUB_SECRET", "unix:"] {
            assert!(problems.contains(part), "{problems}");
        }
    }
}
