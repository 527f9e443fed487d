//! A connected stream socket, TCP or Unix.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::io::unix::AsyncFdReadyGuard;
use tokio_uring::buf::{BoundedBuf, IoBuf};

use crate::direct::RingSocket;
use crate::engine::Engine;
use crate::readable::{Watched, registered};
use crate::socket::{OpenSocket, borrow, reset_on_close, send_now, unacknowledged_bytes};

/// A connected socket, for the engine of its thread.
pub struct Stream {
    socket: Socket,
    sent_bytes: Cell<u64>,
}

enum Socket {
    /// The type says TCP, yet reading and writing know only the descriptor, so
    /// it serves Unix sockets as well.
    Uring(tokio_uring::net::TcpStream),
    Direct(RingSocket),
    Epoll(Watched),
}

impl Stream {
    /// Takes over a connected socket, for the engine that this thread runs.
    pub fn new(engine: Engine, socket: OwnedFd) -> io::Result<Self> {
        // A ring would answer EAGAIN for a non-blocking socket, not wait.
        rustix::io::ioctl_fionbio(&socket, engine == Engine::Epoll)?;
        let socket = match engine {
            Engine::Uring => Socket::Uring(tokio_uring::net::TcpStream::from_std(socket.into())),
            Engine::UringDirect => Socket::Direct(RingSocket::new(socket)?),
            Engine::Epoll => {
                Socket::Epoll(registered(socket, Interest::READABLE | Interest::WRITABLE)?)
            }
        };
        Ok(Self {
            socket,
            sent_bytes: Cell::new(0),
        })
    }

