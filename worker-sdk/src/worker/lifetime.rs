//! What a worker is to do next: its sessions come and go, a hub may be replaced by
//! another, and somebody may want it to stop. Without threads or sockets; the supervisor
//! does what is owed.

use std::time::Duration;

use slotway_shm_proto::message::Goodbye;

use crate::error::RunError;
use crate::limits::{RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN};

/// What it is all for.
#[derive(Debug)]
enum Goal {
    /// To serve.
    Serve,
    /// To stop once everything in flight is finished.
    Stop,
    /// The same, and to end with this: trying again cannot mend it.
    End(RunError),
}

/// What the supervisor owes after an event.
#[derive(Debug)]
#[must_use]
pub(super) enum Duty {
    Nothing,
    /// Tell the hub of every session that the worker wants to leave.
    LeaveAll,
    /// Connect again.
    Reconnect {
        why: RunError,
        after: Duration,
    },
    /// End the worker.
    End(Result<(), RunError>),
}

/// Where a worker is in its life.
#[derive(Debug)]
pub(super) struct Lifetime {
    goal: Goal,
    session_count: u32,
    /// Attachments to new hubs that are under way.
    moving_count: u32,
    /// Before the next reconnection.
    pause: Duration,
}

impl Lifetime {
    /// It connects for the first time.
    pub fn new() -> Self {
        Self {
            goal: Goal::Serve,
            session_count: 0,
            moving_count: 0,
            pause: Duration::ZERO,
        }
    }

    /// Whether another session is not wanted any more.
    pub fn is_ending(&self) -> bool {
        !matches!(self.goal, Goal::Serve)
    }

    /// Connecting has ended, with a session that serves or without one.
    pub fn connected(&mut self, result: Result<(), RunError>) -> Duty {
        match result {
            Ok(()) => {
                self.session_count += 1;
                self.pause = Duration::ZERO;
                Duty::Nothing
            }
            Err(error) => self.failed(error),
        }
    }

    /// Attaching to a new hub begins.
    pub fn moving(&mut self) {
        self.moving_count += 1;
    }

    /// That has ended, with a session that serves or without one.
    pub fn moved(&mut self, has_session: bool) -> Duty {
        self.moving_count -= 1;
        self.session_count += u32::from(has_session);
        if has_session && self.is_ending() {
            return Duty::LeaveAll;
        }
        self.after_one_less(RunError::Disconnected)
    }

    /// A session has ended.
    pub fn session_ended(&mut self, goodbye: Option<Goodbye>) -> Duty {
        self.session_count -= 1;
        let end = goodbye.map_or(RunError::Disconnected, RunError::Ended);
        // A worker that one hub has replaced or evicted stops on all hubs.
        if !end.is_transient() && !matches!(self.goal, Goal::End(_)) {
            self.goal = Goal::End(end);
            return match self.after_one_less(RunError::Disconnected) {
                Duty::Nothing => Duty::LeaveAll,
                duty => duty,
            };
        }
        self.after_one_less(end)
    }

    /// Somebody wants it to stop.
    pub fn stop(&mut self) -> Duty {
        if matches!(self.goal, Goal::Serve) {
            self.goal = Goal::Stop;
        }
        if self.has_nothing() {
            return Duty::End(Ok(()));
        }
        Duty::LeaveAll
    }

    fn has_nothing(&self) -> bool {
        self.session_count == 0 && self.moving_count == 0
    }

    /// A session, or the attempt at one, is gone: perhaps it was the last.
    fn after_one_less(&mut self, end: RunError) -> Duty {
        if !self.has_nothing() {
            return Duty::Nothing;
        }
        match std::mem::replace(&mut self.goal, Goal::Serve) {
            Goal::End(error) => self.failed(error),
            // A worker that is to stop does not come back.
            Goal::Stop => Duty::End(Ok(())),
            Goal::Serve => self.failed(end),
        }
    }

