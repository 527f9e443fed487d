//! What a URL asks for.

use std::net::{SocketAddr, ToSocketAddrs};

/// An `http://` URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// Value of the Host field.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why a URL cannot be a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// TLS.
    #[error("{0}: TLS is not spoken here; use the http:// address behind it")]
    Tls(String),
    /// No URL.
    #[error("{0}: no target; expected something like http://127.0.0.1:3200/path")]
    NoUrl(String),
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
    /// Parses and resolves a URL.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if url.starts_with("https://") {
            return Err(TargetError::Tls(url.to_owned()));
        }
        let no_url = || TargetError::NoUrl(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(no_url)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let legal = |byte: u8| matches!(byte, 0x21..=0x7e);
        if authority.is_empty() || authority.contains('@') || !url.bytes().all(legal) {
            return Err(no_url());
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let resolve = |why: String| TargetError::Resolve {
            url: url.to_owned(),
            why,
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|error| resolve(error.to_string()))?
            .next()
            .ok_or_else(|| resolve("no address".to_owned()))?;
        Ok(Self {
            address,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// A GET request for it, as bytes.
    pub fn get_request(&self) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.path, self.authority
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_address_authority_and_path() {
        let target = Target::parse("http://127.0.0.1:3200/a?b=c").unwrap();
        assert_eq!(target.address, "127.0.0.1:3200".parse().unwrap());
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("127.0.0.1:3200", "/a?b=c")
        );
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().path, "/");
    }

    #[test]
    fn what_is_no_target_is_refused_with_what_to_do() {
        assert!(matches!(
            Target::parse("https://h/"),
            Err(TargetError::Tls(_))
        ));
        for bad in ["", "h:80", "http://", "http://a b/", "http://u@h/"] {
            assert!(
                matches!(Target::parse(bad), Err(TargetError::NoUrl(_))),
                "{bad}"
            );
        }
    }
}
