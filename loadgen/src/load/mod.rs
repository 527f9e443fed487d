//! Making the load. The way of a request, by file:
//!
//! ```text
//! pacer ─▶ thread ─▶ connection ─▶ response (chunked, server_timing) ─▶ recorder
//! ```
//!
//! A thread has its connections, each a local task; what its recorder has
//! gathered goes to `run`, which merges the threads' intervals.

mod chunked;
mod connection;
mod errors;
mod pacer;
mod recorder;
mod response;
pub mod run;
mod self_watch;
mod server_timing;
mod thread;

pub use errors::{ErrorKind, Errors};
pub use recorder::{Interval, new_histogram};
pub use run::{Observer, Outcome, Plan, RunFailure, Stop, run};
pub use server_timing::PHASE_NAMES;
