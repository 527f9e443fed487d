//! How many requests of a route workers may have at a time, in the whole hub.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::registration::{RouteKey, RouteSpec};

/// Bounds the requests of one route. Shared by all reactors.
#[derive(Debug, Default)]
pub struct Gate {
    count_max: AtomicU32,
    count: AtomicU32,
    /// A bit for each reactor (of 64) on which requests wait.
    waiting: AtomicU64,
}

/// The gates of all routes that have one. A route keeps its gate for as long as a table or a request
/// has it.
#[derive(Debug, Default)]
pub struct Gates {
    all: HashMap<RouteKey, Weak<Gate>>,
    /// With as many, those that nothing has any more are dropped.
    prune_at: usize,
}

impl Gate {
    /// Lets a request of a reactor in, if there is room; otherwise the reactor will be told when
    /// there may be.
    pub fn enter(&self, reactor: u32) -> bool {
        if self.try_enter() {
            return true;
        }
        self.waiting.fetch_or(bit(reactor), Ordering::SeqCst);
        // Somebody may have left in between, and not have seen it.
        self.try_enter()
    }

    fn try_enter(&self) -> bool {
        let count_max = self.count_max.load(Ordering::Relaxed);
        let one_more = |count| (count < count_max).then_some(count + 1);
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// A request leaves. Says which reactors are to be told, by [`is_among`].
    pub fn leave(&self) -> u64 {
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.waiting.swap(0, Ordering::SeqCst)
    }
}

/// Whether a reactor is among those that [`Gate::leave`] has said.
pub fn is_among(waiting: u64, reactor: u32) -> bool {
    waiting & bit(reactor) != 0
}

fn bit(reactor: u32) -> u64 {
    1 << (reactor % u64::BITS)
}

impl Gates {
    /// The gate of a route, which lets in so many from now on.
    pub fn gate(&mut self, route: &RouteSpec, count_max: u32) -> Arc<Gate> {
        let key = route.key();
        let known = self.all.get(&key).and_then(Weak::upgrade);
        let gate = known.unwrap_or_else(|| {
            if self.all.len() >= self.prune_at {
                self.all.retain(|_, gate| gate.strong_count() > 0);
                self.prune_at = 2 * self.all.len() + 16;
            }
            let gate = Arc::new(Gate::default());
            self.all.insert(key, Arc::downgrade(&gate));
            gate
        });
        gate.count_max.store(count_max, Ordering::Relaxed);
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_so_many_in_and_says_who_waits() {
        let mut gates = Gates::default();
        let route = RouteSpec::for_tests("/{a}");
        let gate = gates.gate(&route, 2);
        assert!(gate.enter(0) && gate.enter(1));
        assert!(!gate.enter(1) && !gate.enter(65));
        let waiting = gate.leave();
        assert!(is_among(waiting, 1) && is_among(waiting, 65) && !is_among(waiting, 2));
        assert!(gate.enter(3), "there is room again");
        assert_eq!(gate.leave(), 0, "and nobody waits");
        // It is the same one with another bound, which holds for those to come.
        let same = gates.gate(&RouteSpec::for_tests("/{named}"), 1);
        assert!(Arc::ptr_eq(&gate, &same) && !same.enter(0));
        gate.leave();
        assert!(same.enter(0));
    }
}
