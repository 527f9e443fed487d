//! Waking at a nanosecond. The runtime's own timers count milliseconds.

use std::io;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::readable::{Watched, readable};

/// Nanoseconds on `CLOCK_MONOTONIC`, which [`Timer`] counts in.
#[inline]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// One alarm, by `timerfd_create(2)`: not subject to the timer slack that
/// rounds timeouts of epoll (prctl(2)).
///
/// The descriptor is watched edge-triggered and never read: every expiry is an
/// event of its own, and setting the alarm anew clears the count.
pub struct Timer {
    timerfd: Watched,
}

impl Timer {
    /// A timer that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            timerfd: readable(timerfd_create(TimerfdClockId::Monotonic, flags)?)?,
        })
    }

    /// Sets the alarm, in place of an earlier one. A moment that has passed
    /// rings at once.
    pub fn set(&self, at_ns: u64) -> io::Result<()> {
        // Zero would mean "never" (timerfd_settime(2)).
        let at_ns = at_ns.max(1);
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let alarm = Itimerspec {
            it_interval: none,
            it_value: Timespec {
                tv_sec: (at_ns / 1_000_000_000).cast_signed(),
                tv_nsec: (at_ns % 1_000_000_000).cast_signed(),
            },
        };
        timerfd_settime(&self.timerfd, TimerfdTimerFlags::ABSTIME, &alarm)?;
        Ok(())
    }

    /// Waits for the alarm. May ring early if the alarm has been set anew.
    pub async fn rung(&self) -> io::Result<()> {
        self.timerfd.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, run};

    #[test]
    fn an_alarm_never_rings_early_and_can_be_set_again_and_again_on_each_engine() {
        for engine in Engine::ALL {
            run(engine, async {
                let timer = Timer::new().unwrap();
                for step_ns in [0, 150_000, 20_000, 1_000_000] {
                    let at_ns = monotonic_ns() + step_ns;
                    timer.set(at_ns).unwrap();
                    timer.rung().await.unwrap();
                    assert!(monotonic_ns() >= at_ns);
                }
            })
            .unwrap();
        }
    }
}
