//! Sending and receiving packets with descriptors over the attach socket
//! (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown,
};

use crate::limits::LANE_COUNT_MAX;
use crate::message::MESSAGE_BYTES_MAX;

/// Descriptors that one message carries at most.
pub const FD_COUNT_MAX: usize = LANE_COUNT_MAX as usize + 2;

/// A packet as it came in.
#[derive(Debug, Default)]
pub struct Packet {
    /// Its bytes; empty when the other side has closed.
    pub bytes: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Bounds how long a call may wait to send or to receive.
pub fn set_timeout(socket: impl AsFd, limit: Duration) -> io::Result<()> {
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, direction, Some(limit))?;
    }
    Ok(())
}

/// Sends one packet, never raising SIGPIPE.
pub fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, packet, fds, SendFlags::empty())
}

fn send_with(
    socket: impl AsFd,
    packet: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    assert!(fds.len() <= FD_COUNT_MAX, "limits.rs bounds the lanes");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_COUNT_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is for FD_COUNT_MAX");
    }
    let sent = rustix::net::sendmsg(
        socket,
        &[IoSlice::new(packet)],
        &mut ancillary,
        SendFlags::NOSIGNAL | flags,
    )?;
    debug_assert_eq!(sent, packet.len(), "a packet goes whole or not at all");
    Ok(())
}

/// Sends the last packet of a connection, which the caller closes next. What the other
/// side has sent is dropped, and what it sends from here on fails there: a close over
/// unread packets resets the connection, and the other side would read that
/// (`ECONNRESET`) in place of the packet.
pub fn send_last(socket: impl AsFd, packet: &[u8]) -> io::Result<()> {
    send(&socket, packet, &[])?;
    rustix::net::shutdown(&socket, Shutdown::Read)?;
    let mut byte = [0];
    while let Ok((1.., _)) = rustix::net::recv(&socket, &mut byte, RecvFlags::DONTWAIT) {}
    Ok(())
}

/// Sends one packet if there is room for it at once; else the error is `WouldBlock`.
pub fn send_now(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, packet, fds, SendFlags::DONTWAIT)
}

/// Receives one packet. Descriptors nobody expected are closed on drop, those
/// beyond [`FD_COUNT_MAX`] by the kernel. A packet longer than any message
/// comes back one byte longer than the longest, so that it reads as garbage.
pub fn receive(socket: impl AsFd) -> io::Result<Packet> {
    receive_up_to(socket, MESSAGE_BYTES_MAX)
}

/// Like [`receive`], for messages of at most so many bytes.
pub fn receive_up_to(socket: impl AsFd, bytes_max: usize) -> io::Result<Packet> {
    let mut bytes = vec![0; bytes_max + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_COUNT_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if !received.flags.contains(ReturnFlags::TRUNC) {
        bytes.truncate(received.bytes);
    }
    Ok(Packet { bytes, fds })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_last_packet_is_read_whatever_the_other_side_has_sent() {
        let (hub, worker) = pair();
        for _ in 0..3 {
            send(&worker, b"unread", &[]).unwrap();
        }
        send_last(&hub, b"the last").unwrap();
        assert!(send(&worker, b"too late", &[]).is_err());
        drop(hub);
        assert_eq!(receive(&worker).unwrap().bytes, b"the last");
        assert_eq!(receive(&worker).unwrap().bytes, b"");
    }

    #[test]
    fn descriptors_arrive_with_their_packet_and_are_closed_on_exec() {
        let (a, b) = pair();
        let pipe = rustix::pipe::pipe().unwrap();
        send(&a, b"two", &[pipe.0.as_fd(), pipe.1.as_fd()]).unwrap();
        let packet = receive(&b).unwrap();
        assert_eq!(
            (packet.bytes.as_slice(), packet.fds.len()),
            (b"two".as_slice(), 2)
        );
        for fd in packet.fds {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn an_overlong_packet_is_longer_than_any_message_and_a_closed_peer_is_empty() {
        let (a, b) = pair();
        rustix::io::write(&a, &[7; MESSAGE_BYTES_MAX * 2]).unwrap();
        assert_eq!(receive(&b).unwrap().bytes.len(), MESSAGE_BYTES_MAX + 1);
        drop(a);
        assert!(receive(&b).unwrap().bytes.is_empty());
    }
}
