//! Notices completions that wait though the worker should have rung for them.

use std::cell::Cell;

use crate::limits::LOST_WAKE_TIME;

/// What was seen of one lane's completion ring.
#[derive(Debug, Default)]
pub struct LostWakes {
    /// Head of the ring when a completion was first seen waiting there, and when that was.
    waiting_since: Cell<Option<(u32, u64)>>,
}

impl LostWakes {
    /// Whether the same completion has been waiting for [`LOST_WAKE_TIME`]. `head` is the
    /// head of the ring, if anything waits there.
    pub fn is_lost(&self, head: Option<u32>, now_ms: u64) -> bool {
        let Some(head) = head else {
            self.waiting_since.set(None);
            return false;
        };
        match self.waiting_since.get() {
            Some((seen, since_ms)) if seen == head => {
                let lost = now_ms.saturating_sub(since_ms) >= LOST_WAKE_TIME.as_millis() as u64;
                if lost {
                    self.waiting_since.set(None);
                }
                lost
            }
            _ => {
                self.waiting_since.set(Some((head, now_ms)));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_lost_when_the_same_completion_waits_for_long() {
        let time_ms = LOST_WAKE_TIME.as_millis() as u64;
        let wakes = LostWakes::default();
        assert!(!wakes.is_lost(Some(1), 0));
        assert!(!wakes.is_lost(Some(1), time_ms - 1));
        assert!(!wakes.is_lost(Some(2), time_ms), "it has moved on");
        assert!(!wakes.is_lost(None, 2 * time_ms));
        assert!(!wakes.is_lost(Some(2), 2 * time_ms), "it came again");
        assert!(wakes.is_lost(Some(2), 3 * time_ms));
    }
}
