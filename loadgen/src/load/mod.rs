//! Making the load. The way of a request, by file:
//!
//! ```text
//! pacer ─▶ thread ─▶ connection ─▶ response (chunked, server_timing) ─▶ recorder
//! ```
//!
//! Event streams go by `follow` instead, with an `event_reader`, to `streams`.
//!
//! A thread has its connections, each a local task with a `place` of its own; what its recorder has
//! gathered goes to `collect`, which merges the threads' intervals into an
//! `outcome`. `plan` is what to do, `setup` a thread's part of it, `opening` opens its connections (each a `transport`), `message` what threads say; `supervise` looks after timeouts, intervals and the end; `run` starts
//! it all. `errors` are what can go wrong with a request, `statuses` counts what came, `groups` tells latencies apart, `steps` sorts latencies for drawings, and `self_watch` says what the
//! generator itself takes, `disturbance` what others take from it.

mod chunked;
mod collect;
mod connection;
pub mod disturbance;
mod errors;
mod event_reader;
mod follow;
pub mod groups;
mod message;
mod opening;
pub mod outcome;
mod pacer;
mod place;
pub mod plan;
mod recorder;
mod response;
pub mod run;
mod self_watch;
mod server_timing;
mod setup;
mod statuses;
pub mod steps;
pub mod streams;
mod supervise;
mod thread;
mod transport;

pub use errors::{ErrorKind, Errors};
pub use outcome::{Outcome, Point};
pub use plan::{Length, Observer, Plan, Stop};
pub use recorder::{Interval, new_histogram};
pub use run::{RunFailure, run};
pub use server_timing::PHASE_NAMES;
pub use statuses::Statuses;
