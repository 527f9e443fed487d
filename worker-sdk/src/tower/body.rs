//! A request's body for services.

use std::pin::Pin;
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
}

impl Body {
    pub(crate) fn new(body: RequestBody, length: Option<u64>) -> Self {
        Self { body, left: length }
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
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => {
                self.left = self
                    .left
                    .map(|left| left.saturating_sub(piece.len() as u64));
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
