//! An answer's body on its way from a slot's ring to the socket.

use slotway_shm_proto::{BodyEnd, ByteRing};

use crate::clock;
use crate::front::connection::Connection;
use crate::front::request::Instead;
use crate::http::encode;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::slot::Event;
use crate::limits::READ_STEP_BYTES;

const CRLF: &[u8] = b"\r\n";

/// A body under way.
pub(crate) struct Download {
    /// The ring's place, from the arena's start.
    pub offset: u32,
    /// The ring.
    pub ring: ByteRing,
    /// What is still to come, where the worker said how long the body is.
    pub left: Option<u64>,
    /// Whether the client is told the end by chunks.
    pub chunked: bool,
}

impl Connection {
    /// Sends the head that is in the output and then the body as the worker
    /// produces it. False: the body did not come whole, and since the head is
    /// out, the connection must be reset.
    pub(crate) async fn download(
        &mut self,
        exchange: Exchange,
        download: Download,
    ) -> Result<bool, Instead> {
        let timeout_ms = self.reactor.shared.config.timeout_ms();
        let Download {
            offset,
            ring,
            mut left,
            chunked,
        } = download;
        let mut consumed = 0;
        loop {
            let (ready, end) = match exchange.download_ready(ring, consumed) {
                Ok(found) => found,
                Err(violation) => {
                    self.reactor.report_violation(exchange.lane(), violation);
                    return Ok(false);
                }
            };
            let most = left.unwrap_or(u64::MAX).min(READ_STEP_BYTES as u64);
            let take = u64::from(ready).min(most) as u32;
            if take > 0 {
                if chunked {
                    encode::chunk_size(&mut self.output, take);
                }
                for (start, count) in ring.pieces(consumed, take) {
                    self.send_directly(&exchange, offset + start, count)?;
                }
                consumed = ring.advance(consumed, take);
                left = left.map(|left| left - u64::from(take));
                if chunked {
                    self.output.extend_from_slice(CRLF);
                }
                // The worker refills the ring while this piece is being sent.
                if exchange.publish_download(consumed) {
                    self.reactor.mark(exchange.lane());
                }
                if self.output.len() <= CRLF.len() {
                    // The end of a chunk goes with what follows it. The bell is
                    // rung meanwhile, and others have their turn.
                    tokio::task::yield_now().await;
                } else {
                    self.flush().await.map_err(|_| Instead::ClientGone)?;
                }
                // The time that a slow client took is not the worker's.
                exchange.set_deadline(clock::coarse_ms() + timeout_ms);
                continue;
            }
            let is_whole = end == Some(BodyEnd::Complete) && left.unwrap_or(0) == 0 && ready == 0;
            if is_whole && chunked {
                self.output.extend_from_slice(encode::LAST_CHUNK);
            }
            if !self.output.is_empty() {
                self.flush().await.map_err(|_| Instead::ClientGone)?;
            }
            match end {
                Some(_) if is_whole => {
                    self.after_answer(exchange);
                    return Ok(true);
                }
                // Shorter or longer than its length, or given up.
                Some(_) => {
                    let worker = &exchange.lane().session.name;
                    tracing::warn!(
                        worker,
                        missing = left.unwrap_or(0),
                        "a streamed answer was given up, or was not its length"
                    );
                    return Ok(false);
                }
                None => {}
            }
            match exchange.outcome(&self.state).await {
                Outcome::Event(Event::Changed | Event::Answered) => {}
                Outcome::Event(Event::TimedOut) => {
                    self.timed_out();
                    return Ok(false);
                }
                Outcome::WorkerGone => {
                    self.worker_gone();
                    return Ok(false);
                }
                // If that cannot be known, the next piece will show.
                Outcome::ClientLeft(hangup) => {
                    self.after_hangup(hangup)?;
                    self.tell_if_closed(&exchange);
                }
            }
        }
    }
}
