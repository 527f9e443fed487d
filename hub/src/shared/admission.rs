//! How many client connections there are, on all reactors, and whether another
//! may be accepted.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts client connections against their bound.
#[derive(Debug)]
pub struct Admission {
    count: AtomicU64,
    count_max: u64,
    ended: Notify,
}

impl Admission {
    /// None yet.
    pub fn new(count_max: u64) -> Self {
        Self {
            count: AtomicU64::new(0),
            count_max,
            ended: Notify::new(),
        }
    }

    /// The most there may be.
    pub fn count_max(&self) -> u64 {
        self.count_max
    }

    /// Whether another may be accepted. Reactors may look at the same time, so
    /// there can be one more for each of them.
    pub fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) < self.count_max
    }

    /// A connection has been accepted.
    pub fn enter(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub fn leave(&self) {
        self.release(1);
    }

    /// So many connections have ended that others hold.
    pub fn release(&self, count: u32) {
        let before = self.count.fetch_sub(count.into(), Ordering::Relaxed);
        if count > 0 && before >= self.count_max {
            self.wake();
        }
    }

    /// Lets those look again who wait for room.
    pub fn wake(&self) {
        self.ended.notify_waiters();
    }

    /// Waits until there may be room, or someone called [`Admission::wake`].
    pub async fn changed(&self) {
        let ended = self.ended.notified();
        tokio::pin!(ended);
        // From here on a wake is not missed.
        ended.as_mut().enable();
        if !self.has_room() {
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn who_waits_for_room_is_woken_when_a_connection_ends() {
        let admission = Arc::new(Admission::new(1));
        assert!(admission.has_room());
        admission.enter();
        assert!(!admission.has_room());
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.changed().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        admission.leave();
        waiting.await.unwrap();
        assert!(admission.has_room());
    }
}
