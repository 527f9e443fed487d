//! A connected socket on the ring.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::buffers::{BUFFER_BYTES, GROUP};
use super::operations::Received;
use super::runtime::{Ring, current};

/// `IORING_RECVSEND_POLL_FIRST` (`io_uring_prep_recv(3)`): who reads waits for what has not come.
const POLL_FIRST: u16 = 1;
/// So many messages must come without a body that is held back, before bytes are taken ahead
/// again: to begin and end that costs more than it saves for one message.
const MESSAGES_HELD_BACK: u8 = 8;

/// A connected socket, for the ring of its thread.
///
/// It is received from ahead: one operation yields whatever arrives, for as long as the
/// connection lasts. Bodies had better wait in the socket, from which they go where they belong
/// without a copy: [`RingSocket::hold_back`].
pub struct RingSocket {
    socket: Rc<OwnedFd>,
    ring: Rc<Ring>,
    /// The receive that is under way, or has ended and was not taken.
    receiving: Cell<Option<usize>>,
    /// The wait for room that is under way.
    writing: Cell<Option<usize>>,
    /// Messages for which reads still take only what they ask for.
    held_back: Cell<u8>,
    /// The last receive found no buffer.
    had_no_buffer: Cell<bool>,
}

impl RingSocket {
    /// Takes over a blocking socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Rc::new(socket),
            ring: current()?,
            receiving: Cell::new(None),
            writing: Cell::new(None),
            held_back: Cell::new(0),
            had_no_buffer: Cell::new(false),
        })
    }

    /// Reads once behind what is in `buffer`, which may grow. 0 is the end of the stream.
    pub async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let key = if let Some(key) = self.receiving.get() {
                key
            } else {
                let room = buffer.capacity() - buffer.len();
                if self.held_back.get() > 0 && room > BUFFER_BYTES {
                    match self.receive_now(buffer) {
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        received => return Ok(received?),
                    }
                }
                self.start_receive(room)?
            };
            match poll_fn(|cx| self.ring.poll_receive(key, cx)).await {
                Received::Buffer { index, count } => {
                    let append = |bytes: &[u8]| buffer.extend_from_slice(bytes);
                    self.ring.with_buffer(index, count, append);
                    return Ok(count);
                }
                Received::Ahead(bytes) => {
                    buffer.extend_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Received::Ended(result) => {
                    self.receiving.set(None);
                    match outcome(result) {
                        Ok(_) => return Ok(0),
                        Err(Errno::INTR | Errno::CANCELED) => {}
                        // All buffers are taken: the bytes stay in the socket, and come from
                        // there.
                        Err(Errno::NOBUFS) => match self.receive_now(buffer) {
                            Err(Errno::AGAIN) => self.had_no_buffer.set(true),
                            Err(Errno::INTR) => {}
                            received => return Ok(received?),
                        },
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Waits until there is something to receive, without a buffer for it.
    pub async fn arrival(&self) -> io::Result<()> {
        loop {
            let key = match self.receiving.get() {
                Some(key) => key,
                None => self.start_receive(BUFFER_BYTES)?,
            };
            if !poll_fn(|cx| self.ring.poll_arrival(key, cx)).await {
                return Ok(());
            }
            self.receiving.set(None);
        }
    }

    /// Leaves in the socket what arrives from now on until it is received. What has been taken
    /// before is received first.
    pub async fn hold_back(&self) {
        self.held_back.set(MESSAGES_HELD_BACK);
        if let Some(key) = self.receiving.get() {
            self.ring.cancel(key);
            poll_fn(|cx| self.ring.poll_end(key, cx)).await;
        }
    }

    /// Whether bytes have been taken from the socket and not been received.
    pub fn is_ahead(&self) -> bool {
        let key = self.receiving.get();
        key.is_some_and(|key| self.ring.has_bytes(key))
    }

    /// A message is over.
    pub fn message_over(&self) {
        self.held_back.set(self.held_back.get().saturating_sub(1));
    }

    fn start_receive(&self, room: usize) -> io::Result<usize> {
        // Without polling first a receive takes a buffer before it finds nothing, and fails where
        // none is left. A multishot receive cannot poll first: of a Unix socket it misses an end
        // that came before (Linux 6.18).
        let entry = if self.held_back.get() > 0 || self.had_no_buffer.take() {
            let bytes = match room {
                0 => BUFFER_BYTES,
                room => room.min(BUFFER_BYTES),
            };
            opcode::Recv::new(self.fd(), std::ptr::null_mut(), bytes as u32)
                .ioprio(POLL_FIRST)
                .buf_group(GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(self.fd(), GROUP).build()
        };
        let key = self.ring.start_receive(entry)?;
        self.receiving.set(Some(key));
        Ok(key)
    }

    fn receive_now(&self, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(BUFFER_BYTES);
        }
        let room = spare_capacity(buffer);
        let (count, _) = rustix::net::recv(&self.socket, room, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    /// Waits until it can be written.
    pub async fn writable(&self) -> io::Result<()> {
        let key = if let Some(key) = self.writing.get() {
            key
        } else {
            let wait = opcode::PollAdd::new(self.fd(), libc::POLLOUT as u32);
            self.ring.start_single(wait.build())?
        };
        self.writing.set(Some(key));
        let result = poll_fn(|cx| self.ring.poll_single(key, cx)).await;
        self.writing.set(None);
        outcome(result)?;
        Ok(())
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.as_raw_fd())
    }
}

fn outcome(result: i32) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

impl AsRawFd for RingSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for RingSocket {
    fn drop(&mut self) {
        let under_way = [self.receiving.take(), self.writing.take()];
        for key in under_way.into_iter().flatten() {
            self.ring.abandon(key, Rc::clone(&self.socket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::run;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::task::Context;

    /// More connections than the ring has buffers.
    const MANY: usize = 300;

    /// Lets the thread enter its ring, until something holds.
    async fn turns(until: impl Fn() -> bool) {
        let mut tries = 0;
        while !until() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            tries += 1;
            assert!(tries < 5_000, "it never holds");
        }
    }

    fn pair() -> (RingSocket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (RingSocket::new(ours.into()).unwrap(), theirs)
    }

    #[test]
    fn what_came_ahead_of_a_read_comes_first_and_what_is_held_back_waits_in_the_socket() {
        run(async {
            let (socket, mut peer) = pair();
            let mut buffer = Vec::with_capacity(4);
            peer.write_all(b"one ").unwrap();
            assert_eq!(socket.receive(&mut buffer).await.unwrap(), 4);
            peer.write_all(b"two ").unwrap();
            turns(|| socket.is_ahead()).await;
            socket.hold_back().await;
            peer.write_all(b"three").unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            assert_eq!(rustix::io::ioctl_fionread(&socket.socket).unwrap(), 5);
            assert_eq!(socket.receive(&mut buffer).await.unwrap(), 4);
            assert!(!socket.is_ahead());
            assert_eq!(socket.receive_now(&mut buffer).unwrap(), 5);
            for _ in 0..MESSAGES_HELD_BACK {
                socket.message_over();
            }
            peer.write_all(b" four").unwrap();
            assert_eq!(socket.receive(&mut buffer).await.unwrap(), 5);
            peer.write_all(b" five").unwrap();
            turns(|| socket.is_ahead()).await;
            drop(peer);
            assert_eq!(socket.receive(&mut buffer).await.unwrap(), 5);
            assert_eq!(socket.receive(&mut buffer).await.unwrap(), 0);
            assert_eq!(buffer, b"one two three four five");
        })
        .unwrap();
    }

    #[test]
    fn a_peer_that_is_not_read_is_stopped_by_its_socket_and_nothing_of_it_is_lost() {
        run(async {
            let (socket, mut peer) = pair();
            peer.set_nonblocking(true).unwrap();
            // One receive is under way, and nobody waits for what it yields.
            let mut buffer = Vec::new();
            peer.write_all(b"x").unwrap();
            socket.receive(&mut buffer).await.unwrap();
            let (mut sent, mut stops) = (1, 0);
            let bytes: Vec<u8> = (0..=255).collect();
            while stops < 50 {
                if let Ok(count) = peer.write(&bytes[sent % 256..]) {
                    sent += count;
                } else {
                    stops += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
            // A Unix socket holds some 200 KiB of its own.
            assert!(sent < 4 << 20, "{sent} bytes were taken");
            drop(peer);
            buffer = vec![0];
            while socket.receive(&mut buffer).await.unwrap() > 0 {}
            assert_eq!(buffer.len(), sent);
            let in_order = buffer
                .iter()
                .enumerate()
                .all(|(at, byte)| at % 256 == usize::from(*byte));
            assert!(in_order);
        })
        .unwrap();
    }

    #[test]
    fn more_connections_than_buffers_are_all_read() {
        run(async {
            let mut connections: Vec<_> = (0..MANY).map(|_| pair()).collect();
            for round in 0..3_u8 {
                for (_, peer) in &mut connections {
                    peer.write_all(&[round; 100]).unwrap();
                }
                for (socket, _) in &connections {
                    let mut buffer = Vec::new();
                    assert_eq!(socket.receive(&mut buffer).await.unwrap(), 100);
                    assert_eq!(buffer, [round; 100]);
                }
            }
        })
        .unwrap();
    }

    #[test]
    fn readers_that_all_wait_leave_the_others_their_buffers() {
        run(async {
            let mut tasks = Vec::new();
            let mut peers = Vec::new();
            for _ in 0..MANY {
                let (socket, peer) = pair();
                peers.push(peer);
                tasks.push(tokio::task::spawn_local(async move {
                    let mut buffer = Vec::new();
                    while socket.receive(&mut buffer).await.unwrap() > 0 {}
                    buffer
                }));
            }
            tokio::task::yield_now().await;
            let sent = vec![7; 20_000];
            for peer in &mut peers {
                peer.write_all(&sent).unwrap();
            }
            drop(peers);
            for task in tasks {
                assert_eq!(task.await.unwrap(), sent);
            }
        })
        .unwrap();
    }

    #[test]
    fn a_socket_that_is_dropped_while_it_is_read_is_closed() {
        run(async {
            let (socket, mut peer) = pair();
            let mut buffer = Vec::new();
            let read = socket.receive(&mut buffer);
            let silence = std::time::Duration::from_millis(5);
            assert!(tokio::time::timeout(silence, read).await.is_err());
            drop(socket);
            peer.set_nonblocking(true).unwrap();
            turns(|| matches!((&peer).read(&mut [0]), Ok(0))).await;
            assert!(peer.write_all(b"gone").is_err());
        })
        .unwrap();
    }

    #[test]
    fn a_read_that_was_given_up_loses_nothing() {
        run(async {
            let (socket, mut peer) = pair();
            let mut buffer = Vec::new();
            let silence = std::time::Duration::from_millis(5);
            let read = tokio::time::timeout(silence, socket.receive(&mut buffer));
            assert!(read.await.is_err());
            peer.write_all(b"late").unwrap();
            tokio::time::sleep(silence).await;
            let mut buffer = Vec::new();
            socket.receive(&mut buffer).await.unwrap();
            assert_eq!(buffer, b"late");
        })
        .unwrap();
    }

    #[test]
    fn a_stream_outlives_its_ring_and_a_thread_can_have_another() {
        for _ in 0..3 {
            let (_kept, mut peer) = run(async {
                let (socket, peer) = pair();
                let mut buffer = Vec::new();
                let silence = std::time::Duration::from_millis(5);
                let read = tokio::time::timeout(silence, socket.receive(&mut buffer));
                assert!(read.await.is_err());
                (socket, peer)
            })
            .unwrap();
            peer.write_all(b"nobody hears").unwrap();
        }
        assert!(RingSocket::new(UnixStream::pair().unwrap().0.into()).is_err());
    }

    #[test]
    fn tasks_that_yield_without_end_do_not_keep_others_from_their_bytes() {
        run(async {
            let (socket, mut peer) = pair();
            let yields = tokio::task::spawn_local(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            peer.write_all(b"heard").unwrap();
            let mut buffer = Vec::new();
            let read = socket.receive(&mut buffer);
            let patience = std::time::Duration::from_secs(5);
            let read = tokio::time::timeout(patience, read).await;
            assert_eq!(read.expect("it is heard").unwrap(), 5);
            let (waiting, _kept) = pair();
            let held = tokio::time::timeout(patience, waiting.hold_back()).await;
            assert!(held.is_ok(), "nothing to end");
            yields.abort();
        })
        .unwrap();
    }

    #[test]
    fn readers_that_wait_for_something_else_meanwhile_keep_no_buffer() {
        run(async {
            let mut parked = Vec::new();
            let mut peers = Vec::new();
            for _ in 0..MANY {
                let (socket, peer) = pair();
                let mut read = Box::pin(async move {
                    let mut buffer = Vec::new();
                    socket.receive(&mut buffer).await.unwrap();
                    buffer
                });
                // Polled once, so that it is asked for, and not again.
                let mut context = Context::from_waker(std::task::Waker::noop());
                assert!(read.as_mut().poll(&mut context).is_pending());
                parked.push(read);
                peers.push(peer);
            }
            for peer in &mut peers {
                peer.write_all(&[3; 100]).unwrap();
            }
            let silence = std::time::Duration::from_millis(20);
            tokio::time::sleep(silence).await;
            assert_eq!(current().unwrap().held_buffers(), 0);
            for read in parked {
                assert_eq!(read.await, [3; 100]);
            }
        })
        .unwrap();
    }

    #[test]
    fn a_receive_that_was_held_back_leaves_nothing_for_an_idle_connection() {
        run(async {
            let (socket, mut peer) = pair();
            let mut buffer = Vec::new();
            peer.write_all(b"x").unwrap();
            socket.receive(&mut buffer).await.unwrap();
            socket.hold_back().await;
            peer.write_all(b"y").unwrap();
            socket.receive(&mut buffer).await.unwrap();
            let silence = std::time::Duration::from_millis(20);
            let arrival = tokio::time::timeout(silence, socket.arrival());
            assert!(arrival.await.is_err(), "nothing has arrived");
            peer.write_all(b"z").unwrap();
            socket.arrival().await.unwrap();
            assert!(socket.is_ahead());
        })
        .unwrap();
    }
}
