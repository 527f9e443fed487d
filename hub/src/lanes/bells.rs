//! Who is woken when: the worker's threads by this side, and this side by the worker.

use slotway_shm_proto::atomic::Ordering;
use slotway_shm_proto::doorbell::{Ringer, SleepEpoch, ring_futex};

use crate::lanes::lane::Lane;
use crate::lanes::violation::Violation;
use crate::routing::session::Session;

impl Lane {
    /// Rings as many sleeping threads of the worker as have something to do. Says whether one of
    /// them is kept to this core, and so waits until the reactor leaves it.
    pub fn ring_bells(&self) -> bool {
        let mut left = std::mem::take(&mut self.inner.borrow_mut().unrung_count);
        let mut shares_core = false;
        Ringer::after_publishing();
        for (thread_index, ringer) in self.session.ringers.iter().enumerate() {
            if left == 0 {
                break;
            }
            let Session {
                geometry, regions, ..
            } = &*self.session;
            let line = geometry.thread_line(thread_index as u32);
            if ringer.must_ring(regions.responses.u32_at(line)) {
                let cpu = self.tell_cpu();
                ring_futex(regions.requests.u32_at(line));
                self.recorder.rang(1);
                left -= 1;
                let kept_to = regions
                    .responses
                    .u32_at(geometry.thread_cpu(thread_index as u32));
                shares_core |= kept_to.load(Ordering::Relaxed) == cpu;
            }
        }
        shares_core
    }

    /// Says where this reactor runs: a worker whose handlers are quick does
    /// best on the same core. Returns what it says.
    fn tell_cpu(&self) -> u32 {
        let cpu = rustix::thread::sched_getcpu() as u32 + 1;
        let word = self.session.regions.requests.u32_at(self.offsets.hub_cpu);
        if word.load(Ordering::Relaxed) != cpu {
            word.store(cpu, Ordering::Relaxed);
        }
        cpu
    }

    /// From here on the reactor looks for completions by itself, and the
    /// worker need not ring.
    pub fn stay_awake(&self) {
        if self.asleep.replace(false) {
            self.sleep_epoch().awake();
        }
    }

    /// From here on the worker must ring. What it published before it could
    /// know is taken now.
    pub fn fall_asleep(&self) -> Result<(), Violation> {
        if !self.asleep.replace(true) {
            self.sleep_epoch().announce();
        }
        self.drain()?;
        Ok(())
    }

    fn sleep_epoch(&self) -> SleepEpoch<'_> {
        SleepEpoch(self.session.regions.requests.u32_at(self.offsets.hub_sleep))
    }
}
