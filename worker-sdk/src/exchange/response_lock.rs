//! Keeps two threads from writing the same response.

use std::sync::atomic::{AtomicU8, Ordering};

/// Who may write the response to a request: one builder at a time, and none once
/// a response has been ended. A request is shared freely between threads, so
/// this is what keeps them from writing the same bytes at once.
#[derive(Debug, Default)]
pub(crate) struct ResponseLock(AtomicU8);

const FREE: u8 = 0;
const BEGUN: u8 = 1;
const SEALED: u8 = 2;

impl ResponseLock {
    /// A builder begins to write.
    pub fn begin(&self) -> Result<(), &'static str> {
        match self
            .0
            .compare_exchange(FREE, BEGUN, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => Ok(()),
            Err(BEGUN) => Err("a response that was begun while another was being written"),
            Err(_) => Err("a second response to one request"),
        }
    }

    /// It was dropped half-way.
    pub fn abandon(&self) {
        // Pairs with the Acquire of the next builder.
        self.0.store(FREE, Ordering::Release);
    }

    /// It has ended the response.
    pub fn seal(&self) {
        self.0.store(SEALED, Ordering::Relaxed);
    }
}
