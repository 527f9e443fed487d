//! Upgrades for services, which expect hyper's: `hyper::upgrade::on`, and with it axum's
//! `WebSocketUpgrade`, work as they do behind a listener.
//!
//! hyper makes an [`OnUpgrade`] only on a connection of its own. So a connection of hyper's is run
//! that reads a request that was made up, and writes its 101 nowhere; what stands below it is a
//! [`Door`], behind which the client's socket appears once the hub has handed it over. hyper's
//! upgraded connection is then that socket, with nothing between.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchange::upgrade::{Upgrade, UpgradedStream};

/// What hyper reads.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: hub\r\nConnection: upgrade\r\nUpgrade: offered\r\n\r\n";
/// What ends the head that it writes.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// An upgrade that a service may take up.
pub(crate) struct Offer {
    door: Door,
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
    answer: Arc<Answer>,
}

/// Whether the service takes it up, for the connection of hyper's.
#[derive(Default)]
struct Answer(Mutex<(bool, Option<Waker>)>);

impl Answer {
    fn lock(&self) -> MutexGuard<'_, (bool, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let (is_given, waker) = &mut *self.lock();
        if *is_given {
            return Poll::Ready(());
        }
        *waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Offer {
    /// Makes one, and what the service finds among the request's extensions.
    pub fn new() -> Option<(Self, OnUpgrade)> {
        let door = Door::default();
        let answer = Arc::new(Answer::default());
        let found = Arc::new(Mutex::new(None));
        let (given, place) = (Arc::clone(&answer), Arc::clone(&found));
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let upgrade = hyper::upgrade::on(&mut request);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
            let given = Arc::clone(&given);
            async move {
                std::future::poll_fn(|cx| given.poll(cx)).await;
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let fields = response.headers_mut();
                fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                fields.insert(header::UPGRADE, HeaderValue::from_static("offered"));
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(door.clone()), service)
            .with_upgrades();
        let mut connection: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            if let Err(error) = connection.await {
                tracing::error!("an upgrade failed within the worker: {error}");
            }
        });
        // The request is there at once, and so is its service.
        let polled = connection
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        debug_assert!(polled.is_pending(), "it waits for the answer");
        let upgrade = found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let offer = Self {
            door,
            connection,
            answer,
        };
        Some((offer, upgrade))
    }

    /// The service has answered 101: its upgraded connection becomes that of the client.
    pub async fn take_up(self, upgrade: Upgrade) {
        let Self {
            door,
            connection,
            answer,
        } = self;
        let waker = {
            let mut answer = answer.lock();
            answer.0 = true;
            answer.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        // Whoever waits for hyper's has it now, and finds the door closed.
        connection.await;
        let opened = match upgrade.connection().await {
            Ok(connection) => connection.into_stream(),
            Err(not_upgraded) => Err(not_upgraded.into()),
        };
        door.open(opened);
    }
}

/// Where the client's socket appears.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Place>>);

struct Place {
    /// Bytes of the request that hyper has yet to read.
    request: &'static [u8],
    /// How much of [`HEAD_END`] hyper has written last.
    head_end: usize,
    stream: Option<io::Result<UpgradedStream>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            request: REQUEST,
            head_end: 0,
            stream: None,
            reader: None,
            writer: None,
        }
    }
}

impl Place {
    /// Drops what hyper writes of its response's head. Returns how much that was.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            self.head_end = match HEAD_END[self.head_end] {
                expected if *byte == expected => self.head_end + 1,
                _ => usize::from(*byte == HEAD_END[0]),
            };
            if self.head_end == HEAD_END.len() {
                return index + 1;
            }
        }
        bytes.len()
    }

    fn is_head_over(&self) -> bool {
        self.head_end == HEAD_END.len()
    }
}

fn gone(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, stream: io::Result<UpgradedStream>) {
        let mut place = self.lock();
        place.stream = Some(stream);
        let waiting = [place.reader.take(), place.writer.take()];
        drop(place);
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Does something with the socket; waits until it is there.
    fn with_stream<T>(
        &self,
        cx: &mut Context<'_>,
        waits: fn(&mut Place) -> &mut Option<Waker>,
        act: impl FnOnce(Pin<&mut UpgradedStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut place = self.lock();
        match &mut place.stream {
            Some(Ok(stream)) => act(Pin::new(stream), cx),
            Some(Err(error)) => Poll::Ready(Err(gone(error))),
            None => {
                *waits(&mut place) = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Door {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut place = self.lock();
        if !place.request.is_empty() {
            let count = place.request.len().min(buffer.remaining());
            buffer.put_slice(&place.request[..count]);
            place.request = &place.request[count..];
            return Poll::Ready(Ok(()));
        }
        drop(place);
        let read =
            |stream: Pin<&mut UpgradedStream>, cx: &mut Context<'_>| stream.poll_read(cx, buffer);
        self.with_stream(cx, |place| &mut place.reader, read)
    }
}

impl AsyncWrite for Door {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut place = self.lock();
        if !place.is_head_over() {
            return Poll::Ready(Ok(place.swallow(bytes)));
        }
        drop(place);
        let write =
            |stream: Pin<&mut UpgradedStream>, cx: &mut Context<'_>| stream.poll_write(cx, bytes);
        self.with_stream(cx, |place| &mut place.writer, write)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_here = self.lock().stream.is_some();
        if !is_here {
            return Poll::Ready(Ok(()));
        }
        self.with_stream(cx, |place| &mut place.writer, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(cx, |place| &mut place.writer, AsyncWrite::poll_shutdown)
    }
}
