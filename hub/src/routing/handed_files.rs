//! Files that a worker answers with, until their responses are sent: at most one for each slot.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::upgrade::SlotUse;
use tokio::sync::{Notify, Semaphore};

use crate::limits::{FILE_COUNT_MAX, FILE_READER_COUNT_MAX};

/// A file, and where in it the body begins.
#[derive(Debug)]
pub struct HandedFile {
    /// Whatever it is: a worker may send anything.
    pub file: OwnedFd,
    /// The body's first byte.
    pub offset: u64,
}

/// Which use of a slot a file is for.
type Kept = (u32, HandedFile);

/// Those of one session.
#[derive(Debug)]
pub struct HandedFiles {
    /// By lane and slot.
    files: Mutex<HashMap<(u32, u32), Kept>>,
    /// How many there are: most often none, and then nothing is locked.
    count: AtomicUsize,
    came: Notify,
    /// Responses from files that are being sent.
    pub sending: Arc<Semaphore>,
    /// Reads that are under way. One that hangs with its file system keeps its place.
    pub reading: Arc<Semaphore>,
}

impl Default for HandedFiles {
    fn default() -> Self {
        Self {
            files: Mutex::default(),
            count: AtomicUsize::new(0),
            came: Notify::new(),
            sending: Arc::new(Semaphore::new(FILE_COUNT_MAX)),
            reading: Arc::new(Semaphore::new(FILE_READER_COUNT_MAX)),
        }
    }
}

impl HandedFiles {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u32, u32), Kept>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has come. An older one for the slot goes. `has_slot` says whether there is such a slot.
    pub fn put(&self, message: FileBody, file: OwnedFd, has_slot: bool) {
        if !has_slot {
            return;
        }
        let SlotUse {
            lane_index,
            slot_index,
            generation,
        } = message.slot;
        let handed = HandedFile {
            file,
            offset: message.offset,
        };
        let mut files = self.lock();
        files.insert((lane_index, slot_index), (generation, handed));
        self.count.store(files.len(), Ordering::Release);
        drop(files);
        self.came.notify_waiters();
    }

    fn take(&self, slot: SlotUse) -> Option<HandedFile> {
        let key = (slot.lane_index, slot.slot_index);
        let mut files = self.lock();
        let is_it = files
            .get(&key)
            .is_some_and(|(generation, _)| *generation == slot.generation);
        let taken = is_it.then(|| files.remove(&key)).flatten();
        self.count.store(files.len(), Ordering::Release);
        taken.map(|(_, file)| file)
    }

    /// Waits for the one of a response, which was sent before that; `None` if it does not come.
    pub async fn wait(&self, slot: SlotUse, limit: Duration) -> Option<HandedFile> {
        let coming = async {
            loop {
                let came = self.came.notified();
                tokio::pin!(came);
                // From here on none is missed.
                came.as_mut().enable();
                if let Some(file) = self.take(slot) {
                    return file;
                }
                came.await;
            }
        };
        tokio::time::timeout(limit, coming).await.ok()
    }

    /// A slot is free again: a file that nobody asked for goes.
    #[inline]
    pub fn forget(&self, lane_index: u32, slot_index: u32) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut files = self.lock();
            files.remove(&(lane_index, slot_index));
            self.count.store(files.len(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(generation: u32) -> FileBody {
        FileBody {
            slot: SlotUse {
                lane_index: 0,
                slot_index: 5,
                generation,
            },
            offset: u64::from(generation),
        }
    }

    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[tokio::test]
    async fn a_file_is_for_one_use_of_a_slot_and_goes_with_it() {
        let files = HandedFiles::default();
        let slot = |generation| message(generation).slot;
        let limit = Duration::from_millis(1);
        assert!(files.wait(slot(1), limit).await.is_none());
        files.put(message(1), file(), true);
        assert!(files.wait(slot(2), limit).await.is_none());
        assert_eq!(files.wait(slot(1), limit).await.unwrap().offset, 1);
        files.put(message(2), file(), true);
        files.put(message(3), file(), true);
        assert_eq!(files.lock().len(), 1);
        files.forget(0, 5);
        assert!(files.wait(slot(3), limit).await.is_none());
        files.put(message(4), file(), false);
        assert!(files.wait(slot(4), limit).await.is_none());
    }

    #[tokio::test]
    async fn one_that_comes_later_is_waited_for() {
        let files = Arc::new(HandedFiles::default());
        let later = Arc::clone(&files);
        let waiting = tokio::spawn(async move {
            later
                .wait(message(1).slot, Duration::from_secs(10))
                .await
                .is_some()
        });
        tokio::task::yield_now().await;
        files.put(message(1), file(), true);
        assert!(waiting.await.unwrap());
    }
}
