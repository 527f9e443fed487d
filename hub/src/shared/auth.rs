//! Who must know the hub's secret.

use slotway_net::Peer;

use crate::config::check::is_loopback;

/// Whether a peer must send the secret with every request.
pub fn must_know_secret(peer: Peer) -> bool {
    matches!(peer, Peer::Tcp(address) if !is_loopback(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_from_elsewhere_are_asked_for_the_secret() {
        let must = |text: &str| must_know_secret(Peer::Tcp(text.parse().unwrap()));
        assert!(must("192.0.2.1:1") && must("[2001:db8::1]:1"));
        assert!(!must("127.0.0.1:1") && !must("[::1]:1") && !must("[::ffff:127.0.0.1]:1"));
        assert!(!must_know_secret(Peer::Unix));
    }
}
