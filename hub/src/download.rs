//! An answer's body on its way from a slot's ring to the socket.

use slotway_shm_proto::{BodyEnd, ByteRing};

use crate::clock;
use crate::connection::Connection;
use crate::exchange::{Exchange, Outcome};
use crate::limits::READ_STEP_BYTES;
use crate::request::Instead;
use crate::slot::Event;

impl Connection {
    /// Sends the head that is in the output and then the body as the worker
    /// produces it. False: the body did not come whole, and since the head is
    /// out, the connection must be reset.
    pub(crate) async fn download(
        &mut self,
        exchange: Exchange,
        offset: u32,
        ring: ByteRing,
        length: u64,
    ) -> Result<bool, Instead> {
        let timeout_ms = self.reactor.shared.config.timeout_ms();
        let (mut consumed, mut left) = (0, length);
        loop {
            let (ready, end) = match exchange.download_ready(ring, consumed) {
                Ok(found) => found,
                Err(violation) => {
                    self.reactor.report_violation(exchange.lane(), violation);
                    return Ok(false);
                }
            };
            let take = u64::from(ready).min(left).min(READ_STEP_BYTES as u64) as u32;
            if take > 0 {
                for (start, count) in ring.pieces(consumed, take) {
                    exchange.append_from_arena(offset + start, count, &mut self.output);
                }
                consumed = ring.advance(consumed, take);
                left -= u64::from(take);
                // The worker refills the ring while this piece is being sent.
                if exchange.publish_download(consumed) {
                    self.reactor.mark(exchange.lane());
                }
                self.flush().await.map_err(|_| Instead::ClientGone)?;
                // The time that a slow client took is not the worker's.
                exchange.set_deadline(clock::coarse_ms() + timeout_ms);
                continue;
            }
            if !self.output.is_empty() {
                self.flush().await.map_err(|_| Instead::ClientGone)?;
            }
            match end {
                Some(BodyEnd::Complete) if left == 0 && ready == 0 => {
                    self.after_answer(exchange);
                    return Ok(true);
                }
                // Shorter or longer than its length, or given up.
                Some(_) => {
                    let worker = &exchange.lane().session.name;
                    tracing::warn!(
                        worker,
                        missing = left,
                        "a streamed answer was not its length"
                    );
                    return Ok(false);
                }
                None => {}
            }
            match exchange.outcome().await {
                Outcome::Event(Event::Changed | Event::Answered) => {}
                Outcome::Event(Event::TimedOut) => {
                    self.timed_out();
                    return Ok(false);
                }
                Outcome::WorkerGone => {
                    self.worker_gone();
                    return Ok(false);
                }
            }
        }
    }
}
