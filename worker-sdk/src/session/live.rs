//! The sessions that a worker has now.

use std::sync::{Arc, Mutex, PoisonError};

use super::Session;

/// Sessions that events can be sent over; see [`crate::HubEmitter`].
#[derive(Clone, Default)]
pub(crate) struct LiveSessions(Arc<Mutex<Vec<Arc<Session>>>>);

impl std::fmt::Debug for LiveSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sessions", self.count())
    }
}

impl LiveSessions {
    /// All of them: while a new hub takes over, there is one with each.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What is taken out goes only behind the lock, which what goes with it may want.
    pub fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Session>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
