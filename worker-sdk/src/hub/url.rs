//! Where a hub is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::RunError;

/// Where a hub is, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HubUrl {
    /// `http://host:port`, perhaps with a path below which the hub's own paths are.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// 80 if the URL has none.
        port: u16,
        /// What stands in the Host field.
        authority: String,
        /// Without a slash at its end.
        base_path: String,
    },
    /// `unix:/path`
    Unix(PathBuf),
}

impl HubUrl {
    pub fn parse(url: &str) -> Result<Self, RunError> {
        let refuse = |why: &str| {
            Err(RunError::Url {
                url: url.to_owned(),
                why: why.to_owned(),
            })
        };
        if let Some(path) = url.strip_prefix("unix:") {
            // Some write three slashes, as in other URLs.
            let path = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
            return if url.starts_with("unix:/") && path.file_name().is_some() {
                Ok(Self::Unix(path))
            } else {
                refuse("a path from the root is needed: unix:/path")
            };
        }
        if url.is_empty() {
            return refuse("it is empty");
        }
        if url.starts_with("https://") {
            return refuse("the hub speaks HTTP without TLS");
        }
        let Some(rest) = url.strip_prefix("http://") else {
            return refuse("it starts neither with http:// and a host nor with unix:/");
        };
        if !rest.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) || rest.contains(['?', '#', '@']) {
            return refuse("it may have a host, a port and a path, and nothing else");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Some((host, port)) = split_authority(authority) else {
            return refuse("expected a host and an optional port behind http://");
        };
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            base_path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether it is this host that the URL names.
    pub fn is_on_this_host(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                let address = host.parse::<IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// Where a hub on this host that listens there has its attach socket, unless it was
    /// told otherwise.
    pub fn usual_attach_sockets(&self) -> Vec<PathBuf> {
        let Self::Tcp { port, .. } = self else {
            return Vec::new();
        };
        if !self.is_on_this_host() {
            return Vec::new();
        }
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folders = runtime_dir.into_iter().chain([PathBuf::from("/run")]);
        folders
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(format!("slotway-{port}.sock")))
            .collect()
    }
}

/// Host without brackets, and port; `None` if it is not an authority.
fn split_authority(authority: &str) -> Option<(&str, u16)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if rest.is_empty() => 80,
        None => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                authority,
                base_path,
                ..
            } => write!(f, "http://{authority}{base_path}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_none_of_a_hub_are_refused_with_the_reason() {
        for url in ["http://127.0.0.1:3200", "http://localhost:3200/"] {
            let parsed = HubUrl::parse(url).unwrap();
            assert_eq!(parsed.to_string(), url.trim_end_matches('/'));
        }
        for url in ["unix:/run/h.sock", "unix:///run/h.sock"] {
            let parsed = HubUrl::parse(url).unwrap();
            assert_eq!(parsed.to_string(), "unix:/run/h.sock");
        }
        for (url, why) in [
            ("", "empty"),
            ("127.0.0.1:3200", ""),
            ("https://h", "without TLS"),
            ("ftp://h", "http://"),
            ("http://", "a host"),
            ("http://:80", "a host"),
            ("http://h:x", "a host"),
            ("http://h:70000", "a host"),
            ("http://[::1", "a host"),
            ("http://u@h", "nothing else"),
            ("http://h/?q", "nothing else"),
            ("unix:", "unix:/path"),
            ("unix:/", "unix:/path"),
            ("unix:run/h.sock", "unix:/path"),
        ] {
            let error = HubUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn a_hub_on_this_host_has_its_attach_socket_in_a_usual_place() {
        let run = PathBuf::from("/run/slotway-3200.sock");
        for url in [
            "http://127.0.0.1:3200",
            "http://localhost:3200",
            "http://[::1]:3200",
        ] {
            let usual = HubUrl::parse(url).unwrap().usual_attach_sockets();
            assert_eq!(usual.last(), Some(&run), "{url}");
        }
        for url in [
            "http://192.0.2.1:3200",
            "http://example.org:3200",
            "unix:/run/h.sock",
        ] {
            assert!(
                HubUrl::parse(url)
                    .unwrap()
                    .usual_attach_sockets()
                    .is_empty(),
                "{url}"
            );
        }
    }
}
