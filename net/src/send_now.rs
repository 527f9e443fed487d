//! Sending without waiting.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::SendFlags;

/// Sends as much of `bytes` as the socket takes at once (send(2) with
/// `MSG_DONTWAIT`), never raising SIGPIPE. Returns how much that was.
///
/// An answer nearly always fits the socket's buffer. Sending it here rather
/// than through the ring costs a system call and saves the connection a turn of
/// the reactor before it reads on.
pub fn send_now(socket: &impl AsRawFd, bytes: &[u8]) -> Result<usize, rustix::io::Errno> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and
    // the borrow made of it does not outlive this call. tokio-uring's sockets
    // have no `AsFd`.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
