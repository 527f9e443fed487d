//! The ring of a thread, driven by this crate.
//!
//! - `runtime`: building the ring, and running a thread on it;
//! - `buffers`: the buffers that the kernel takes when bytes arrive;
//! - `operations`: what the kernel has been asked for, and what became of it;
//! - `socket`: reading from a socket, and waiting until it can be written.
//!
//! The thread is one of tokio's. Before it sleeps it enters the ring once: that submits what
//! the turn has asked for and takes what has arrived. While it sleeps, in the runtime's epoll,
//! an eventfd of the ring wakes it.

#[allow(unsafe_code)]
mod buffers;
mod operations;
#[allow(unsafe_code)]
mod runtime;
mod socket;

pub use runtime::{Failure, probe, run};
pub use socket::RingSocket;
