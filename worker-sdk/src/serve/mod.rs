//! The threads that take requests from the rings.
//!
//! [`receiver`] is such a thread, [`affinity`] keeps it close to the reactor whose requests
//! it serves (`affinity_probe` says whether it may), and [`serving`] is what all sessions of a worker share.

mod affinity;
#[allow(unsafe_code)]
mod affinity_probe;
pub(crate) mod receiver;
pub(crate) mod serving;
