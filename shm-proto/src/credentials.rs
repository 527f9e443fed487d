//! Who is at the other end of a Unix socket (unix(7), `SO_PEERCRED`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::Pid;

/// The process that connected, or made the pair, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// `None`: a process in a namespace that this one cannot see into. rustix takes it for
    /// a number that is never 0, which it is then.
    pub pid: Option<Pid>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Asks the system for them.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: getsockopt writes at most `bytes` bytes to the local value that is passed by
    // its address, and how many that were to `bytes`; every bit pattern is a `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials {
        pid: Pid::from_raw(credentials.pid),
        uid: credentials.uid,
        gid: credentials.gid,
    })
}

/// More groups than this are not asked for.
const GROUP_COUNT_MAX: usize = 1024;

/// The supplementary groups that the process was in when it connected (`SO_PEERGROUPS`).
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![libc::gid_t::MAX; GROUP_COUNT_MAX];
    let mut bytes = size_of_val(&*groups) as libc::socklen_t;
    // SAFETY: getsockopt writes at most `bytes` bytes to the vector's elements, and how many that
    // were to `bytes`; every bit pattern is a group.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = peer_credentials(&a).unwrap();
        assert_eq!(peer.pid, Some(rustix::process::getpid()));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        let own = rustix::process::getgroups().unwrap();
        let own: Vec<_> = own.into_iter().map(rustix::process::Gid::as_raw).collect();
        assert_eq!(peer_groups(&a).unwrap(), own);
    }
}
