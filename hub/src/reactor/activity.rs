//! Whether a worker has a connection's request now, and since when.

use std::cell::Cell;

use slotway_net::Hangup;

/// Whether a worker has a connection's request, and what its client has done since.
#[derive(Debug, Default)]
pub struct RequestActivity {
    /// Requests begun.
    number: Cell<u32>,
    /// A worker has one now.
    is_waiting: Cell<bool>,
    is_active: Cell<bool>,
    /// The system tells of its client's hangup.
    pub is_watched: Cell<bool>,
    /// `number` at the last tick.
    seen: Cell<u32>,
    hangup: Cell<Option<Hangup>>,
}

pub enum Activity {
    /// It has had another request since the last tick.
    Busy,
    /// It has none.
    Idle,
    /// It has the same as at the last tick.
    Waits,
}

impl RequestActivity {
    /// Says whether it must become active.
    #[inline]
    pub fn begin(&self) -> bool {
        self.number.set(self.number.get().wrapping_add(1));
        self.is_waiting.set(true);
        let becomes_active = !self.is_active.replace(true);
        if becomes_active {
            self.seen.set(self.number.get());
        }
        becomes_active
    }

    /// Says whether it was watched.
    #[inline]
    pub fn end(&self) -> bool {
        self.is_waiting.set(false);
        self.hangup.set(None);
        self.is_watched.replace(false)
    }

    /// Looks what has become of it since the last tick.
    pub fn on_tick(&self) -> Activity {
        let number = self.number.get();
        let is_same = self.seen.replace(number) == number;
        let activity = match (self.is_waiting.get(), is_same) {
            (_, false) => Activity::Busy,
            (true, true) => Activity::Waits,
            (false, true) => Activity::Idle,
        };
        self.is_active.set(matches!(activity, Activity::Busy));
        activity
    }

    /// Notes what the client did; it counts once.
    pub fn note(&self, hangup: Hangup) {
        if self.is_waiting.get() {
            self.hangup.set(Some(hangup));
        }
    }

    /// What the client has done since this was asked last.
    #[inline]
    pub fn take_hangup(&self) -> Option<Hangup> {
        self.hangup.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_outlasts_a_tick_is_watched() {
        let state = RequestActivity::default();
        assert!(state.begin(), "the first makes it active");
        state.end();
        assert!(!state.begin(), "it is active already");
        assert!(matches!(state.on_tick(), Activity::Busy));
        assert!(matches!(state.on_tick(), Activity::Waits));
        state.end();
        assert!(state.begin(), "whoever was watched is not active any more");
        state.end();
        assert!(matches!(state.on_tick(), Activity::Idle));
        assert!(state.begin());
        assert!(
            matches!(state.on_tick(), Activity::Waits),
            "since before the tick"
        );
    }

    #[test]
    fn what_a_client_did_is_told_once_and_not_to_the_next_request() {
        let state = RequestActivity::default();
        state.note(Hangup::Half);
        assert_eq!(state.take_hangup(), None, "nothing is asked of a worker");
        state.begin();
        state.note(Hangup::Half);
        assert_eq!(state.take_hangup(), Some(Hangup::Half));
        assert_eq!(state.take_hangup(), None);
        state.note(Hangup::Gone);
        state.end();
        state.begin();
        assert_eq!(state.take_hangup(), None);
    }
}
