//! A number that one thread adds to and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Only its owner adds to it, so that a load and a store will do.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; by its owner's thread alone, or counts are lost.
    #[inline]
    pub(super) fn add(&self, count: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_add(count), Ordering::Relaxed);
    }

    /// What it has come to.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
