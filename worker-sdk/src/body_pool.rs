//! Buffers of bodies that did not fit their slot, kept for the next ones: fresh
//! memory of that size costs a page fault for every 4 KiB.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::{SPARE_BODY_BYTES_MAX, SPARE_BODY_COUNT_MAX};

/// See the module.
#[derive(Default)]
pub(crate) struct BodyPool(Mutex<Vec<Vec<u8>>>);

impl BodyPool {
    /// An empty buffer with room for at least `bytes`.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub fn keep(&self, mut buffer: Vec<u8>) {
        // Others are quickly had, or too much to keep.
        let is_worth_it = 1..=SPARE_BODY_BYTES_MAX;
        if !is_worth_it.contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut spare = self.lock();
        if spare.len() < SPARE_BODY_COUNT_MAX {
            spare.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
