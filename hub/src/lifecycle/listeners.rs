//! Everything that a hub listens on: bound anew, opened by the service manager, or inherited from
//! another hub.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::SocketType;

use super::activation::{PassedSocket, PassedSockets};
use super::attach_socket::AttachSocket;
use super::bind::listen;
use super::error::StartError;
use super::handover::{Description, ListenerDescription};
use super::unix_socket::UnixSocket;
use crate::config::check::is_loopback;
use crate::config::error::ConfigError;
use crate::config::listen::ListenAddress;
use crate::config::{Config, Internal};

/// Everything that the hub listens on; files and locks go with it.
pub struct Listeners {
    /// For clients.
    pub clients: ListenerSet,
    /// For who operates the hub; the first reactor alone accepts there.
    pub operations: ListenerSet,
    /// For balancers that ask how the hub is; the control thread answers there.
    pub agents: ListenerSet,
}

/// Sockets of one purpose.
pub struct ListenerSet {
    /// TCP addresses.
    pub tcp: Vec<TcpSockets>,
    /// Unix sockets.
    pub unix: Vec<UnixSocket>,
    /// For each reactor that accepts, a socket of each.
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
    /// Opens all of them, those for clients each with a socket for every reactor, and the attach
    /// socket. What the service manager has opened takes the place of what the flags say.
    pub fn open(config: &Config, reactor_count: u32) -> Result<(Self, AttachSocket), StartError> {
        let passed = PassedSockets::take().map_err(StartError::Passed)?;
        let clients = match passed.clients {
            none if none.is_empty() => {
                ListenerSet::bind(&config.listen_addresses(), reactor_count)?
            }
            sockets => ListenerSet::of_passed(sockets, reactor_count)?,
        };
        let operations = match passed.operations {
            none if none.is_empty() => ListenerSet::bind(&config.ops, 1)?,
            sockets => ListenerSet::of_passed(sockets, 1)?,
        };
        let attach = if let Some((path, socket)) = passed.attach {
            AttachSocket::of_service_manager(path, socket)
        } else {
            let port = clients.tcp.first().map_or(0, |tcp| tcp.address.port());
            AttachSocket::bind(&config.attach, port)?
        };
        let agents = ListenerSet::bind(&config.agent_check, 1)?;
        let listeners = Self {
            clients,
            operations,
            agents,
        };
        Ok((listeners, attach))
    }

    /// Whether these are right for a configuration, wherever they come from.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        if config.secret.is_none()
            && let Some(address) = self.clients.public_address()
        {
            return Err(ConfigError::NoSecret(address));
        }
        if config.internal == Internal::Socket && self.clients.unix.is_empty() {
            return Err(ConfigError::NoInternalSocket);
        }
        Ok(())
    }

    /// Of all purposes.
    pub fn all(&self) -> [&ListenerSet; 3] {
        [&self.clients, &self.operations, &self.agents]
    }

    /// Closes what only this value holds of the sockets for clients: the reactors close their
    /// own.
    pub fn close(&mut self) {
        for tcp in &mut self.clients.tcp {
            tcp.sockets.clear();
        }
    }
}

impl ListenerSet {
    fn new(reactor_count: u32) -> Self {
        Self {
            tcp: Vec::new(),
            unix: Vec::new(),
            of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
        }
    }

    fn bind(addresses: &[ListenAddress], reactor_count: u32) -> Result<Self, StartError> {
        let mut this = Self::new(reactor_count);
        for address in addresses {
            match address {
                ListenAddress::Tcp(address) => {
                    let (address, sockets) = listen(*address, reactor_count)?;
                    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
                    this.add_tcp(address, sockets)
                        .map_err(StartError::Runtime)?;
                }
                ListenAddress::Unix { path, access } => {
                    let socket = UnixSocket::bind(path, SocketType::STREAM, access)?;
                    this.add_unix(socket).map_err(StartError::Runtime)?;
                }
            }
        }
        Ok(this)
    }

