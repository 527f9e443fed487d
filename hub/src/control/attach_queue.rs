//! The queue at the attach socket. However many workers come at once, none is turned away that
//! may attach; a few of each user are heard at a time, so that what they register takes a
//! bounded memory, and one user's do not keep another's out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{HEARD_COUNT_MAX, OTHERS_QUEUE_DIVISOR};
use crate::shared::fd_budget::SessionLimits;

/// How many connections of each user have not been greeted.
#[derive(Debug)]
pub struct AttachQueue {
    /// So many may wait: of the hub's own user, of another, and in all.
    limits: QueueLimits,
    of_users: Mutex<HashMap<u32, OfUser>>,
}

/// How many connections may wait.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Of the hub's own user, and of root.
    pub own: u32,
    /// Of any other.
    pub other: u32,
    /// In all.
    pub all: u32,
}

impl QueueLimits {
    /// As many as there may be sessions: a descriptor each is kept for them.
    pub fn of(sessions: SessionLimits) -> Self {
        Self {
            own: sessions.per_user,
            other: (sessions.all / OTHERS_QUEUE_DIVISOR).max(1),
            all: sessions.all,
        }
    }

    fn of_user(&self, uid: u32) -> u32 {
        let is_own = uid == 0 || uid == rustix::process::geteuid().as_raw();
        if is_own { self.own } else { self.other }
    }
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
    /// An empty one.
    pub fn new(limits: QueueLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            of_users: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, OfUser>> {
        self.of_users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for another connection of a user, if there is one.
    pub fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut of_users = self.lock();
        let all: u32 = of_users.values().map(|own| own.count).sum();
        if all >= self.limits.all {
            return None;
        }
        let own = of_users.entry(uid).or_insert_with(|| OfUser {
            count: 0,
            heard: Arc::new(Semaphore::new(HEARD_COUNT_MAX)),
        });
        if own.count >= self.limits.of_user(uid) {
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
        let (uid, another) = (u32::MAX - 1, u32::MAX - 2);
        let queue = AttachQueue::new(QueueLimits {
            own: 0,
            other: most,
            all: most + 1,
        });
        {
            let places: Vec<_> = (0..most).map(|_| queue.enter(uid).unwrap()).collect();
            assert!(queue.enter(uid).is_none());
            let mut turns = Vec::new();
            for place in &places[1..] {
                turns.push(place.turn().await);
            }
            let mut last = pin!(places[0].turn());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(last.as_mut().poll(&mut cx).is_pending());
            let other = queue.enter(another).expect("another user's");
            assert!(queue.enter(another).is_none(), "as many as may be in all");
            assert!(pin!(other.turn()).poll(&mut cx).is_ready());
            turns.pop();
            assert!(last.as_mut().poll(&mut cx).is_ready());
        }
        assert!(queue.lock().is_empty());
    }
}
