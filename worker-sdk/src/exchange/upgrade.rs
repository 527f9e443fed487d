//! A connection that a handler takes over (RFC 9110 section 7.8), for WebSocket or any other
//! protocol.

use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use slotway_shm_proto::layout::request_flags;

use super::block_on::block_on;
use super::request::Request;
pub use crate::session::sockets::NotUpgraded;
use crate::session::sockets::{Expected, Handed, Held};

impl Request {
    /// What the client offers to speak instead of HTTP, if this handler may take it up: the value of
    /// the Upgrade field, like `websocket`. By a response of status 101 that ends with
    /// [`ResponseBuilder::upgrade`](crate::response::ResponseBuilder::upgrade).
    pub fn offered_upgrade(&self) -> Option<&str> {
        self.has_flag(request_flags::UPGRADES)
            .then(|| self.header("upgrade"))
            .flatten()
    }
}

/// The client's connection, once the hub has sent the 101 that it was made with; see
/// [`ResponseBuilder::upgrade`](crate::response::ResponseBuilder::upgrade). Dropped, it closes the
/// connection.
///
/// ```
/// use slotway_worker_sdk::Request;
/// use slotway_worker_sdk::response::Response;
/// use tokio::io::AsyncWriteExt;
///
/// fn shout(request: &Request) -> Response {
///     if request.offered_upgrade() != Some("shout") {
///         return request.response(426).header("upgrade", "shout").empty();
///     }
///     let (response, upgrade) = request.response(101).header("upgrade", "shout").upgrade();
///     tokio::spawn(async move {
///         let mut stream = upgrade.connection().await?.into_stream()?;
///         stream.write_all(b"HELLO").await
///     });
///     response
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it closes the connection"]
pub struct Upgrade(Arc<Expected>);

impl Upgrade {
    pub(crate) fn new(expected: Arc<Expected>) -> Self {
        Self(expected)
    }

    /// Waits for the connection.
    pub async fn connection(self) -> Result<UpgradedConnection, NotUpgraded> {
        let handed = poll_fn(|cx| self.0.poll(cx)).await?;
        Ok(UpgradedConnection(handed))
    }

    /// Waits for it on this thread.
    pub fn blocking_connection(self) -> Result<UpgradedConnection, NotUpgraded> {
        block_on(self.connection())
    }
}

impl From<NotUpgraded> for std::io::Error {
    fn from(error: NotUpgraded) -> Self {
        Self::new(std::io::ErrorKind::NotConnected, error)
    }
}

/// A client's connection, which is this process's alone now. It lasts as long as this process wants,
/// also without the hub, which counts it.
#[derive(Debug)]
pub struct UpgradedConnection(Handed);

impl UpgradedConnection {
    /// The socket, a connected stream of TCP or Unix; what the client has sent behind its request and
    /// must be read first; and what must be kept for as long as the socket, so that the hub counts
    /// it.
    pub fn into_parts(self) -> (OwnedFd, Vec<u8>, ConnectionCount) {
        let Handed {
            socket,
            first_bytes,
            held,
        } = self.0;
        (socket, first_bytes, ConnectionCount(held))
    }

    /// As a stream of tokio, in whose runtime this must be called.
    #[cfg(feature = "tokio")]
    pub fn into_stream(self) -> std::io::Result<UpgradedStream> {
        UpgradedStream::new(self)
    }
}

impl AsFd for UpgradedConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Has the hub count a connection for as long as it lives.
#[derive(Debug)]
#[must_use = "it is to live as long as the socket"]
pub struct ConnectionCount(#[expect(dead_code, reason = "it counts until it is dropped")] Held);

#[cfg(feature = "tokio")]
pub use stream::UpgradedStream;

#[cfg(feature = "tokio")]
mod stream {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::TcpStream;

    use super::{ConnectionCount, UpgradedConnection};

    /// A client's connection as a stream of tokio.
    #[derive(Debug)]
    pub struct UpgradedStream {
        /// The type says TCP, yet reading and writing know only the descriptor, so it serves Unix
        /// sockets as well.
        stream: TcpStream,
        /// What is to be read first.
        first_bytes: Vec<u8>,
        first_read: usize,
        _count: ConnectionCount,
    }

    impl UpgradedStream {
        pub(super) fn new(connection: UpgradedConnection) -> io::Result<Self> {
            let (socket, first_bytes, count) = connection.into_parts();
            let socket = std::net::TcpStream::from(socket);
            socket.set_nonblocking(true)?;
            Ok(Self {
                stream: TcpStream::from_std(socket)?,
                first_bytes,
                first_read: 0,
                _count: count,
            })
        }
    }

    impl AsyncRead for UpgradedStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = &mut *self;
            let first = &this.first_bytes[this.first_read..];
            if first.is_empty() {
                return Pin::new(&mut this.stream).poll_read(cx, buffer);
            }
            let count = first.len().min(buffer.remaining());
            buffer.put_slice(&first[..count]);
            this.first_read += count;
            if this.first_read == this.first_bytes.len() {
                (this.first_bytes, this.first_read) = (Vec::new(), 0);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for UpgradedStream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
