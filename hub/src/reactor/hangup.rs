//! Which clients leave while a worker has their request.
//!
//! Most requests are answered long before anybody could leave, so a connection is
//! watched only once its request has been with the worker for a tick. Until
//! then it costs a flag and a counter.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use slotway_net::{Hangup, Hangups, Timer, monotonic_ns};
use tokio::sync::Notify;

use crate::limits::LOOKOUT_TICK;
use crate::reactor::connections::ConnectionState;

/// See the module; one for each reactor.
pub struct Lookout {
    /// Connections that have had a request since the last tick, or wait for one.
    active: RefCell<Vec<Rc<ConnectionState>>>,
    begun: Notify,
    hangups: Hangups,
    /// A timeout of the runtime's would be set anew for every sleep of the thread, which
    /// cost a tenth of the CPU at one connection.
    timer: Timer,
    is_ticking: Cell<bool>,
}

impl Lookout {
    /// Nobody is looked after yet. On the reactor's thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            active: RefCell::default(),
            begun: Notify::new(),
            hangups: Hangups::new()?,
            timer: Timer::new()?,
            is_ticking: Cell::new(false),
        })
    }

    /// A connection's request goes to a worker.
    #[inline]
    pub fn begin(&self, connection: &Rc<ConnectionState>) {
        if connection.lookout.begin() {
            self.active.borrow_mut().push(Rc::clone(connection));
            if !self.is_ticking.replace(true) {
                self.begun.notify_one();
            }
        }
    }

    /// It has been answered, or given up.
    #[inline]
    pub fn end(&self, connection: &ConnectionState) {
        if connection.lookout.end() {
            self.hangups.forget(connection.stream());
        }
    }

    /// Watches a connection at once: it waits for a slot.
    pub fn watch_now(&self, connection: &ConnectionState) {
        if !connection.lookout.is_watched.get() {
            // Without memory for it the client's leaving is noticed later.
            let watched = self.hangups.watch(connection.stream(), connection.id());
            connection.lookout.is_watched.set(watched.is_ok());
        }
    }

    /// Looks over the active connections every tick; ends only with an error.
    pub async fn tick(&self) -> io::Result<()> {
        loop {
            if self.active.borrow().is_empty() {
                self.is_ticking.set(false);
                self.begun.notified().await;
            }
            self.timer
                .set(monotonic_ns() + LOOKOUT_TICK.as_nanos() as u64)?;
            self.timer.rung().await?;
            let mut active = self.active.borrow_mut();
            active.retain(|connection| match connection.lookout.on_tick() {
                Activity::Busy => true,
                Activity::Idle => false,
                Activity::Waits => {
                    self.watch_now(connection);
                    false
                }
            });
        }
    }

    /// Tells connections that their clients have hung up; `find` knows them by
    /// their ids. Ends only with an error.
    pub async fn listen(
        &self,
        find: impl Fn(u64) -> Option<Rc<ConnectionState>>,
    ) -> io::Result<()> {
        let mut found = Vec::new();
        loop {
            self.hangups.next(&mut found).await?;
            for (id, hangup) in found.drain(..) {
                if let Some(connection) = find(id) {
                    connection.hung_up(hangup);
                }
            }
        }
    }
}

/// What the lookout knows of one connection.
#[derive(Debug, Default)]
pub struct LookoutState {
    /// Requests begun.
    number: Cell<u32>,
    /// A worker has one now.
    is_waiting: Cell<bool>,
    is_active: Cell<bool>,
    is_watched: Cell<bool>,
    /// `number` at the last tick.
    seen: Cell<u32>,
    hangup: Cell<Option<Hangup>>,
}

enum Activity {
    /// It has had another request since the last tick.
    Busy,
    /// It has none.
    Idle,
    /// It has the same as at the last tick.
    Waits,
}

impl LookoutState {
    /// Says whether it must become active.
    #[inline]
    fn begin(&self) -> bool {
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
    fn end(&self) -> bool {
        self.is_waiting.set(false);
        self.hangup.set(None);
        self.is_watched.replace(false)
    }

    fn on_tick(&self) -> Activity {
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
        let state = LookoutState::default();
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
        let state = LookoutState::default();
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
