//! A request's place among those of its route that workers may have at a time.

use std::rc::Rc;
use std::sync::Arc;

use crate::lanes::queue::RouteQueues;
use crate::reactor::lanes::Lanes;
use crate::routing::concurrency::{Gate, is_among};
use crate::routing::registration::RouteSpec;
use crate::shared::Shared;

/// The place; given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    route: RouteSpec,
    queue: Rc<RouteQueues>,
    shared: Arc<Shared>,
    reactor: u32,
}

impl Turn {
    /// Whether it is one of this gate.
    pub fn is_of(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.gate, gate)
    }

    /// A place, if there is one.
    pub fn take(lanes: &Lanes, gate: &Arc<Gate>, route: &RouteSpec) -> Option<Self> {
        gate.enter(lanes.index).then(|| Self {
            gate: Arc::clone(gate),
            route: route.clone(),
            queue: Rc::clone(&lanes.turn_queue),
            shared: Arc::clone(&lanes.shared),
            reactor: lanes.index,
        })
    }
}

/// Lets the first of each queue try when a request on another reactor has ended; never ends.
pub async fn follow(lanes: Rc<Lanes>) {
    loop {
        lanes.shared.turn_wakes[lanes.index as usize]
            .notified()
            .await;
        lanes.turn_queue.grant_first_of_each();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let waiting = self.gate.leave();
        self.queue.slot_freed(std::slice::from_ref(&self.route));
        if waiting == 0 {
            return;
        }
        let wakes = (0..).zip(&self.shared.turn_wakes);
        for (reactor, wake) in wakes {
            if reactor != self.reactor && is_among(waiting, reactor) {
                wake.notify_one();
            }
        }
    }
}
