//! Calls on a socket of either engine that do not wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::readable::Watched;

/// What has a socket open for as long as it lives. A bare number has not, though it is an
/// [`AsRawFd`] too.
///
/// # Safety
/// `as_raw_fd` must return a descriptor that is open for as long as the value lives.
pub unsafe trait OpenSocket: AsRawFd {}

// SAFETY: it owns its socket, and closes it when it is dropped.
unsafe impl OpenSocket for tokio_uring::net::TcpStream {}

// SAFETY: it owns its descriptor.
unsafe impl OpenSocket for Watched {}

/// Sends as much of `bytes` as the socket takes at once (send(2) with
/// `MSG_DONTWAIT`), never raising SIGPIPE. Returns how much that was.
///
/// A response nearly always fits the socket's buffer. Sending it here rather
/// than through the ring costs a system call and saves the connection a turn of
/// the reactor before it reads on.
pub fn send_now(socket: &impl OpenSocket, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(borrow(socket), bytes, flags)
}

/// Makes the close of a socket drop what is still to be sent, and reset the
/// connection (socket(7), `SO_LINGER` of 0).
pub fn reset_on_close(socket: &impl OpenSocket) {
    // Refused only for what is no socket any more.
    let _ = rustix::net::sockopt::set_socket_linger(borrow(socket), Some(Duration::ZERO));
}

/// Makes a TCP socket, and all that a listening one accepts, take no more than so many
/// bytes beyond those that are on their way (tcp(7), `TCP_NOTSENT_LOWAT`): a client that
/// does not read then costs little of the kernel's memory, and one that reads slowly
/// is seen to.
pub fn bound_unsent_bytes(socket: impl AsFd, bytes: u32) -> Result<(), Errno> {
    // SAFETY: the option's value is the `u32` that is passed by its address and size, and
    // only read. rustix has no form of this option.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        let error = std::io::Error::last_os_error();
        Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// Bytes in the send queue of a socket (`SIOCOUTQ`); 0 where it cannot say.
pub fn unacknowledged_bytes(socket: &impl OpenSocket) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int to the address that
    // it is given, which is that of a local one. rustix has no form of it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        u64::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

/// The descriptor of a socket, for as long as that is borrowed.
pub fn borrow(socket: &impl OpenSocket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, which
    // is as long as what is made here lives. tokio-uring's sockets have no
    // `AsFd`.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}
