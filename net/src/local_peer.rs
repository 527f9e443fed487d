//! What this host knows of the other end of a TCP connection that does not leave it:
//! whose socket it is, and whether it is still open (`sock_diag(7)`).
//!
//! TCP itself says neither. A peer that has closed its side alone and one that is gone
//! look the same until something is sent to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// The socket at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// The user who made it; 0 as well if it is closed.
    pub uid: u32,
    /// No process has it open any more.
    pub is_closed: bool,
}

/// Asks the kernel about sockets of this network namespace.
#[derive(Debug)]
pub struct LocalPeers {
    netlink: OwnedFd,
}

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `struct nlmsghdr`
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_sockid`
const SOCKET_ID_BYTES: usize = 48;
/// `struct inet_diag_req_v2`
const REQUEST_BYTES: usize = HEADER_BYTES + 8 + SOCKET_ID_BYTES;
/// Where the ports of `idiag_sockid` stand in `struct inet_diag_msg`.
const PORTS_OFFSET: usize = HEADER_BYTES + 4;
/// Where `idiag_uid` and `idiag_inode` stand in `struct inet_diag_msg`.
const UID_OFFSET: usize = HEADER_BYTES + 4 + SOCKET_ID_BYTES + 12;
const INODE_OFFSET: usize = UID_OFFSET + 4;

impl LocalPeers {
    /// Opens the netlink socket. An error if the kernel cannot tell of TCP sockets: its
    /// module for them may be missing.
    pub fn new() -> io::Result<Self> {
        let peers = Self::open()?;
        if let Ok((listener, client)) = connected_pair()
            && let Ok(None) = peers.ask(listener.local_addr()?, client.local_addr()?)
        {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel does not tell of TCP sockets; is tcp_diag missing?",
            ));
        }
        // If that could not be tried, nothing is known of the kernel; peers that it does
        // not tell of are unknown then.
        Ok(peers)
    }

    fn open() -> io::Result<Self> {
        let netlink = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Self { netlink })
    }

    /// The socket that is connected from `peer` to `local`, if it is in this network
    /// namespace.
    pub fn find(&self, local: SocketAddr, peer: SocketAddr) -> Option<LocalPeer> {
        self.ask(local, peer).ok().flatten()
    }

    /// `None`: the kernel knows of no such socket.
    fn ask(&self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<LocalPeer>> {
        let (local_ip, peer_ip) = (local.ip().to_canonical(), peer.ip().to_canonical());
        let mut request = [0_u8; REQUEST_BYTES];
        request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        request[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
        request[16] = if peer_ip.is_ipv4() { AF_INET } else { AF_INET6 };
        request[17] = IPPROTO_TCP;
        // In any state.
        request[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        let id = &mut request[24..];
        let (own, other) = (peer.port().to_be_bytes(), local.port().to_be_bytes());
        let ports = [own[0], own[1], other[0], other[1]];
        id[0..4].copy_from_slice(&ports);
        write_address(&mut id[4..20], peer_ip);
        write_address(&mut id[20..36], local_ip);
        // No cookie: whichever socket it is.
        id[40..48].fill(0xff);
        rustix::net::send(&self.netlink, &request, SendFlags::DONTWAIT)?;
        let mut answer = [0_u8; 512];
        // The kernel has answered by the time that the request is sent.
        let (bytes, _) = rustix::net::recv(&self.netlink, &mut answer, RecvFlags::DONTWAIT)?;
        read_answer(&answer[..bytes], ports)
    }
}

/// What the kernel says of the socket with these ports.
fn read_answer(answer: &[u8], ports: [u8; 4]) -> io::Result<Option<LocalPeer>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short answer of sock_diag");
    let word = |offset: usize| {
        let bytes = answer.get(offset..offset + 4).ok_or_else(short)?;
        Ok::<_, io::Error>(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    // The type stands in the lower half, the flags in the upper.
    let kind = answer.get(4..6).ok_or_else(short)?;
    match u16::from_ne_bytes([kind[0], kind[1]]) {
        BY_FAMILY => {}
        ERROR => {
            let errno = (word(HEADER_BYTES)? as i32).wrapping_neg();
            let error = io::Error::from_raw_os_error(errno);
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                _ => Err(error),
            };
        }
        _ => return Err(io::Error::other("an unknown answer of sock_diag")),
    }
    // Where no socket is connected so, the kernel names one that listens there, which
    // may be anybody's.
    if answer.get(PORTS_OFFSET..PORTS_OFFSET + 4) != Some(&ports) {
        return Ok(None);
    }
    Ok(Some(LocalPeer {
        uid: word(UID_OFFSET)?,
        is_closed: word(INODE_OFFSET)? == 0,
    }))
}

/// A server on this host, and a client of it.
fn connected_pair() -> io::Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener, client))
}

fn write_address(place: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => place[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => place.copy_from_slice(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::time::{Duration, Instant};

    #[test]
    fn a_peer_s_user_is_known_and_whether_it_has_closed_all_or_its_side_alone() {
        let peers = LocalPeers::new().unwrap();
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let open = LocalPeer {
                uid: rustix::process::geteuid().as_raw(),
                is_closed: false,
            };
            assert_eq!(peers.find(local, peer), Some(open), "{listen}");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(peers.find(local, peer), Some(open), "{listen}");
            drop(client);
            let start = Instant::now();
            while !peers.find(local, peer).is_some_and(|peer| peer.is_closed) {
                assert!(start.elapsed() < Duration::from_secs(10));
            }
        }
    }

    #[test]
    fn a_listener_where_the_peer_was_is_not_the_peer() {
        let peers = LocalPeers::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let local = "127.0.0.1:9".parse().unwrap();
        assert_eq!(peers.find(local, listens), None);
    }

    #[test]
    fn of_a_socket_that_is_not_here_nothing_is_known() {
        let peers = LocalPeers::new().unwrap();
        let there = "192.0.2.1:9".parse().unwrap();
        assert_eq!(peers.find("127.0.0.1:1".parse().unwrap(), there), None);
    }
}
