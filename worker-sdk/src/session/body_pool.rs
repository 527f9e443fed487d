//! Memory of bodies that do not fit their slot: how much the collected ones of requests
//! take, and buffers that are kept for the next ones, since fresh memory of that size
//! costs a page fault for every 4 KiB.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{COLLECTED_FIRST_BYTES, SPARE_BODY_BYTES_MAX, SPARE_BODY_COUNT_MAX};

/// Buffers for bodies that do not fit their slot, and the bound of their memory.
pub(crate) struct BodyPool {
    spare: Mutex<Vec<Vec<u8>>>,
    /// Capacity of all collected bodies.
    collected_bytes: AtomicUsize,
    collected_bytes_max: usize,
}

/// A request's body, collected while it arrives. Its memory goes back with it.
pub(crate) struct CollectedBody {
    bytes: Vec<u8>,
    /// What it counts for.
    counted: usize,
    pool: Arc<BodyPool>,
    /// The fields behind it, in wire form.
    pub trailers: Vec<u8>,
}

/// The bodies that are being collected take all the memory that they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl BodyPool {
    pub fn new(collected_bytes_max: usize) -> Self {
        Self {
            spare: Mutex::default(),
            collected_bytes: AtomicUsize::new(0),
            collected_bytes_max,
        }
    }

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
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CollectedBody {
    /// No bytes yet, in no memory.
    pub fn new(pool: &Arc<BodyPool>) -> Self {
        Self {
            bytes: Vec::new(),
            counted: 0,
            pool: Arc::clone(pool),
            trailers: Vec::new(),
        }
    }

    /// Makes room for so many further bytes of `expected` in all, or says that there is
    /// none. The client's word for the length is no reason to take much memory before the
    /// bytes come.
    pub fn reserve(&mut self, bytes: usize, expected: usize) -> Result<(), NoRoom> {
        if self.bytes.capacity() == 0 && bytes > 0 {
            self.bytes = self.pool.lock().pop().unwrap_or_default();
        }
        let needed = self.bytes.len() + bytes;
        if needed > self.bytes.capacity() {
            // Before it is taken. Twice as much each time, so that each byte moves once.
            let ahead = (2 * self.bytes.capacity()).max(COLLECTED_FIRST_BYTES);
            let mut capacity = needed.max(ahead.min(expected));
            if self.count(capacity).is_err() {
                capacity = needed;
                self.count(capacity)?;
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.count(self.bytes.capacity())
    }

    fn count(&mut self, capacity: usize) -> Result<(), NoRoom> {
        let Some(more) = capacity.checked_sub(self.counted).filter(|more| *more > 0) else {
            return Ok(());
        };
        let collected = &self.pool.collected_bytes;
        let before = collected.fetch_add(more, Ordering::Relaxed);
        if before + more > self.pool.collected_bytes_max {
            collected.fetch_sub(more, Ordering::Relaxed);
            return Err(NoRoom);
        }
        self.counted = capacity;
        Ok(())
    }

    /// To append what there is room for.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Deref for CollectedBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CollectedBody {
    fn drop(&mut self) {
        let counted = self.counted;
        self.pool
            .collected_bytes
            .fetch_sub(counted, Ordering::Relaxed);
        self.pool.keep(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collected_bodies_count_as_they_grow_and_no_more_once_they_are_gone() {
        let pool = Arc::new(BodyPool::new(1000));
        let mut one = CollectedBody::new(&pool);
        one.reserve(600, 1200).unwrap();
        one.bytes_mut().extend_from_slice(&[1; 600]);
        let mut other = CollectedBody::new(&pool);
        assert_eq!(other.reserve(401, 401), Err(NoRoom));
        other.reserve(400, 400).unwrap();
        // Twice the room would be too much.
        assert_eq!(one.reserve(1, 1200), Err(NoRoom));
        assert_eq!(&one[..], [1; 600]);
        drop(one);
        // Its buffer is a spare one now, and counts with what takes it.
        let mut next = CollectedBody::new(&pool);
        next.reserve(1, 1).unwrap();
        assert_eq!(other.pool.collected_bytes.load(Ordering::Relaxed), 1000);
        drop((next, other));
        assert_eq!(pool.collected_bytes.load(Ordering::Relaxed), 0);
    }
}
