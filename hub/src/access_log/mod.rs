//! The access log: a line for each request that has ended.
//!
//! A reactor puts a [`record`] into a ring of its own ([`producer`]) and goes on; a thread
//! takes records out, makes lines of their [`fields`] in one of the [`format`]s, and writes
//! them ([`writer`]) to its [`sink`]. A ring that is full loses records, which are counted and
//! told of.

pub mod fields;
mod format;
pub mod producer;
pub mod record;
mod sink;
pub mod writer;
