//! A request's body for services.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::exchange::request_body::RequestBody;
use crate::session::stream::BodyClosed;

/// The body of an [`http::Request`], which arrives as it is read: see [`RequestBody`].
#[derive(Debug)]
pub struct Body {
    body: RequestBody,
    /// What is still to come, where that is known.
    left: Option<u64>,
    /// All of it is here.
    is_here: Arc<AtomicBool>,
}

/// Whether a service still has a body that has not all arrived.
pub(crate) struct Unread(Weak<AtomicBool>);

impl Unread {
    /// It does: the rest would be lost by a response that begins now.
    pub(crate) fn is_kept(&self) -> bool {
        let is_here = self.0.upgrade();
        is_here.is_some_and(|is_here| !is_here.load(Ordering::Relaxed))
    }
}

impl Body {
    pub(crate) fn new(body: RequestBody, length: Option<u64>) -> (Self, Unread) {
        let is_here = Arc::new(AtomicBool::new(!body.streams()));
        let unread = Unread(Arc::downgrade(&is_here));
        let body = Self {
            body,
            left: length,
            is_here,
        };
        (body, unread)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyClosed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyClosed>>> {
        self.body.poll_piece(cx).map(|piece| match piece {
            Err(error) => Some(Err(error)),
            Ok(piece) if piece.is_empty() => {
                self.is_here.store(true, Ordering::Relaxed);
                None
            }
            Ok(piece) => {
                self.left = self
                    .left
                    .map(|left| left.saturating_sub(piece.len() as u64));
                if self.left == Some(0) {
                    self.is_here.store(true, Ordering::Relaxed);
                }
                Some(Ok(Frame::data(piece.into())))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
