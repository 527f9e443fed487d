//! The shared memory between one reactor and one worker, as the hub holds it.
//!
//! A [`lane`] is one reactor's part of one session: rings, slots, arenas. [`slot`] is what
//! each slot is in (its [`phase`]), [`exchange`] one request's hold on a slot, [`response_head`] the check of
//! what a worker has written, [`streams`] the slots that bodies at a client's
//! pace may hold, [`violation`] how a worker can break the protocol, [`queue`] where requests wait for a slot, `bells` wake either side, and [`lost_wakes`] notices a bell that was not
//! rung. `simulation` runs a lane against a worker
//! that may crash at any step.

mod bells;
pub mod exchange;
pub mod lane;
mod lost_wakes;
pub mod phase;
pub mod queue;
pub mod response_head;
#[cfg(test)]
pub mod simulation;
pub mod slot;
pub mod streams;
pub mod violation;
