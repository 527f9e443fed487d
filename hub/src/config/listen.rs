//! Where a hub listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::net::SocketAddrUnix;

use super::account::FileAccess;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Who may use it.
        access: FileAccess,
    },
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            "expected address:port, like 127.0.0.1:3200 or [::]:80, or \
             unix:/path[,mode=0660][,group=NAME]"
                .to_owned()
        };
        let Some(mut rest) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp).map_err(|_| wrong());
        };
        let mut access = FileAccess::default();
        // From behind, since a path may have commas.
        while let Some((before, option)) = rest.rsplit_once(',') {
            match option.split_once('=') {
                Some(("mode", mode)) if access.mode.is_none() => access.mode = Some(mode.parse()?),
                Some(("group", group)) if access.group.is_none() => {
                    access.group = Some(group.parse()?);
                }
                _ => break,
            }
            rest = before;
        }
        if rest.is_empty() {
            return Err(wrong());
        }
        if SocketAddrUnix::new(rest).is_err() {
            return Err("the path is too long for a socket, or has a zero byte".to_owned());
        }
        let path = PathBuf::from(rest);
        Ok(Self::Unix { path, access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(text: &str) -> (PathBuf, FileAccess) {
        match text.parse().unwrap() {
            ListenAddress::Unix { path, access } => (path, access),
            ListenAddress::Tcp(address) => panic!("{address}"),
        }
    }

    #[test]
    fn a_unix_socket_may_say_who_may_use_it() {
        let (path, access) = unix("unix:/run/h,1.sock,mode=0660,group=root");
        assert_eq!(path, PathBuf::from("/run/h,1.sock"));
        assert_eq!(access.mode.unwrap().0, 0o660);
        assert_eq!(access.group.unwrap().gid, 0);
        assert_eq!(unix("unix:/a").1, FileAccess::default());
        for wrong in [
            "unix:",
            "unix:,mode=0660",
            "unix:/a,mode=9",
            "unix:/a,group=no-such-group",
        ] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }
}