    fn of_passed(sockets: Vec<PassedSocket>, reactor_count: u32) -> Result<Self, StartError> {
        let mut this = Self::new(reactor_count);
        // Several of one address share its connections (ReusePort=).
        let mut of_address: Vec<(SocketAddr, Vec<OwnedFd>)> = Vec::new();
        for socket in sockets {
            match socket {
                PassedSocket::Unix(path, socket) => {
                    let socket = UnixSocket::of_service_manager(path, socket);
                    this.add_unix(socket).map_err(StartError::Passed)?;
                }
                PassedSocket::Tcp(address, socket) => {
                    match of_address.iter_mut().find(|(known, _)| *known == address) {
                        Some((_, sockets)) => sockets.push(socket),
                        None => of_address.push((address, vec![socket])),
                    }
                }
            }
        }
        for (address, sockets) in of_address {
            this.add_tcp(address, sockets).map_err(StartError::Passed)?;
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

    /// One of its addresses that other hosts reach.
    pub fn public_address(&self) -> Option<SocketAddr> {
        let mut addresses = self.tcp.iter().map(|tcp| tcp.address);
        addresses.find(|address| !is_loopback(*address))
    }

    /// What it listens on, as URLs.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let tcp = self.tcp.iter();
        let tcp = tcp.map(|tcp| format!("http://{}", tcp.address));
        let unix = self.unix.iter();
        tcp.chain(unix.map(|socket| format!("unix:{}", socket.path().display())))
    }

    /// Duplicates of its sockets for another hub, in the order of the description.
    pub fn try_clone_to(&self, fds: &mut Vec<OwnedFd>) -> io::Result<ListenerDescription> {
        for tcp in &self.tcp {
            for socket in &tcp.sockets {
                fds.push(socket.try_clone()?);
            }
        }
        for is_service_managers in [false, true] {
            let unix = self.unix.iter();
            for unix in unix.filter(|unix| unix.is_service_managers() == is_service_managers) {
                fds.extend(unix.try_clone_all()?);
            }
        }
        let tcp = self.tcp.iter();
        // Those of the service manager are told apart, and have no lock.
        let paths = |is_service_managers| {
            let unix = self.unix.iter();
            unix.filter(move |unix| unix.is_service_managers() == is_service_managers)
                .map(UnixSocket::path)
        };
        Ok(ListenerDescription {
            tcp: tcp.map(|tcp| (tcp.address, tcp.sockets.len())).collect(),
            unix: paths(false).collect(),
            service_managers: paths(true).collect(),
        })
    }

    /// What another hub has handed over.
    fn inherit(
        description: &ListenerDescription,
        mut next: impl FnMut() -> io::Result<OwnedFd>,
        reactor_count: u32,
    ) -> io::Result<Self> {
        let mut this = Self::new(reactor_count);
        for (address, count) in &description.tcp {
            let sockets = (0..*count)
                .map(|_| next())
                .collect::<io::Result<Vec<_>>>()?;
            this.add_tcp(*address, sockets)?;
        }
        for path in &description.unix {
            this.add_unix(UnixSocket::inherit(path.clone(), next()?, next()?))?;
        }
        for path in &description.service_managers {
            this.add_unix(UnixSocket::of_service_manager(path.clone(), next()?))?;
        }
        Ok(this)
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
    let clients = ListenerSet::inherit(&description.clients, &mut next, reactor_count)?;
    let operations = ListenerSet::inherit(&description.operations, &mut next, 1)?;
    let agents = ListenerSet::inherit(&description.agents, &mut next, 1)?;
    let listeners = Listeners {
        clients,
        operations,
        agents,
    };
    let path = description.attach.clone();
    let attach = if description.attach_is_service_managers {
        AttachSocket::of_service_manager(path, next()?)
    } else {
        let socket = UnixSocket::inherit(path, next()?, next()?);
        AttachSocket::inherit(socket, description.private_folder.clone())
    };
    Ok((listeners, attach))
}
