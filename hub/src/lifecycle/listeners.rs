//! Everything that a hub listens on: bound anew, or inherited from another hub.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::SocketType;

use super::attach_socket::AttachSocket;
use super::bind::listen;
use super::error::StartError;
use super::handover::Description;
use super::unix_socket::UnixSocket;
use crate::config::ListenAddress;

/// Everything that the hub listens on; files and locks go with it.
pub struct Listeners {
    /// TCP addresses.
    pub tcp: Vec<TcpSockets>,
    /// Unix sockets.
    pub unix: Vec<UnixSocket>,
    /// For each reactor, a socket of each.
    pub of_reactors: Vec<Vec<OwnedFd>>,
}

/// An address, with duplicates of its sockets for a hub that takes over.
pub struct TcpSockets {
    /// Where.
    pub address: SocketAddr,
    /// Duplicates.
    pub sockets: Vec<OwnedFd>,
}

impl Listeners {
    /// Binds all of them, each with a socket for every reactor.
    pub fn bind(addresses: &[ListenAddress], reactor_count: u32) -> Result<Self, StartError> {
        let mut this = Self {
            tcp: Vec::new(),
            unix: Vec::new(),
            of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
        };
        for address in addresses {
            match address {
                ListenAddress::Tcp(address) => {
                    let (address, sockets) = listen(*address, reactor_count)?;
                    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
                    this.add_tcp(address, sockets)
                        .map_err(StartError::Runtime)?;
                }
                ListenAddress::Unix(path) => {
                    let socket = UnixSocket::bind(path, SocketType::STREAM, None)?;
                    this.add_unix(socket).map_err(StartError::Runtime)?;
                }
            }
        }
        Ok(this)
    }

    /// Every reactor gets a socket, and every socket a reactor.
    fn add_tcp(&mut self, address: SocketAddr, sockets: Vec<OwnedFd>) -> io::Result<()> {
        let reactor_count = self.of_reactors.len();
        for index in 0..reactor_count.max(sockets.len()) {
            let socket = sockets[index % sockets.len()].try_clone()?;
            self.of_reactors[index % reactor_count].push(socket);
        }
        self.tcp.push(TcpSockets { address, sockets });
        Ok(())
    }

    fn add_unix(&mut self, socket: UnixSocket) -> io::Result<()> {
        for own in &mut self.of_reactors {
            own.push(socket.try_clone()?);
        }
        self.unix.push(socket);
        Ok(())
    }

    /// Closes what only this value holds: the reactors close their own.
    pub fn close(&mut self) {
        for tcp in &mut self.tcp {
            tcp.sockets.clear();
        }
    }
}

/// Makes of descriptors what the description says they are.
pub fn inherit(
    description: &Description,
    fds: Vec<OwnedFd>,
    reactor_count: u32,
) -> io::Result<(Listeners, AttachSocket)> {
    let mut fds = fds.into_iter();
    let mut next = || {
        let missing = || io::Error::other("a handover with too few descriptors");
        fds.next().ok_or_else(missing)
    };
    let mut listeners = Listeners {
        tcp: Vec::new(),
        unix: Vec::new(),
        of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
    };
    for (address, count) in &description.tcp {
        let sockets = (0..*count)
            .map(|_| next())
            .collect::<io::Result<Vec<_>>>()?;
        listeners.add_tcp(*address, sockets)?;
    }
    for path in &description.unix {
        let socket = UnixSocket::inherit(path.clone(), next()?, next()?);
        listeners.add_unix(socket)?;
    }
    let socket = UnixSocket::inherit(description.attach.clone(), next()?, next()?);
    let attach = AttachSocket::inherit(socket, description.private_folder.clone());
    Ok((listeners, attach))
}
