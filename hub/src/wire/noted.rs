//! What is kept of a request until it has ended, for the access log and for who looks on.

use std::sync::Arc;

use crate::limits::IDLE_BUFFER_BYTES;
use crate::routing::session::Session;

/// It is used again by the next request of the connection.
#[derive(Default)]
pub struct Noted {
    /// A copy of the head, into which its spans point; empty if it was no head.
    pub head: Vec<u8>,
    /// The worker that responds.
    pub session: Option<Arc<Session>>,
    /// Bytes sent on the connection before.
    pub sent_before: u64,
}

impl Noted {
    /// Another request begins.
    pub fn begin(&mut self, head: &[u8], sent_before: u64) {
        self.head.clear();
        self.head.extend_from_slice(head);
        self.session = None;
        self.sent_before = sent_before;
    }

    /// The request has ended: an idle connection keeps nothing of it.
    pub fn clear(&mut self) {
        self.head.clear();
        self.head.shrink_to(IDLE_BUFFER_BYTES);
        self.session = None;
    }
}
