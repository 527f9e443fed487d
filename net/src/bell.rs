//! The eventfd by which a worker rings a lane.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::readable::{Watched, readable};

/// Waits for rings without ever reading the eventfd.
///
/// The eventfd is shared with a worker that may do anything to it: read it
/// empty, fill it up, change its flags. So nothing here depends on its counter:
/// the reactor's epoll watches it edge-triggered, where every write is an event
/// of its own (epoll(7)), and no operation is left in flight when the wait is
/// given up.
pub struct Bell {
    eventfd: Watched<Arc<OwnedFd>>,
}

impl Bell {
    /// Listens to an eventfd that others may hold as well.
    pub fn new(eventfd: Arc<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            eventfd: readable(eventfd)?,
        })
    }

    /// Waits until it has been rung since the last wait.
    pub async fn rung(&self) -> io::Result<()> {
        self.eventfd.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotway_shm_proto::doorbell::{new_eventfd, ring_eventfd};

    #[tokio::test]
    async fn every_ring_is_heard_though_nobody_reads_the_counter() {
        let eventfd = Arc::new(new_eventfd().unwrap());
        let bell = Bell::new(Arc::clone(&eventfd)).unwrap();
        for _ in 0..3 {
            ring_eventfd(&eventfd).unwrap();
            bell.rung().await.unwrap();
        }
        let silence = std::time::Duration::from_millis(20);
        assert!(
            tokio::time::timeout(silence, bell.rung()).await.is_err(),
            "heard nothing twice"
        );
        ring_eventfd(&eventfd).unwrap();
        bell.rung().await.unwrap();
    }
}
