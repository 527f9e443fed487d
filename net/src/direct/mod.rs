//! The ring of a thread, driven by this crate.
//!
//! - `runtime`: building the ring, and running a thread on it;
//! - `buffers`: the buffers that the kernel takes when bytes arrive;
//! - `operations`: what the kernel has been asked for, and what became of it;
//! - `socket`: reading from a socket, and waiting until it can be written.
//!
//! The thread is one of tokio's. Before it sleeps and when it wakes it enters the ring: that
//! submits what was asked for and takes what has arrived. While it sleeps, in the runtime's epoll,
//! an eventfd of the ring wakes it; while tasks yield, so that it does not sleep, a task of its own
//! enters the ring.

#[allow(unsafe_code)]
mod buffers;
mod operations;
#[allow(unsafe_code)]
mod runtime;
mod socket;

pub use runtime::{Failure, probe, run};
pub use socket::RingSocket;
