//! Buffers for responses. An idle connection has none; the reactor keeps a few that no
//! response needs now.

use std::cell::RefCell;

use crate::limits::{READ_BUFFER_BYTES, SPARE_BUFFER_BYTES_MAX, SPARE_BUFFER_COUNT_MAX};

/// Spare buffers of one reactor.
#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer.
    #[inline]
    pub fn take(&self) -> Vec<u8> {
        let spare = self.0.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Takes a buffer back.
    #[inline]
    pub fn put_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_BUFFER_COUNT_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
