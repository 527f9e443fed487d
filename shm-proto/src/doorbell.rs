//! Sleep and wake, by one rule on both sides.
//!
//! ```text
//! sleeper                               ringer
//!   announce (epoch becomes odd)          publish
//!   fence(SeqCst)                         fence(SeqCst)
//!   look again                            look at the sleeper's epoch
//!   sleep                                 odd, and not rung for it yet: ring
//!   awake (epoch becomes even)
//! ```
//!
//! Of the two fences one comes first: either the sleeper's second look sees
//! what was published, or the ringer sees the announcement. Since each
//! announcement has an epoch of its own, a sleep is rung once, however many
//! messages follow.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
#[cfg(not(loom))]
use std::time::Duration;

use crate::atomic::{AtomicU32, Ordering, OwnU32, PeerU32, fence};

/// The sleeper's side of an epoch word.
#[derive(Clone, Copy)]
pub struct SleepEpoch<'m>(pub OwnU32<'m>);

impl SleepEpoch<'_> {
    /// Says that the caller is about to sleep. It must look for work once more
    /// before it does.
    #[inline]
    pub fn announce(self) {
        let epoch = self.0.load(Ordering::Relaxed);
        debug_assert!(epoch & 1 == 0, "announced twice");
        self.0.store(epoch.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller looks for work by itself again.
    #[inline]
    pub fn awake(self) {
        let epoch = self.0.load(Ordering::Relaxed);
        debug_assert!(epoch & 1 == 1, "was not asleep");
        self.0.store(epoch.wrapping_add(1), Ordering::Relaxed);
    }
}

/// The ringer's side: remembers for which epoch the bell was rung. Threads of
/// one process may share it.
#[derive(Debug)]
pub struct Ringer {
    rung: AtomicU32,
}

impl Default for Ringer {
    fn default() -> Self {
        Self {
            rung: AtomicU32::new(0),
        }
    }
}

impl Ringer {
    /// Orders what the caller has published before the look at the epoch;
    /// one call serves any number of [`Ringer::must_ring`] after it.
    #[inline]
    pub fn after_publishing() {
        fence(Ordering::SeqCst);
    }

    /// Whether the caller has to ring: the other side sleeps and nobody has
    /// rung for this sleep.
    #[inline]
    #[must_use]
    pub fn must_ring(&self, sleeper: PeerU32<'_>) -> bool {
        let epoch = sleeper.load(Ordering::Acquire);
        if epoch & 1 == 0 {
            return false;
        }
        let rung = self.rung.load(Ordering::Relaxed);
        // Who loses the exchange need not ring: the winner does, and what the
        // loser published comes before the sleeper's next announcement.
        rung != epoch
            && self
                .rung
                .compare_exchange(rung, epoch, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// How a wait on a doorbell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Rung, or the word had changed before.
    Rung,
    /// Nobody rang in time.
    TimedOut,
}

/// Rings a worker thread: changes its futex word and wakes it (futex(2)). A wake that the
/// system refuses is one that the worker does without: it looks again by itself.
#[cfg(not(loom))]
pub fn ring_futex(bell: OwnU32<'_>) {
    bell.word().fetch_add(1, Ordering::Release);
    let _ = wake(bell.word(), 1);
}

/// On words that processes share: a private futex never crosses them.
#[cfg(not(loom))]
fn wake(word: &AtomicU32, count: u32) -> rustix::io::Result<usize> {
    use rustix::thread::futex;
    futex::wake(word, futex::Flags::empty(), count)
}

/// Sleeps until the word is no longer `seen` or `timeout` has passed. Works on
/// a word that is mapped read-only.
#[cfg(not(loom))]
pub fn wait_futex(bell: PeerU32<'_>, seen: u32, timeout: Duration) -> Wake {
    use linux_futex::{AsFutex, Futex, Shared, TimedWaitError};
    let futex: &Futex<Shared> = bell.word().as_futex();
    match futex.wait_for(seen, timeout) {
        // An interrupted wait is a wake too many, which every sleeper bears.
        Ok(()) | Err(TimedWaitError::WrongValue | TimedWaitError::Interrupted) => Wake::Rung,
        Err(TimedWaitError::TimedOut) => Wake::TimedOut,
    }
}

/// Wakes threads of this process that wait on a word they cannot write.
#[cfg(not(loom))]
pub fn nudge_futex(bell: PeerU32<'_>) {
    // They look by themselves before long.
    let _ = wake(bell.word(), i32::MAX.cast_unsigned());
}

/// Makes the eventfd by which a worker rings one lane of the hub (eventfd(2)).
/// It blocks: a hub reactor reads it through its ring.
pub fn new_eventfd() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(
        0,
        rustix::event::EventfdFlags::CLOEXEC,
    )?)
}

/// Rings a lane of the hub. A full counter means that it has been rung.
pub fn ring_eventfd(eventfd: impl AsFd) -> io::Result<()> {
    match rustix::io::write(eventfd, &1_u64.to_ne_bytes()) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_rung_once_and_the_next_sleep_again() {
        let word = AtomicU32::new(0);
        let sleep = SleepEpoch(OwnU32::new(&word));
        let ringer = Ringer::default();
        assert!(!ringer.must_ring(PeerU32::new(&word)));
        for _ in 0..3 {
            sleep.announce();
            assert!(ringer.must_ring(PeerU32::new(&word)));
            assert!(!ringer.must_ring(PeerU32::new(&word)));
            sleep.awake();
            assert!(!ringer.must_ring(PeerU32::new(&word)));
        }
    }

    #[test]
    #[cfg_attr(
        miri,
        ignore = "futex waits of another process's scope are foreign to Miri"
    )]
    fn a_wait_returns_at_once_when_the_bell_was_rung_before_it() {
        let bell = AtomicU32::new(0);
        ring_futex(OwnU32::new(&bell));
        assert_eq!(
            wait_futex(PeerU32::new(&bell), 0, Duration::from_mins(1)),
            Wake::Rung
        );
        assert_eq!(
            wait_futex(PeerU32::new(&bell), 1, Duration::from_millis(1)),
            Wake::TimedOut
        );
    }
}
