//! What the reactors count. Each has a [`recorder`] of its own, whose numbers ([`counter`],
//! [`histogram`]) only its thread writes and any thread may read: recording takes no lock, no
//! allocation and no instruction that other processors notice. A reader adds the reactors'
//! numbers up.
//!
//! [`route`] says under which route a request is counted: its pattern, never its path.

pub mod counter;
pub mod histogram;
pub mod recorder;
pub mod route;
