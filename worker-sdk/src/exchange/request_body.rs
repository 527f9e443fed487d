//! A request's body that its handler reads while it arrives.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use slotway_shm_proto::trailers;

use crate::exchange::block_on::block_on;
use crate::session::stream::{self, BodyClosed};
use crate::session::{Session, SlotKey};

/// The body of a request while it arrives, given to a [`Handler`](crate::Handler) whose last
/// argument it is. A body that fits
/// its slot is there at once; a larger one comes through the slot's arena as the
/// client sends it, and the client is held back while the handler does not read:
/// however long the body, it takes no more memory than that.
///
/// ```
/// use slotway_worker_sdk::{BodyClosed, RequestBody};
///
/// async fn count(mut body: RequestBody) -> Result<usize, BodyClosed> {
///     let mut bytes = 0;
///     while let Some(piece) = body.next().await? {
///         bytes += piece.len();
///     }
///     Ok(bytes)
/// }
/// ```
pub struct RequestBody {
    session: Arc<Session>,
    key: SlotKey,
    piece: Vec<u8>,
    source: Source,
    /// In wire form, once the end has been reached.
    trailers: Vec<u8>,
}

enum Source {
    /// In `piece`, all of it.
    Whole,
    Streams,
    Over,
}

impl RequestBody {
    /// `whole` is a body that is here, and its trailers.
    pub(crate) fn new(
        session: Arc<Session>,
        key: SlotKey,
        whole: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Self {
        let is_whole = whole.is_some();
        let (piece, trailers) = whole.unwrap_or_default();
        Self {
            session,
            key,
            source: if is_whole {
                Source::Whole
            } else {
                Source::Streams
            },
            piece,
            trailers,
        }
    }

    /// The fields that came behind the body, once [`RequestBody::next`] has said that it has ended; see
    /// [`Request::trailers`](crate::Request::trailers).
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let section = match self.source {
            Source::Over => &self.trailers[..],
            Source::Whole | Source::Streams => &[],
        };
        trailers::fields(section)
    }

    /// Whether there are fields to come behind a body that is here.
    #[cfg(feature = "tower")]
    pub(crate) fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// Waits for more of the body: a piece of at most an arena's size, or `None`
    /// at its end. The piece stands until the next call. May be dropped at any
    /// time; no byte is lost.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, BodyClosed> {
        let bytes = poll_fn(|cx| self.poll_fill(cx)).await?;
        Ok((bytes > 0).then_some(&self.piece[..]))
    }

    /// Waits for all of it, as long as it is no longer than `bytes_max`; `None` if
    /// it is.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, BodyClosed> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > bytes_max {
                return Ok(None);
            }
            all.extend_from_slice(piece);
        }
        Ok(Some(all))
    }

    /// More of the body, without a copy of it; empty at its end.
    #[cfg(feature = "tower")]
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, BodyClosed>> {
        self.poll_fill(cx)
            .map_ok(|_| std::mem::take(&mut self.piece))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyClosed>> {
        match self.source {
            Source::Whole => {
                self.source = Source::Over;
                Poll::Ready(Ok(self.piece.len()))
            }
            Source::Over => {
                self.piece.clear();
                Poll::Ready(Ok(0))
            }
            Source::Streams => {
                self.piece.clear();
                let polled = stream::poll_in(&self.session, self.key, cx, &mut self.piece);
                if matches!(polled, Poll::Ready(Ok(0))) {
                    self.source = Source::Over;
                    self.trailers = stream::take_trailers(&self.session, self.key);
                }
                polled
            }
        }
    }

    /// For blocking code (`tokio::task::spawn_blocking`): the thread that reads
    /// sleeps until bytes come.
    pub fn into_read(self) -> impl io::Read + Send {
        BlockingRead {
            body: self,
            used: 0,
        }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

struct BlockingRead {
    body: RequestBody,
    used: usize,
}

impl io::Read for BlockingRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.body.piece.len() || matches!(self.body.source, Source::Whole) {
            self.used = 0;
            if block_on(self.body.next())?.is_none() {
                return Ok(0);
            }
        }
        let rest = &self.body.piece[self.used..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.used += count;
        Ok(count)
    }
}
