//! Where a receiving thread runs: on the core of the reactor that rings it, as
//! long as its handlers are quick.
//!
//! A quick worker has answered before the reactor's ring returns if both share
//! a core, and neither needs another wake. Left alone, the scheduler moves the
//! thread to any core that is idle for a moment, where each wake costs several
//! times as much. A slow handler needs a core of its own, so the thread is let
//! go as soon as its handlers are not quick any more, and before it polls an
//! async one.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::affinity_probe;
use crate::limits::{SLOW_HANDLER_NS, STEADY_WAKE_COUNT};
use crate::session::Session;

/// The core that one receiving thread is kept to.
pub(crate) struct Affinity {
    thread_index: u32,
    home_lane: Option<u32>,
    /// What the thread may use when it is let go.
    allowed: Option<CpuSet>,
    kept_to: Option<u32>,
    /// Where the reactor rang from last, and for how many wakes on end.
    candidate: Option<u32>,
    steady_count: u32,
}

impl Affinity {
    /// For the calling thread. `None`: it is left alone.
    pub fn new(home_lane: Option<u32>, thread_index: u32) -> Self {
        let allowed = home_lane.and_then(|_| sched_getaffinity(None).ok());
        Self {
            thread_index,
            home_lane,
            allowed,
            kept_to: None,
            candidate: None,
            steady_count: 0,
        }
    }

    /// To be called after the thread was woken.
    #[inline]
    pub fn after_wake(&mut self, session: &Session, usual_ns: u32) {
        let Some(home_lane) = self.home_lane else {
            return;
        };
        let quick = usual_ns <= SLOW_HANDLER_NS;
        let wanted = if quick {
            session.hub_cpu(home_lane)
        } else {
            None
        };
        if wanted == self.candidate {
            self.steady_count = self.steady_count.saturating_add(1);
        } else {
            self.candidate = wanted;
            self.steady_count = 0;
        }
        if wanted != self.kept_to {
            // A reactor that moves about is not chased: each move costs more
            // than the wakes it saves.
            if self.steady_count >= STEADY_WAKE_COUNT {
                self.move_to(session, wanted);
            } else if self.kept_to.is_some() {
                self.move_to(session, None);
            }
        }
    }

    /// To be called before an async handler is polled: threads that it, or the
    /// runtime for it, starts would inherit the one core, for good.
    #[inline]
    pub fn let_go(&mut self, session: &Session) {
        self.steady_count = 0;
        if self.kept_to.is_some() {
            self.move_to(session, None);
        }
    }

    #[cold]
    fn move_to(&mut self, session: &Session, wanted: Option<u32>) {
        let Some(allowed) = &self.allowed else { return };
        let mut set = *allowed;
        if let Some(cpu) = wanted {
            if (cpu as usize) >= CpuSet::MAX_CPU || !allowed.is_set(cpu as usize) {
                // The reactor runs where this process may not.
                self.home_lane = None;
                return;
            }
            set = CpuSet::new();
            set.set(cpu as usize);
        }
        if !affinity_probe::is_allowed(&set) {
            self.home_lane = None;
            return;
        }
        match sched_setaffinity(None, &set) {
            Ok(()) => {
                self.kept_to = wanted;
                session.tell_cpu(self.thread_index, wanted);
            }
            // Forbidden here: the scheduler decides, as it would have.
            Err(_) => self.home_lane = None,
        }
    }
}
