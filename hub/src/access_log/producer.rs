//! A reactor's end of the access log: it never waits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

use rtrb::Producer;

use super::fields::Fields;
use super::record::Record;

/// What both ends of the rings share.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Records that found no room.
    pub lost: AtomicU64,
    /// The writer sleeps, and is to be woken.
    pub is_asleep: AtomicBool,
    pub writer: std::sync::OnceLock<Thread>,
}

impl Ends {
    pub fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::AcqRel)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

/// A reactor's end.
#[derive(Debug)]
pub struct AccessLog {
    inner: RefCell<Inner>,
    ends: Arc<Ends>,
    /// What its lines have.
    pub fields: Fields,
    /// One request of so many has a line.
    sample: u32,
}

#[derive(Debug)]
struct Inner {
    ring: Producer<u8>,
    scratch: Vec<u8>,
    until_next: u32,
}

impl AccessLog {
    pub(super) fn new(ring: Producer<u8>, ends: Arc<Ends>, fields: Fields, sample: u32) -> Self {
        Self {
            inner: RefCell::new(Inner {
                ring,
                scratch: Vec::new(),
                until_next: 0,
            }),
            ends,
            fields,
            sample,
        }
    }

    /// Whether the request that has just ended gets a line: a share of all do, and all that
    /// failed.
    #[inline]
    pub fn wants(&self, has_failed: bool) -> bool {
        let mut inner = self.inner.borrow_mut();
        let is_next = inner.until_next == 0;
        inner.until_next = if is_next {
            self.sample - 1
        } else {
            inner.until_next - 1
        };
        is_next || has_failed
    }

    /// Hands a record to the writer, if there is room for it.
    pub fn push(&self, record: &Record<'_>) {
        let mut inner = self.inner.borrow_mut();
        let Inner { ring, scratch, .. } = &mut *inner;
        scratch.clear();
        record.write(scratch);
        if ring.push_entire_slice(scratch).is_err() {
            self.ends.lost.fetch_add(1, Ordering::Relaxed);
        }
        if self.ends.is_asleep.load(Ordering::Relaxed) {
            self.ends.wake();
        }
    }
}
