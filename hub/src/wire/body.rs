//! A request body as far as it is read before its request is dispatched: all
//! of it if it fits an arena, else an arena's worth.

use crate::front::connection::Connection;
use crate::front::request::Instead;
use crate::http::chunked::ChunkedDecoder;
use crate::http::framing::Framing;
use crate::http::local_reply::LocalReply;
use crate::limits::{READ_STEP_BYTES, STREAM_START_BYTES};
use crate::proxy::upload::BodySource;
use crate::reactor::connections::{BodyDeadline, Wait};

/// A body that has been read, as far as it was.
pub(crate) enum Body {
    /// In the input behind the head, except for the end of it that waits in the
    /// socket.
    Known { bytes: usize, waiting_bytes: usize },
    /// Decoded.
    Decoded(Vec<u8>),
    /// More than fits an arena.
    Streams(BodySource),
}

impl Connection {
    /// Reads a body of at most `room` bytes whole, or finds that it is longer.
    pub(crate) async fn read_body(&mut self, room: usize) -> Result<Body, Instead> {
        let body_bytes_max = self.reactor.shared.config.body_bytes_max;
        let mut deadline = BodyDeadline::start();
        match self.head.framing {
            Framing::Length(length) => {
                if length > body_bytes_max {
                    return Err(too_large(body_bytes_max).into());
                }
                let streams = length > room as u64;
                let wanted = if streams {
                    room.min(STREAM_START_BYTES)
                } else {
                    length as usize
                };
                let buffered = self.head.bytes + wanted;
                // What has arrived need not go through the input.
                let waiting_bytes = loop {
                    let missing = buffered.saturating_sub(self.input.len());
                    if missing == 0 || self.stream.waiting_bytes() >= missing as u64 {
                        break missing;
                    }
                    self.send_continue_if_expected(self.input.len() > self.head.bytes)
                        .await?;
                    self.read_body_step(missing, &mut deadline).await?;
                };
                if streams {
                    return Ok(Body::Streams(BodySource::Length { left: length }));
                }
                Ok(Body::Known {
                    bytes: wanted,
                    waiting_bytes,
                })
            }
            Framing::Chunked => {
                let mut decoder = ChunkedDecoder::new(body_bytes_max);
                let mut body = Vec::new();
                loop {
                    let raw = &self.input[self.head.bytes..];
                    let left = room - body.len();
                    let progress = decoder
                        .decode(raw, &mut body, left)
                        .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
                    let used = self.head.bytes..self.head.bytes + progress.consumed;
                    self.input.drain(used);
                    if progress.done {
                        // What follows in the input is the next request.
                        self.head.framing = Framing::Length(0);
                        return Ok(Body::Decoded(body));
                    }
                    if body.len() == room {
                        return Ok(Body::Streams(BodySource::Chunked {
                            decoder,
                            ready: body,
                        }));
                    }
                    self.send_continue_if_expected(!body.is_empty()).await?;
                    self.read_body_step(READ_STEP_BYTES, &mut deadline).await?;
                }
            }
        }
    }

    /// Reads more of a body; a client that is slower than it may be gets 408.
    async fn read_body_step(
        &mut self,
        spare_bytes: usize,
        deadline: &mut BodyDeadline,
    ) -> Result<(), Instead> {
        let deadline_ms = deadline.at_ms(&self.reactor.deadlines);
        self.state.wait_until(Wait::Body, deadline_ms);
        let read = self.read_input(spare_bytes).await;
        self.state.wait_for_nothing();
        match read {
            Ok(bytes @ 1..) => {
                deadline.add(bytes);
                self.state.add_moved(bytes as u64);
                Ok(())
            }
            _ if self.state.is_overdue() => Err(late_body().into()),
            Ok(0) | Err(_) => Err(Instead::ClientGone),
        }
    }

    async fn send_continue_if_expected(&mut self, body_has_begun: bool) -> Result<(), Instead> {
        if !std::mem::take(&mut self.head.expects_continue) || body_has_begun {
            return Ok(());
        }
        self.output
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush().await.map_err(|_| Instead::ClientGone)
    }
}

/// 408.
pub(crate) fn slow_body() -> LocalReply {
    LocalReply::error(
        408,
        "the request body came too slowly while others waited for its place",
    )
    .with("Retry-After", "1")
}

/// 408.
pub(crate) fn late_body() -> LocalReply {
    LocalReply::error(408, "the request body did not arrive in time")
}

/// 413.
pub(crate) fn too_large(bytes_max: u64) -> LocalReply {
    LocalReply::error(
        413,
        format!("the request body is larger than {bytes_max} bytes"),
    )
}
