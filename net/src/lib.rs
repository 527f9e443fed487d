//! Sockets, bells and timers on `io_uring` or epoll. The hub and the load
//! generator are written against this crate, and only its files name an engine.
//!
//! - `engine`: which engine, why not the other, and running a thread on it;
//! - `direct`: the ring of a thread, driven by this crate;
//! - `uring`: the same on tokio-uring, and why a system refuses a ring;
//! - `address`, `connect`, `listener`: how connections come about. They are the
//!   same on all engines, on the runtime's epoll, since connections are few
//!   and requests are many;
//! - `passed`: sockets that the service manager has opened;
//! - `socket`: calls on a socket outside the engines; `stream`: reading and writing, which is where the engines differ;
//! - `local_peer`: what this host knows of the other end of a connection within it;
//! - `hangup`: noticing that a peer leaves while nothing is read from it;
//! - `readable`: waiting until a descriptor can be read;
//! - `bell`: an eventfd that another process rings; `timer`: waking at a
//!   nanosecond.
//!
//! A rule that the ring sets and this crate keeps: an operation that has been
//! started is awaited, never dropped, since the kernel may still write to its
//! buffer; who gives up waiting shuts the socket down and awaits the end.
#![deny(unsafe_code)]

mod address;
mod bell;
mod connect;
mod direct;
mod engine;
mod hangup;
mod listener;
mod local_peer;
#[allow(unsafe_code)]
mod passed;
#[allow(unsafe_code)]
mod readable;
#[allow(unsafe_code)]
mod socket;
mod stream;
mod timer;
mod uring;

pub use address::{Address, Peer};
pub use bell::Bell;
pub use connect::connect;
pub use engine::{Chosen, Engine, IoChoice, RunError, choose, run};
pub use hangup::{Hangup, Hangups};
pub use listener::Listener;
pub use local_peer::{LocalPeer, LocalPeers};
pub use passed::take_passed;
pub use readable::{Watched, readable};
pub use socket::bound_unsent_bytes;
pub use stream::Stream;
pub use timer::{Timer, monotonic_ns};
pub use uring::Refusal;
