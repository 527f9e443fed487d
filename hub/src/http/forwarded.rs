//! What proxies in front say of a client (X-Forwarded-For, -Proto), believed from
//! those that `--trusted-proxy` names and dropped from everybody else. Without the
//! flag the fields are as any others, and the hub draws nothing from them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use slotway_net::Peer;

/// Who may speak for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Peers in a network, or with an address.
    Network(IpNet),
    /// Peers on a Unix socket.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        network
            .or_else(address)
            .map(Self::Network)
            .ok_or_else(|| "expected a network like 10.0.0.0/8, an address, or unix".to_owned())
    }
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it is; port 0 if a proxy named it.
    pub peer: Peer,
    /// A proxy says that the client spoke TLS.
    pub is_https: bool,
}

/// Whether fields of this name are a proxy's to set.
pub fn is_forwarding_field(name: &[u8]) -> bool {
    // The length rules out nearly every field before its bytes are compared.
    let known: &[u8] = match name.len() {
        9 => b"forwarded",
        15 => b"x-forwarded-for",
        16 => {
            return [&b"x-forwarded-host"[..], b"x-forwarded-port"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known));
        }
        17 => b"x-forwarded-proto",
        _ => return false,
    };
    name.eq_ignore_ascii_case(known)
}

/// Whether a peer may speak for others.
pub fn is_trusted(peer: Peer, trusted: &[TrustedProxy]) -> bool {
    trusted.iter().any(|trusted| match (trusted, peer) {
        (TrustedProxy::Unix, Peer::Unix) => true,
        (TrustedProxy::Network(network), Peer::Tcp(address)) => {
            network.contains(&address.ip().to_canonical())
        }
        _ => false,
    })
}

/// The client behind a trusted peer: the last address of the list that is not
/// itself trusted, since each proxy appends the one it got the request from. What
/// is no address ends the search there.
pub fn client<'f>(
    peer: Peer,
    trusted: &[TrustedProxy],
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> Client {
    let mut client = Client {
        peer,
        is_https: false,
    };
    let mut addresses = Vec::new();
    for (name, value) in fields {
        if name.eq_ignore_ascii_case(b"x-forwarded-for") {
            addresses.extend(value.split(|byte| *byte == b','));
        } else if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
            let last = value
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            client.is_https = last.trim_ascii().eq_ignore_ascii_case(b"https");
        }
    }
    for text in addresses.into_iter().rev() {
        let Some(address) = parse_address(text) else {
            break;
        };
        client.peer = Peer::Tcp(SocketAddr::new(address, 0));
        if !is_trusted(client.peer, trusted) {
            break;
        }
    }
    client
}

/// An address, which some proxies write with a port.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::Tcp(SocketAddr::new(text.parse().unwrap(), 0))
    }

    fn trusted() -> Vec<TrustedProxy> {
        ["10.0.0.0/8", "::1", "unix"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn seen(fields: &[(&str, &str)]) -> Client {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        client(peer("10.0.0.1"), &trusted(), fields)
    }

    #[test]
    fn the_last_address_that_is_not_a_proxy_s_is_the_client_s() {
        let list = [
            ("X-Forwarded-For", "6.6.6.6, 192.0.2.7"),
            ("x-forwarded-for", "10.1.1.1"),
        ];
        assert_eq!(seen(&list).peer, peer("192.0.2.7"));
        assert_eq!(seen(&[]).peer, peer("10.0.0.1"));
        assert_eq!(
            seen(&[("X-Forwarded-For", "10.2.2.2, 10.3.3.3")]).peer,
            peer("10.2.2.2")
        );
        assert_eq!(
            seen(&[("X-Forwarded-For", "192.0.2.7, junk, 10.3.3.3")]).peer,
            peer("10.3.3.3")
        );
        assert_eq!(
            seen(&[("X-Forwarded-For", "192.0.2.7:4711")]).peer,
            peer("192.0.2.7")
        );
        assert_eq!(
            seen(&[("X-Forwarded-For", "[2001:db8::1]")]).peer,
            peer("2001:db8::1")
        );
    }

    #[test]
    fn the_scheme_is_the_nearest_proxy_s_word() {
        assert!(seen(&[("X-Forwarded-Proto", "HTTPS")]).is_https);
        assert!(!seen(&[("X-Forwarded-Proto", "https, http")]).is_https);
        assert!(!seen(&[]).is_https);
    }

    #[test]
    fn networks_addresses_and_unix_sockets_can_be_trusted() {
        let trusted = trusted();
        for (text, expected) in [
            ("10.9.9.9", true),
            ("11.0.0.1", false),
            ("::1", true),
            ("::ffff:10.0.0.9", true),
        ] {
            assert_eq!(is_trusted(peer(text), &trusted), expected, "{text}");
        }
        assert!(is_trusted(Peer::Unix, &trusted));
        for bad in ["", "10.0.0.0/33", "host", "10.0.0"] {
            assert!(bad.parse::<TrustedProxy>().is_err(), "{bad}");
        }
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-port",
            "X-Forwarded-Host",
            "X-FORWARDED-PROTO",
        ] {
            assert!(is_forwarding_field(name.as_bytes()), "{name}");
        }
        assert!(!is_forwarding_field(b"X-Forwarded"));
    }
}
