//! Binding the listening sockets so that a second hub is refused.
//!
//! Several reactors share a port by `SO_REUSEPORT`, which would let a second
//! hub of the same user take part of the traffic unnoticed. So an address is
//! owned by who holds its lock: a Unix socket of an abstract name (unix(7)),
//! which lives in the network namespace as the port does, and vanishes with
//! its process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

use crate::limits::{BIND_PATIENCE, LISTEN_BACKLOG, UNSENT_BYTES_MAX};

/// Held while a hub owns what it names.
#[derive(Debug)]
pub struct OwnerLock {
    socket: OwnedFd,
}

impl OwnerLock {
    /// One that another hub has handed over.
    pub fn inherit(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// To be handed over: the lock is held for as long as either holds it.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another hub, or any program, listens there.
    #[error("{address} is in use by {owner}; stop it or choose another --port")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        owner: &'static str,
    },
    /// The system refused it for another reason.
    #[error("cannot listen on {address}: {error}")]
    System {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
}

/// Takes the lock of that name, or `None` if another process holds it.
pub fn lock(name: &str) -> io::Result<Option<OwnerLock>> {
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::bind(&socket, &address) {
        Ok(()) => Ok(Some(OwnerLock { socket })),
        Err(Errno::ADDRINUSE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Listens on `address` with `count` sockets that share its connections.
pub fn listen(
    address: SocketAddr,
    count: u32,
) -> Result<(SocketAddr, Vec<TcpListener>, OwnerLock), BindError> {
    let system = |error: Errno| match error {
        Errno::ADDRINUSE => BindError::InUse {
            address,
            owner: "another program",
        },
        error => BindError::System {
            address,
            error: error.into(),
        },
    };
    let lock_of = |address: SocketAddr| {
        lock(&format!("slotway-hub/listen/{address}"))
            .map_err(|error| BindError::System { address, error })?
            .ok_or(BindError::InUse {
                address,
                owner: "another slotway-hub",
            })
    };
    let known = if address.port() == 0 {
        None
    } else {
        Some(lock_of(address)?)
    };
    // Without SO_REUSEPORT, this bind fails if anyone listens there, whatever
    // options they set. It also picks the port when that is 0.
    let probe = bind_patiently(address).map_err(system)?;
    let local = probe
        .local_addr()
        .map_err(|error| BindError::System { address, error })?;
    let lock = known.map_or_else(|| lock_of(local), Ok)?;
    if count == 1 {
        rustix::net::listen(&probe, LISTEN_BACKLOG).map_err(system)?;
        return Ok((local, vec![probe], lock));
    }
    drop(probe);
    let mut listeners = Vec::new();
    for _ in 0..count {
        let listener = bind_one(local, true).map_err(system)?;
        rustix::net::listen(&listener, LISTEN_BACKLOG).map_err(system)?;
        listeners.push(listener);
    }
    Ok((local, listeners, lock))
}

/// A hub that was killed may leave its listening socket to the kernel for some
/// moments longer, until its ring has been taken apart.
fn bind_patiently(address: SocketAddr) -> Result<TcpListener, Errno> {
    let start = Instant::now();
    loop {
        match bind_one(address, false) {
            Err(Errno::ADDRINUSE) if start.elapsed() < BIND_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn bind_one(address: SocketAddr, share_port: bool) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, share_port)?;
    // Accepted sockets inherit it; answers are written whole, so waiting for
    // more would only delay them.
    sockopt::set_tcp_nodelay(&socket, true)?;
    slotway_net::bound_unsent_bytes(&socket, UNSENT_BYTES_MAX)?;
    rustix::net::bind(&socket, &address)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hub_on_an_address_is_refused_though_the_first_shares_its_port_between_reactors() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for count in [1, 2] {
            let (address, listeners, _lock) = listen(free, count).unwrap();
            assert_eq!(listeners.len(), count as usize);
            assert!(matches!(listen(address, 2), Err(BindError::InUse { .. })));
        }
    }

    #[test]
    fn a_lock_is_free_again_once_its_holder_is_gone() {
        let name = format!("slotway-test/{}", std::process::id());
        let held = lock(&name).unwrap();
        assert!(held.is_some());
        assert!(lock(&name).unwrap().is_none());
        drop(held);
        assert!(lock(&name).unwrap().is_some());
    }
}
