//! Calls on a socket of either engine that do not wait.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;

/// Sends as much of `bytes` as the socket takes at once (send(2) with
/// `MSG_DONTWAIT`), never raising SIGPIPE. Returns how much that was.
///
/// An answer nearly always fits the socket's buffer. Sending it here rather
/// than through the ring costs a system call and saves the connection a turn of
/// the reactor before it reads on.
pub fn send_now(socket: &impl AsRawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(borrow(socket), bytes, flags)
}

/// Makes the close of a socket drop what is still to be sent, and reset the
/// connection (socket(7), `SO_LINGER` of 0).
pub fn reset_on_close(socket: &impl AsRawFd) {
    // Refused only for what is no socket any more.
    let _ = rustix::net::sockopt::set_socket_linger(borrow(socket), Some(Duration::ZERO));
}

/// The descriptor of a socket, for as long as that is borrowed.
pub fn borrow(socket: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, which
    // is as long as what is made here lives. tokio-uring's sockets have no
    // `AsFd`.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}