    fn failed(&mut self, error: RunError) -> Duty {
        // That another worker has its place is how a deploy ends.
        if matches!(error, RunError::Ended(Goodbye::Left | Goodbye::Replaced)) {
            return Duty::End(Ok(()));
        }
        if !error.is_transient() {
            return Duty::End(Err(error));
        }
        let after = self.pause;
        self.pause = next_pause(after);
        Duty::Reconnect { why: error, after }
    }
}

/// Doubles up to the bound; jitter keeps many workers of one hub apart.
fn next_pause(pause: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without random bytes there is no jitter, which is all that is lost.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
    let jitter = f64::from(random[0]) / 512.0;
    (pause * 2)
        .clamp(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX)
        .mul_f64(1.0 - jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can happen.
    enum Event {
        Connected,
        NotConnected,
        Refused,
        Moving,
        Moved(bool),
        Ended(Option<Goodbye>),
        Stop,
    }

    use Event::{Connected, Ended, Moved, Moving, NotConnected, Refused, Stop};

    /// The last duty, in a word.
    fn after(events: &[Event]) -> &'static str {
        let mut life = Lifetime::new();
        let mut word = "nothing";
        for event in events {
            let duty = match event {
                Connected => life.connected(Ok(())),
                NotConnected => life.connected(Err(RunError::Disconnected)),
                Refused => life.connected(Err(RunError::NoRuntime)),
                Moving => {
                    life.moving();
                    Duty::Nothing
                }
                Moved(has_session) => life.moved(*has_session),
                Ended(goodbye) => life.session_ended(*goodbye),
                Stop => life.stop(),
            };
            word = match duty {
                Duty::Nothing => "nothing",
                Duty::LeaveAll => "leave",
                Duty::Reconnect { .. } => "reconnect",
                Duty::End(Ok(())) => "end well",
                Duty::End(Err(_)) => "end with an error",
            };
        }
        word
    }

    #[test]
    fn what_is_owed_follows_from_what_is_left_and_what_is_wanted() {
        let replaced = || Ended(Some(Goodbye::Replaced));
        for (events, word) in [
            (vec![Connected], "nothing"),
            (vec![NotConnected], "reconnect"),
            (vec![Refused], "end with an error"),
            (vec![Connected, Ended(None)], "reconnect"),
            (vec![Connected, Ended(Some(Goodbye::Stopping))], "reconnect"),
            (vec![Connected, replaced()], "end well"),
            (vec![Connected, Ended(Some(Goodbye::Left))], "end well"),
            (vec![Stop], "end well"),
            (vec![Connected, Stop], "leave"),
            (vec![Connected, Stop, Ended(None)], "end well"),
            // A new hub takes over: the older session finishes.
            (vec![Connected, Moving, Moved(true)], "nothing"),
            (vec![Connected, Moving, Moved(true), Ended(None)], "nothing"),
            (vec![Connected, Moving, Ended(None)], "nothing"),
            (
                vec![Connected, Moving, Ended(None), Moved(false)],
                "reconnect",
            ),
            (vec![Connected, Moving, Moved(false)], "nothing"),
            // What is wanted meanwhile counts for the new session too.
            (vec![Connected, Moving, Stop, Moved(true)], "leave"),
            (
                vec![Connected, Moving, Stop, Ended(None), Moved(false)],
                "end well",
            ),
            (vec![Connected, Moving, Moved(true), replaced()], "leave"),
            (
                vec![Connected, Moving, Moved(true), replaced(), Ended(None)],
                "end well",
            ),
            (
                vec![
                    Connected,
                    Moving,
                    Moved(true),
                    replaced(),
                    Stop,
                    Ended(None),
                ],
                "end well",
            ),
        ] {
            assert_eq!(after(&events), word);
        }
    }

    #[test]
    fn pauses_grow_to_their_bound_and_no_further() {
        let mut pause = next_pause(Duration::ZERO);
        assert!(pause <= RECONNECT_PAUSE_MIN && pause >= RECONNECT_PAUSE_MIN / 2);
        for _ in 0..20 {
            pause = next_pause(pause);
            assert!(pause <= RECONNECT_PAUSE_MAX);
        }
        assert!(pause > RECONNECT_PAUSE_MAX / 2);
    }
}