    /// Reads once behind what is in `buffer`, which should have spare capacity for it. 0 is the
    /// end of the stream.
    pub async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match &self.socket {
            Socket::Uring(socket) => {
                debug_assert!(buffer.len() < buffer.capacity(), "no room to read into");
                let length = buffer.len();
                let (result, slice) = socket.read(buffer.slice(length..)).await;
                (result, slice.into_inner())
            }
            Socket::Direct(socket) => (socket.receive(&mut buffer).await, buffer),
            Socket::Epoll(socket) => (receive(socket, &mut buffer).await, buffer),
        }
    }

    /// Whether [`Stream::arrival`] waits, so that a buffer is needed only then.
    pub fn tells_arrival(&self) -> bool {
        !matches!(self.socket, Socket::Uring(_))
    }

    /// Waits until there is something to read, or the stream has ended. On tokio-uring, which
    /// wants a buffer first, it returns at once.
    pub async fn arrival(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Uring(_) => Ok(()),
            Socket::Direct(socket) => socket.arrival().await,
            Socket::Epoll(socket) => socket.readable().await.map(drop),
        }
    }

    /// Leaves in the socket what arrives from now on until it is read: what is received past this
    /// type would come out of order otherwise, since an engine may read ahead. What has been
    /// taken before ([`Stream::is_ahead`]) is read first. It lasts for this message at least.
    pub async fn hold_back(&self) {
        if let Socket::Direct(socket) = &self.socket {
            socket.hold_back().await;
        }
    }

    /// Whether bytes have been taken from the socket that were not read.
    pub fn is_ahead(&self) -> bool {
        matches!(&self.socket, Socket::Direct(socket) if socket.is_ahead())
    }

    /// A message of the peer's is over: see [`Stream::hold_back`].
    #[inline]
    pub fn message_over(&self) {
        if let Socket::Direct(socket) = &self.socket {
            socket.message_over();
        }
    }

    /// Moves what a pipe has into the socket by splice(2), as much as that takes at once; `more`
    /// follows. The error is `EAGAIN` where it takes nothing.
    pub fn splice_now(
        &self,
        pipe: BorrowedFd<'_>,
        bytes: usize,
        more: bool,
    ) -> Result<usize, Errno> {
        // Whether it waits is the socket's own affair (`O_NONBLOCK`), whatever the flags say; operations
        // of a ring that are under way keep what they began with.
        let is_blocking = !matches!(self.socket, Socket::Epoll(_));
        if is_blocking {
            rustix::io::ioctl_fionbio(self, true)?;
        }
        let mut flags = SpliceFlags::NONBLOCK;
        flags.set(SpliceFlags::MORE, more);
        let moved = splice(pipe, None, self, None, bytes, flags);
        if is_blocking {
            rustix::io::ioctl_fionbio(self, false)?;
        }
        let moved = moved?;
        self.note_sent(moved);
        Ok(moved)
    }

    /// Bytes that have arrived and wait in the socket (`FIONREAD`); 0 where it cannot say.
    pub fn waiting_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or(0)
    }

    /// Its own address; `None` for Unix sockets.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(self).ok()?).ok()
    }

    /// Bytes that were sent and that the peer has not acknowledged (tcp(7), `SIOCOUTQ`; for
    /// Unix sockets, not read); 0 where the socket cannot say.
    pub fn unacknowledged_bytes(&self) -> u64 {
        unacknowledged_bytes(self)
    }

    /// Bytes that the socket has taken to send them.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.get()
    }

    /// Counts bytes that were sent past this type.
    #[inline]
    pub fn note_sent(&self, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
    }

    /// Sends the rest of `buffer` through the ring.
    async fn write_rest<T: IoBuf>(
        &self,
        socket: &tokio_uring::net::TcpStream,
        mut buffer: T,
        mut sent: usize,
    ) -> (io::Result<()>, T) {
        while sent < IoBuf::bytes_init(&buffer) {
            let (result, slice) = socket.write(buffer.slice(sent..)).submit().await;
            buffer = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(bytes) => {
                    self.note_sent(bytes);
                    sent += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Writes all of `buffer`, on a ring with what else is submitted at the end
    /// of the turn.
    pub async fn write_all(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &self.socket {
            Socket::Uring(socket) => self.write_rest(socket, buffer, 0).await,
            Socket::Direct(_) | Socket::Epoll(_) => (self.send_all(&buffer).await, buffer),
        }
    }

    /// Writes all of `buffer`, at once as far as the socket takes it.
    pub async fn write_all_now(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &self.socket {
            Socket::Uring(socket) => match self.send_now(&buffer) {
                Ok(sent) if sent == buffer.len() => (Ok(()), buffer),
                Ok(sent) => self.write_rest(socket, buffer, sent).await,
                Err(Errno::AGAIN | Errno::INTR) => self.write_rest(socket, buffer, 0).await,
                Err(error) => (Err(error.into()), buffer),
            },
            Socket::Direct(_) | Socket::Epoll(_) => (self.send_all(&buffer).await, buffer),
        }
    }

    /// Like [`Stream::write_all_now`], for bytes that many connections share.
    pub async fn write_shared_now(&self, bytes: &Bytes) -> io::Result<()> {
        match &self.socket {
            Socket::Uring(socket) => {
                let sent = match self.send_now(bytes) {
                    Ok(sent) if sent == bytes.len() => return Ok(()),
                    Ok(sent) => sent,
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    Err(error) => return Err(error.into()),
                };
                self.write_rest(socket, bytes.clone(), sent).await.0
            }
            Socket::Direct(_) | Socket::Epoll(_) => self.send_all(bytes).await,
        }
    }

    /// Sends what the socket takes at once. The error is `EAGAIN` where that is nothing.
    pub fn send_now(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = send_now(self, bytes)?;
        self.note_sent(sent);
        Ok(sent)
    }

    /// Sends at once what the socket takes, and the rest whenever it takes more.
    async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut ready: Option<AsyncFdReadyGuard<'_, OwnedFd>> = None;
        loop {
            match self.send_now(bytes) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match &self.socket {
                    Socket::Direct(socket) => socket.writable().await?,
                    Socket::Epoll(socket) => {
                        // Only readiness that was noted before this try is void now.
                        if let Some(mut ready) = ready.take() {
                            ready.clear_ready();
                        }
                        ready = Some(socket.writable().await?);
                    }
                    Socket::Uring(_) => unreachable!("it sends the rest through its ring"),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the connection so that the peer knows it was cut: with a reset, once
    /// the last holder has dropped it. What waits to be read returns.
    pub fn reset(&self) {
        reset_on_close(self);
        // Not the other direction: that would say a proper end first.
        self.shutdown(Shutdown::Read);
    }

    /// Ends one or both directions; what waits on them returns.
    pub fn shutdown(&self, how: Shutdown) {
        // Fails only where the peer was quicker, which the reader notices.
        let _ = match &self.socket {
            Socket::Uring(socket) => socket.shutdown(how),
            Socket::Direct(_) | Socket::Epoll(_) => {
                let how = match how {
                    Shutdown::Read => rustix::net::Shutdown::Read,
                    Shutdown::Write => rustix::net::Shutdown::Write,
                    Shutdown::Both => rustix::net::Shutdown::Both,
                };
                rustix::net::shutdown(self, how).map_err(io::Error::from)
            }
        };
    }
}

// SAFETY: a stream has its socket open for as long as it lives.
#[allow(unsafe_code, reason = "a promise about a descriptor")]
unsafe impl OpenSocket for Stream {}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(self)
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        match &self.socket {
            Socket::Uring(socket) => socket.as_raw_fd(),
            Socket::Direct(socket) => socket.as_raw_fd(),
            Socket::Epoll(socket) => socket.as_raw_fd(),
        }
    }
}

async fn receive(socket: &Watched, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let room = buffer.capacity() - buffer.len();
    loop {
        let mut ready = socket.readable().await?;
        match rustix::net::recv(socket, spare_capacity(buffer), RecvFlags::empty()) {
            Ok((received, _)) => {
                // A short read has emptied the socket: what comes after is a new
                // edge, so asking once more can be spared (epoll(7)). An end of
                // the stream that came before is remembered by the registration.
                if (1..room).contains(&received) {
                    ready.clear_ready();
                }
                return Ok(received);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_arrive_whole_and_in_order_though_the_peer_reads_late_on_each_engine() {
        for engine in Engine::ALL {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let sent: Vec<u8> = (0..1_000_000_u32)
                .map(|number| (number % 251) as u8)
                .collect();
            let expected = [&sent[..], &sent[..], &sent[..]].concat();
            let reader = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                let mut received = Vec::new();
                io::Read::read_to_end(&mut &theirs, &mut received).unwrap();
                received
            });
            run(engine, async move {
                let stream = Stream::new(engine, ours.into()).unwrap();
                let shared = Bytes::from(sent.clone());
                stream.write_shared_now(&shared).await.unwrap();
                stream.write_all_now(sent.clone()).await.0.unwrap();
                stream.write_all(sent).await.0.unwrap();
            })
            .unwrap();
            assert!(reader.join().unwrap() == expected, "{engine}");
        }
    }

    #[test]
    fn an_end_that_came_with_the_last_bytes_is_read_after_them_on_each_engine() {
        for engine in Engine::ALL {
            let (ours, theirs) = UnixStream::pair().unwrap();
            io::Write::write_all(&mut &theirs, b"last").unwrap();
            drop(theirs);
            run(engine, async move {
                let stream = Stream::new(engine, ours.into()).unwrap();
                let (read, buffer) = stream.read(Vec::with_capacity(64)).await;
                assert_eq!((read.unwrap(), &buffer[..]), (4, &b"last"[..]));
                assert_eq!(stream.read(buffer).await.0.unwrap(), 0, "{engine}");
            })
            .unwrap();
        }
    }

    #[test]
    fn a_shutdown_ends_a_read_that_waits_on_each_engine() {
        for engine in Engine::ALL {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            run(engine, async move {
                let stream = std::rc::Rc::new(Stream::new(engine, ours.into()).unwrap());
                let reader = std::rc::Rc::clone(&stream);
                let read =
                    tokio::task::spawn_local(
                        async move { reader.read(Vec::with_capacity(64)).await.0 },
                    );
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                stream.shutdown(Shutdown::Both);
                assert_eq!(read.await.unwrap().unwrap(), 0, "{engine}");
            })
            .unwrap();
        }
    }
}
