//! The threads that take requests from the rings.
//!
//! [`receiver`] is such a thread, [`affinity`] keeps it close to the reactor whose requests
//! it serves, and [`serving`] is what all sessions of a worker share.

mod affinity;
pub(crate) mod receiver;
pub(crate) mod serving;
