//! Files that a worker answers with, until their responses are sent: at most one for each slot.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::upgrade::SlotUse;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::foreign_fd::{Closer, ForeignFd};
use crate::limits::{CLOSING_COUNT_MAX, FILE_READER_COUNT_MAX};

/// A file, and where in it the body begins.
#[derive(Debug)]
pub struct HandedFile {
    /// Whatever it is: a worker may send anything.
    pub file: ForeignFd,
    /// The body's first byte.
    pub offset: u64,
    /// Its places among those of the hub and of the worker.
    pub places: [OwnedSemaphorePermit; 2],
}

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFile {
    /// It did not come.
    Absent,
    /// As many as may be are there.
    NoRoom,
}

/// Which use of a slot a file is for; without one, there was no room for it.
type Kept = (u32, Option<HandedFile>);

/// Those of one session.
#[derive(Debug)]
pub struct HandedFiles {
    /// By lane and slot.
    files: Mutex<HashMap<(u32, u32), Kept>>,
    /// How many there are: most often none, and then nothing is locked.
    count: AtomicUsize,
    came: Notify,
    /// Files that the hub may have, and this worker of those.
    places: [Arc<Semaphore>; 2],
    /// Reads that are under way. One that hangs with its file system keeps its place.
    pub reading: Arc<Semaphore>,
    closer: Arc<Closer>,
}

impl HandedFiles {
    /// None yet; `places` are those of the whole hub, of which `own_count` for one worker.
    pub fn new(places: &Arc<Semaphore>, own_count: usize) -> Self {
        Self {
            files: Mutex::default(),
            count: AtomicUsize::new(0),
            came: Notify::new(),
            places: [Arc::clone(places), Arc::new(Semaphore::new(own_count))],
            reading: Arc::new(Semaphore::new(FILE_READER_COUNT_MAX)),
            closer: Arc::default(),
        }
    }

    /// A descriptor that the worker has sent. The error: it sends them faster than they can be
    /// closed.
    pub fn own(&self, fd: OwnedFd) -> Result<ForeignFd, ForeignFd> {
        let fd = ForeignFd::new(fd, &self.closer);
        if self.closer.waiting_count() > CLOSING_COUNT_MAX {
            return Err(fd);
        }
        Ok(fd)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u32, u32), Kept>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has come, for a slot that there is. An older one for the slot goes.
    pub fn put(&self, message: FileBody, file: ForeignFd) {
        let SlotUse {
            lane_index,
            slot_index,
            generation,
        } = message.slot;
        let [of_hub, own] = &self.places;
        let places = [of_hub, own].map(|places| Arc::clone(places).try_acquire_owned());
        let handed = match places {
            [Ok(of_hub), Ok(own)] => Some(HandedFile {
                file,
                offset: message.offset,
                places: [of_hub, own],
            }),
            _ => None,
        };
        let mut files = self.lock();
        let older = files.insert((lane_index, slot_index), (generation, handed));
        self.count.store(files.len(), Ordering::Release);
        drop(files);
        drop(older);
        self.came.notify_waiters();
    }

    fn take(&self, slot: SlotUse) -> Option<Result<HandedFile, NoFile>> {
        let key = (slot.lane_index, slot.slot_index);
        let mut files = self.lock();
        let is_it = files
            .get(&key)
            .is_some_and(|(generation, _)| *generation == slot.generation);
        let taken = is_it.then(|| files.remove(&key)).flatten();
        self.count.store(files.len(), Ordering::Release);
        taken.map(|(_, file)| file.ok_or(NoFile::NoRoom))
    }

    /// Waits for the one of a response, which was sent before that.
    pub async fn wait(&self, slot: SlotUse, limit: Duration) -> Result<HandedFile, NoFile> {
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
        let waited = tokio::time::timeout(limit, coming).await;
        waited.unwrap_or(Err(NoFile::Absent))
    }

    /// A slot is free again: a file that nobody asked for goes.
    #[inline]
    pub fn forget(&self, lane_index: u32, slot_index: u32) {
        if self.count.load(Ordering::Acquire) > 0 {
            self.remove(lane_index, slot_index);
        }
    }

    #[cold]
    fn remove(&self, lane_index: u32, slot_index: u32) {
        let mut files = self.lock();
        let forgotten = files.remove(&(lane_index, slot_index));
        self.count.store(files.len(), Ordering::Release);
        drop(files);
        drop(forgotten);
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

    fn files() -> HandedFiles {
        HandedFiles::new(&Arc::new(Semaphore::new(3)), 2)
    }

    fn file(files: &HandedFiles) -> ForeignFd {
        files
            .own(std::fs::File::open("/dev/null").unwrap().into())
            .unwrap()
    }

    #[tokio::test]
    async fn a_file_is_for_one_use_of_a_slot_and_goes_with_it() {
        let files = files();
        let slot = |generation| message(generation).slot;
        let limit = Duration::from_millis(1);
        assert_eq!(files.wait(slot(1), limit).await.err(), Some(NoFile::Absent));
        files.put(message(1), file(&files));
        assert_eq!(files.wait(slot(2), limit).await.err(), Some(NoFile::Absent));
        assert_eq!(files.wait(slot(1), limit).await.unwrap().offset, 1);
        files.put(message(2), file(&files));
        files.put(message(3), file(&files));
        assert_eq!(files.lock().len(), 1);
        files.forget(0, 5);
        assert_eq!(files.wait(slot(3), limit).await.err(), Some(NoFile::Absent));
    }

    #[tokio::test]
    async fn there_are_no_more_than_may_be() {
        let files = files();
        let of_slot = |slot_index| FileBody {
            slot: SlotUse {
                slot_index,
                ..message(1).slot
            },
            offset: 0,
        };
        let mut kept = Vec::new();
        let limit = Duration::from_millis(1);
        for slot_index in 0..2 {
            files.put(of_slot(slot_index), file(&files));
            kept.push(files.wait(of_slot(slot_index).slot, limit).await.unwrap());
        }
        files.put(of_slot(2), file(&files));
        assert_eq!(
            files.wait(of_slot(2).slot, limit).await.err(),
            Some(NoFile::NoRoom)
        );
        kept.pop();
        files.put(of_slot(3), file(&files));
        assert!(files.wait(of_slot(3).slot, limit).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_comes_later_is_waited_for() {
        let files = Arc::new(files());
        let later = Arc::clone(&files);
        let waiting = tokio::spawn(async move {
            let limit = Duration::from_secs(10);
            later.wait(message(1).slot, limit).await.is_ok()
        });
        tokio::task::yield_now().await;
        files.put(message(1), file(&files));
        assert!(waiting.await.unwrap());
    }
}
