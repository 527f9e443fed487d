//! What may happen without end, and is said once in a while with how often it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When it was said last, and how often it has happened since.
#[derive(Debug, Default)]
pub struct SeldomWord {
    /// On the coarse clock; 0: never.
    said_ms: AtomicU64,
    count: AtomicU64,
}

impl SeldomWord {
    /// It has happened. `Some`, if it is to be said: how often it has since it was said last.
    pub fn note(&self, now_ms: u64, interval: Duration) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let said_ms = self.said_ms.load(Ordering::Relaxed);
        let is_due = said_ms == 0 || now_ms >= said_ms + interval.as_millis() as u64;
        let is_first = || {
            let now_ms = now_ms.max(1);
            let taken = self.said_ms.compare_exchange(
                said_ms,
                now_ms,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            taken.is_ok()
        };
        (is_due && is_first()).then(|| self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_once_in_each_interval_with_how_often_it_has_happened() {
        let word = SeldomWord::default();
        let minute = Duration::from_secs(60);
        assert_eq!(word.note(1000, minute), Some(1));
        assert_eq!(word.note(1000, minute), None);
        assert_eq!(word.note(60_999, minute), None);
        assert_eq!(word.note(61_000, minute), Some(3));
        assert_eq!(word.note(61_001, minute), None);
    }
}
