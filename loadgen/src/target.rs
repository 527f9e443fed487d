//! What a URL asks for.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use slotway_net::Address;

/// A URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: Address,
    /// Value of the Host field.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// What is spoken is `WebSocket` (`ws:`, `wss:`).
    pub is_websocket: bool,
    /// Name or address of the host, if TLS is spoken with it.
    pub tls_host: Option<String>,
}

/// Why a URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No URL.
    #[error(
        "{0}: no target; expected http://127.0.0.1:3200/path, https://host/path, ws://host/path or unix:/path/to/socket:/path"
    )]
    NoUrl(String),
    /// A port that is none.
    #[error("{0}: the port is not one from 0 to 65535")]
    Port(String),
    /// The name has no address.
    #[error("{url}: cannot resolve the host: {why}")]
    Resolve {
        /// The URL.
        url: String,
        /// The resolver's answer.
        why: String,
    },
}

impl Target {
    /// Parses and resolves a URL: `http://host[:port][/path]`, the same with `https://`, `ws://` and `wss://`, or
    /// `unix:/socket[:/path]` for a Unix stream socket.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let no_url = || TargetError::NoUrl(url.to_owned());
        if !url.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(no_url());
        }
        if let Some(rest) = url.strip_prefix("unix:") {
            let (socket, path) = match rest.find(":/") {
                Some(colon) => (&rest[..colon], &rest[colon + 1..]),
                None => (rest, "/"),
            };
            if !socket.starts_with(['/', '.']) {
                return Err(no_url());
            }
            return Ok(Self {
                address: Address::Unix(PathBuf::from(socket)),
                authority: "localhost".to_owned(),
                path: path.to_owned(),
                is_websocket: false,
                tls_host: None,
            });
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
        let (is_tls, is_websocket) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return Err(no_url()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, "/"),
        };
        if authority.is_empty() || authority.contains('@') {
            return Err(no_url());
        }
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
        if !has_port && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(TargetError::Port(url.to_owned()));
        }
        let with_port = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if is_tls { 443 } else { 80 })
        };
        let resolve = |why: String| TargetError::Resolve {
            url: url.to_owned(),
            why,
        };
        let addresses: Vec<_> = with_port
            .to_socket_addrs()
            .map_err(|error| resolve(error.to_string()))?
            .collect();
        let address = pick(&addresses).ok_or_else(|| resolve("no address".to_owned()))?;
        let path = if path.starts_with('?') {
            format!("/{path}")
        } else {
            path.to_owned()
        };
        Ok(Self {
            address: Address::Tcp(address),
            authority: authority.to_owned(),
            path,
            is_websocket,
            tls_host: is_tls.then(|| {
                let host = with_port.rsplit_once(':').map_or("", |(host, _)| host);
                host.to_owned()
            }),
        })
    }
}

/// Of several addresses the first that takes a connection: `localhost` is often
/// two, and servers often listen on one. If none does, the first.
fn pick(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
    match addresses {
        [] | [_] => addresses.first().copied(),
        _ => addresses
            .iter()
            .find(answers)
            .or(addresses.first())
            .copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_address_authority_and_path() {
        let target = Target::parse("http://127.0.0.1:3200/a?b=c#d").unwrap();
        let address = Address::Tcp("127.0.0.1:3200".parse().unwrap());
        assert_eq!(target.address, address);
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("127.0.0.1:3200", "/a?b=c")
        );
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().path, "/");
        assert_eq!(Target::parse("http://127.0.0.1?q").unwrap().path, "/?q");
        assert_eq!(target.tls_host, None);
        let target = Target::parse("https://127.0.0.1/").unwrap();
        let address = Address::Tcp("127.0.0.1:443".parse().unwrap());
        assert_eq!(target.address, address);
        assert_eq!(target.tls_host.as_deref(), Some("127.0.0.1"));
        let target = Target::parse("wss://127.0.0.1/").unwrap();
        assert!(target.is_websocket && target.tls_host.is_some());
    }

    #[test]
    fn a_unix_socket_is_named_by_its_path_and_the_request_path_follows_a_colon() {
        let target = Target::parse("unix:/run/hub.sock:/api/1").unwrap();
        assert_eq!(target.address, Address::Unix("/run/hub.sock".into()));
        assert_eq!(target.path, "/api/1");
        assert_eq!(Target::parse("unix:./hub.sock").unwrap().path, "/");
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_to_do() {
        assert!(matches!(
            Target::parse("http://127.0.0.1:99999/"),
            Err(TargetError::Port(_))
        ));
        for bad in [
            "",
            "h:80",
            "http://",
            "http://a b/",
            "http://u@h/",
            "unix:",
            "unix:name",
        ] {
            assert!(
                matches!(Target::parse(bad), Err(TargetError::NoUrl(_))),
                "{bad}"
            );
        }
    }
}
