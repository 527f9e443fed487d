//! A response's body that its handler writes while it is on its way.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use slotway_shm_proto::BodyEnd;
use slotway_shm_proto::trailers::{self, TrailerError};

use crate::exchange::block_on::block_on;
use crate::session::stream::{self, BodyClosed};
use crate::session::{Session, SlotKey};

/// Writes the body of a response begun with
/// [`ResponseBuilder::stream`](crate::response::ResponseBuilder::stream). It may go to another
/// task: what is written travels once the handler has returned the response. A
/// client that reads slowly holds the writer back. Dropped without
/// [`BodySender::finish`], it cuts the response off, and the client can tell.
///
/// It is also a blocking [`std::io::Write`].
///
/// ```
/// use slotway_worker_sdk::Request;
/// use slotway_worker_sdk::response::Response;
///
/// fn count_up(request: &Request) -> Response {
///     let (response, mut body) = request.response(200).stream();
///     tokio::spawn(async move {
///         for number in 0..1_000_000 {
///             body.send(format!("{number}\n").as_bytes()).await?;
///         }
///         body.finish();
///         Ok::<(), slotway_worker_sdk::BodyClosed>(())
///     });
///     response
/// }
/// ```
#[must_use = "dropping it cuts the response off"]
pub struct BodySender {
    session: Arc<Session>,
    key: SlotKey,
    is_finished: bool,
}

impl BodySender {
    pub(crate) fn new(session: Arc<Session>, key: SlotKey) -> Self {
        Self {
            session,
            key,
            is_finished: false,
        }
    }

    /// Sends all of `bytes`, waiting for room. If dropped half-way, some of them
    /// may have been sent.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), BodyClosed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = poll_fn(|cx| stream::poll_out(&self.session, self.key, cx, rest)).await?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// That was all.
    pub fn finish(mut self) {
        self.is_finished = true;
        stream::end_out(&self.session, self.key, BodyEnd::Complete);
    }
}

impl BodySender {
    /// That was all, and these fields come behind it: names and values. Clients that do not ask for
    /// them (`TE: trailers`) get the body alone, and so do those that were told its length. Names that
    /// may not be there (RFC 9110 section 6.5.1) are left out.
    pub async fn finish_with_trailers(
        mut self,
        fields: &[(&str, &str)],
    ) -> Result<(), TrailersNotSent> {
        let mut section = Vec::new();
        for (name, value) in fields {
            trailers::append(&mut section, name.as_bytes(), value.as_bytes())?;
        }
        let (session, key) = (&self.session, self.key);
        poll_fn(|cx| stream::poll_trailers(session, key, cx, &section)).await?;
        self.is_finished = true;
        Ok(())
    }
}

/// Why a body did not end with its trailers; it has been cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrailersNotSent {
    /// Not fields, or more than there may be.
    #[error(transparent)]
    Invalid(#[from] TrailerError),
    /// Nobody reads.
    #[error(transparent)]
    Closed(#[from] BodyClosed),
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.is_finished {
            stream::end_out(&self.session, self.key, BodyEnd::Aborted);
        }
    }
}

impl io::Write for BodySender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (session, key) = (&self.session, self.key);
        Ok(block_on(poll_fn(|cx| {
            stream::poll_out(session, key, cx, bytes)
        }))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for BodySender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodySender").finish_non_exhaustive()
    }
}
