//! What a connection waits for, and until when a body must have come.

use crate::clock;
use crate::config::deadlines::Deadlines;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing of the client's: a slot has the deadline.
    Worker,
    /// The first byte of a request.
    Request,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// The client to take what is sent.
    Write,
    /// The client to close its side, or to stop sending.
    Linger,
}

/// The deadline of a body: a grace, and then as long as its bytes take at the
/// least rate.
#[derive(Clone, Copy, Debug)]
pub struct BodyDeadline {
    start_ms: u64,
    bytes: u64,
}

impl BodyDeadline {
    /// Of a body that is expected from now on.
    pub fn start() -> Self {
        Self {
            start_ms: clock::coarse_ms(),
            bytes: 0,
        }
    }

    /// So many bytes have come.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The worker made the client wait: that time does not count.
    pub fn forgive(&mut self, milliseconds: u64) {
        self.start_ms += milliseconds;
    }

    /// When it is overdue.
    pub fn at_ms(&self, deadlines: &Deadlines) -> u64 {
        self.after_grace_ms(deadlines.body_ms, deadlines)
    }

    /// The same, with another grace than that of most bodies.
    pub fn after_grace_ms(&self, grace_ms: u64, deadlines: &Deadlines) -> u64 {
        let by_rate = match deadlines.body_bytes_per_s_min {
            0 => u64::MAX / 4,
            rate => self.bytes.saturating_mul(1000) / rate,
        };
        self.start_ms + grace_ms + by_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_s_deadline_moves_with_its_bytes_at_the_least_rate() {
        let deadlines = Deadlines {
            body_ms: 10_000,
            body_bytes_per_s_min: 500,
            ..Deadlines::default()
        };
        let mut body = BodyDeadline {
            start_ms: 1_000,
            bytes: 0,
        };
        assert_eq!(body.at_ms(&deadlines), 11_000);
        body.add(1_000);
        assert_eq!(body.at_ms(&deadlines), 13_000);
        body.forgive(200);
        assert_eq!(body.at_ms(&deadlines), 13_200);
    }

    #[test]
    fn without_a_least_rate_bytes_of_a_body_buy_all_the_time_there_is() {
        let deadlines = Deadlines {
            body_bytes_per_s_min: 0,
            ..Deadlines::default()
        };
        assert!(BodyDeadline::start().at_ms(&deadlines) > u64::MAX / 8);
    }
}
