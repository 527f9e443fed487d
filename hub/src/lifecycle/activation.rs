//! Sockets that the service manager has opened: what each is for follows from its name and type.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::net::{SocketAddrAny, SocketAddrUnix, SocketType, sockopt};
use slotway_net::{bound_unsent_bytes, take_passed};

use crate::limits::UNSENT_BYTES_MAX;

/// What was passed.
#[derive(Debug, Default)]
pub struct PassedSockets {
    /// For clients.
    pub clients: Vec<PassedSocket>,
    /// For who operates the hub: those that are called `ops`.
    pub operations: Vec<PassedSocket>,
    /// For workers: a Unix socket of sequential packets.
    pub attach: Option<(PathBuf, OwnedFd)>,
}

/// A listening stream socket.
#[derive(Debug)]
pub enum PassedSocket {
    /// Of TCP.
    Tcp(std::net::SocketAddr, OwnedFd),
    /// Of a path.
    Unix(PathBuf, OwnedFd),
}

impl PassedSockets {
    /// What was passed to this process. An error says which one cannot be used.
    pub fn take() -> io::Result<Self> {
        let mut passed = Self::default();
        for (socket, name) in take_passed()? {
            let wrong = |why: &str| {
                let text = format!("the socket {name:?} of the service manager: {why}");
                io::Error::other(text)
            };
            if !sockopt::socket_acceptconn(&socket)? {
                return Err(wrong("it does not listen (Accept=no is needed)"));
            }
            let socket_type = sockopt::socket_type(&socket)?;
            let address = rustix::net::getsockname(&socket)?;
            if socket_type == SocketType::SEQPACKET {
                let path = path_of(&address).ok_or_else(|| wrong("it has no path"))?;
                if passed.attach.replace((path, socket)).is_some() {
                    return Err(wrong("there is another one for workers"));
                }
                continue;
            }
            if socket_type != SocketType::STREAM {
                return Err(wrong(
                    "it is neither ListenStream nor ListenSequentialPacket",
                ));
            }
            let socket = if let Some(path) = path_of(&address) {
                PassedSocket::Unix(path, socket)
            } else {
                let address = address.try_into();
                let address = address.map_err(|_| wrong("it is neither TCP nor of a path"))?;
                // As with those that the hub binds itself; accepted ones inherit it.
                sockopt::set_tcp_nodelay(&socket, true)?;
                bound_unsent_bytes(&socket, UNSENT_BYTES_MAX)?;
                PassedSocket::Tcp(address, socket)
            };
            let purpose = if name == "ops" {
                &mut passed.operations
            } else {
                &mut passed.clients
            };
            purpose.push(socket);
        }
        Ok(passed)
    }
}

fn path_of(address: &SocketAddrAny) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(address.clone()).ok()?;
    let path = address.path()?;
    Some(std::ffi::OsString::from_vec(path.to_bytes().to_vec()).into())
}
