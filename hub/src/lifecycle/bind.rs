//! Binding the listening sockets so that a second hub is refused.
//!
//! Several reactors share a port by `SO_REUSEPORT`, which would let a second hub of the
//! same user take part of the traffic unnoticed. So the first socket is bound without
//! it, which fails if anybody has the address, and allows sharing only then: from there
//! on a second hub's first socket fails, too.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::limits::{BIND_PATIENCE, LISTEN_BACKLOG, UNSENT_BYTES_MAX};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another hub, or any program, listens there.
    #[error("{address} is in use by another hub or program; stop it or choose another --port")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused it for another reason.
    #[error("cannot listen on {address}: {error}")]
    System {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
}

/// Listens on `address` with `count` sockets that share its connections.
pub fn listen(
    address: SocketAddr,
    count: u32,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let system = |error: Errno| match error {
        Errno::ADDRINUSE => BindError::InUse { address },
        error => BindError::System {
            address,
            error: error.into(),
        },
    };
    let first = bind_patiently(address).map_err(system)?;
    // At once: until it listens, another socket may bind here as well.
    rustix::net::listen(&first, LISTEN_BACKLOG).map_err(system)?;
    let local = first
        .local_addr()
        .map_err(|error| BindError::System { address, error })?;
    let mut listeners = vec![first];
    if count > 1 {
        sockopt::set_socket_reuseport(&listeners[0], true).map_err(system)?;
    }
    for _ in 1..count {
        listeners.push(bind_one(local, true).map_err(system)?);
    }
    for listener in &listeners[1..] {
        rustix::net::listen(listener, LISTEN_BACKLOG).map_err(system)?;
    }
    Ok((local, listeners))
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
    // Accepted sockets inherit it; responses are written whole, so waiting for
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
            let (address, listeners) = listen(free, count).unwrap();
            assert_eq!(listeners.len(), count as usize);
            assert!(matches!(listen(address, 2), Err(BindError::InUse { .. })));
        }
    }
}
