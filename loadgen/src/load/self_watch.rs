//! What the generator does wrong by itself: a thread that does not get to run,
//! and how busy it is.

use std::cell::Cell;

use crate::limits::LAG_PROBE_NS;

/// Notices when a thread has not run for a while. A probe makes sure that it has
/// something to do every few milliseconds, so a longer gap is a stall of its own.
#[derive(Debug, Default)]
pub struct SelfWatch {
    last_ns: Cell<u64>,
    stall: Cell<(u64, u64)>,
}

impl SelfWatch {
    /// The thread runs now.
    #[inline]
    pub fn note(&self, now_ns: u64) {
        let last_ns = self.last_ns.replace(now_ns);
        if last_ns > 0 && now_ns.saturating_sub(last_ns) > 2 * LAG_PROBE_NS {
            self.stall.set((last_ns + LAG_PROBE_NS, now_ns));
        }
    }

    /// How much of the time from `due_ns` to `now_ns` the last stall took.
    pub fn stalled_ns(&self, due_ns: u64, now_ns: u64) -> u64 {
        let (from_ns, to_ns) = self.stall.get();
        to_ns.min(now_ns).saturating_sub(from_ns.max(due_ns))
    }
}

/// Time of a thread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// On a core.
    pub cpu_ns: u64,
    /// On a core, or waiting for one.
    pub busy_ns: u64,
}

impl Usage {
    /// Of this thread, so far: its CPU time and run-queue delay, from
    /// /proc/thread-self/schedstat where the kernel has it.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let cpu_ns = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let delay = text
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse::<u64>().ok());
        Self {
            cpu_ns,
            busy_ns: cpu_ns + delay.unwrap_or(0),
        }
    }

    /// Since an earlier moment.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            busy_ns: self.busy_ns.saturating_sub(before.busy_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_stall_and_what_it_delayed_is_charged_to_it() {
        let watch = SelfWatch::default();
        let start = 1_000_000_000;
        watch.note(start);
        watch.note(start + LAG_PROBE_NS);
        assert_eq!(watch.stalled_ns(start, start + LAG_PROBE_NS), 0);
        let end = start + LAG_PROBE_NS + 100_000_000;
        watch.note(end);
        assert_eq!(watch.stalled_ns(end - 40_000_000, end + 5), 40_000_000);
        assert_eq!(watch.stalled_ns(end + 1, end + 5), 0);
        assert_eq!(watch.stalled_ns(0, end), 95_000_000);
    }

    #[test]
    fn a_thread_that_computes_is_busy() {
        let before = Usage::now();
        let mut sum = 0_u64;
        while Usage::now().since(before).cpu_ns < 2_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let usage = Usage::now().since(before);
        assert!(usage.busy_ns >= usage.cpu_ns && sum > 0);
    }
}
