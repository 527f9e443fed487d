//! A request's body for services.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use crate::exchange::request_body::RequestBody;
use crate::session::stream::BodyClosed;

/// The body of an [`http::Request`], which arrives as it is read: see [`RequestBody`].
#[derive(Debug)]
pub struct Body {
    body: RequestBody,
    /// What is still to come, where that is known.
    left: Option<u64>,
    /// Its end, and what is behind that, has been told.
    is_over: bool,
}

impl Body {
    pub(crate) fn new(body: RequestBody, length: Option<u64>) -> Self {
        Self {
            body,
            left: length,
            is_over: false,
        }
    }
}

impl Body {
    /// The trailers as the last frame, once.
    fn take_trailers(&mut self) -> Option<Result<Frame<Bytes>, BodyClosed>> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut fields = HeaderMap::new();
        for (name, value) in self.body.trailers() {
            // The hub lets no others through.
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            ) {
                fields.append(name, value);
            }
        }
        (!fields.is_empty()).then(|| Ok(Frame::trailers(fields)))
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
            Ok(piece) if piece.is_empty() => self.take_trailers(),
            Ok(piece) => {
                self.left = self
                    .left
                    .map(|left| left.saturating_sub(piece.len() as u64));
                Some(Ok(Frame::data(piece.into())))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) && (self.is_over || !self.body.has_trailers())
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
