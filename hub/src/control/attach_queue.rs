//! The queue at the attach socket. However many workers come at once, none is turned away that
//! may attach; a few of each user are heard at a time, so that what they register takes a
//! bounded memory, and one user's do not keep another's out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::HEARD_COUNT_MAX;

/// How many connections of each user have not been greeted.
#[derive(Debug)]
pub struct AttachQueue {
    /// So many of a user may wait.
    count_max: u32,
    of_users: Mutex<HashMap<u32, OfUser>>,
}

#[derive(Debug)]
struct OfUser {
    count: u32,
    heard: Arc<Semaphore>,
}

/// A place in the queue, until it is dropped.
pub struct Place {
    queue: Arc<AttachQueue>,
    uid: u32,
    heard: Arc<Semaphore>,
}

impl AttachQueue {
    /// An empty one, in which so many of each user may wait.
    pub fn new(count_max: u32) -> Arc<Self> {
        Arc::new(Self {
            count_max,
            of_users: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, OfUser>> {
        self.of_users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for another connection of a user, if there is one.
    pub fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut of_users = self.lock();
        let own = of_users.entry(uid).or_insert_with(|| OfUser {
            count: 0,
            heard: Arc::new(Semaphore::new(HEARD_COUNT_MAX)),
        });
        if own.count >= self.count_max {
            return None;
        }
        own.count += 1;
        Some(Place {
            queue: Arc::clone(self),
            uid,
            heard: Arc::clone(&own.heard),
        })
    }
}

impl Place {
    /// Waits until the connection may be heard; the others wait for as long as the permit lives.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.heard).acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_users = self.queue.lock();
        if let Entry::Occupied(mut own) = of_users.entry(self.uid) {
            own.get_mut().count -= 1;
            if own.get().count == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn a_user_s_connections_wait_for_each_other_and_not_for_another_user_s() {
        let most = HEARD_COUNT_MAX as u32 + 1;
        let queue = AttachQueue::new(most);
        {
            let places: Vec<_> = (0..most).map(|_| queue.enter(7).unwrap()).collect();
            assert!(queue.enter(7).is_none());
            let mut turns = Vec::new();
            for place in &places[1..] {
                turns.push(place.turn().await);
            }
            let mut last = pin!(places[0].turn());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(last.as_mut().poll(&mut cx).is_pending());
            let other = queue.enter(8).expect("another user's");
            assert!(pin!(other.turn()).poll(&mut cx).is_ready());
            turns.pop();
            assert!(last.as_mut().poll(&mut cx).is_ready());
        }
        assert!(queue.lock().is_empty());
    }
}
