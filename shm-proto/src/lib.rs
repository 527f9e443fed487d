//! What `slotway-hub` and its workers agree on.
//!
//! A session between the hub and one worker is two shared regions, one written
//! by the hub, one by the worker, and no byte has two writers:
//!
//! ```text
//!              requests region (hub writes)
//!            ┌────────────────────────────────┐
//!            │ submission ring · slots · words │──────▶ worker reads in place
//!  hub ─────▶│ doorbell futex of each thread   │
//!            └────────────────────────────────┘
//!            ┌────────────────────────────────┐
//!  hub   ◀───│ completion ring · slots · words │◀────── worker
//!  copies,   │ sleep epoch of each thread      │
//!  checks    └────────────────────────────────┘
//!              responses region (worker writes)     eventfd per lane ──▶ hub
//! ```
//!
//! A request is a head and its bytes in a slot, then an entry in the submission
//! ring; a response is a head and its bytes in the same slot of the other
//! region, then an entry in the completion ring. Bodies that do not fit their
//! arena stream through it as a byte ring.
//!
//! Reading order: [`layout`] (the map), [`geometry`] (where what lies, with `offsets`), [`limits`], [`ring`], [`doorbell`],
//! [`tagged`] (words of one use of a slot), [`byte_ring`] (bodies that stream), [`claim`]
//! (whether a request was begun), [`field`], [`trailers`] (fields behind a body), [`packet`], [`message`] (how a worker
//! attaches), [`registration`], [`upgrade`] (client sockets that are handed over), [`file_body`] (files that are handed over), [`admin`] (how a hub is asked), [`accounts`] (users by name), [`api`] (the documents of HTTP), `message_head` and `method`; then the files with unsafe code, [`memory`], [`region`] and
//! [`credentials`].
//! `atomic` is the door to std's or loom's atomics; `just loom` checks the
//! protocol with the latter (`tests/loom.rs`).

#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod accounts;
#[cfg(not(loom))]
pub mod admin;
#[cfg(not(loom))]
pub mod api;
pub mod atomic;
pub mod byte_ring;
pub mod claim;
#[cfg(not(loom))]
#[allow(unsafe_code)]
pub mod credentials;
pub mod doorbell;
pub mod field;
#[cfg(not(loom))]
pub mod file_body;
#[cfg(not(loom))]
pub mod geometry;
#[cfg(not(loom))]
pub mod layout;
pub mod limits;
#[cfg(not(loom))]
#[allow(unsafe_code)]
pub mod memory;
#[cfg(not(loom))]
pub mod message;
#[cfg(not(loom))]
mod message_head;
mod method;
#[cfg(not(loom))]
mod offsets;
#[cfg(not(loom))]
pub mod packet;
#[cfg(not(loom))]
#[allow(unsafe_code)]
pub mod region;
#[cfg(not(loom))]
pub mod registration;
pub mod ring;
pub mod tagged;
#[cfg(not(loom))]
pub mod trailers;
#[cfg(not(loom))]
pub mod upgrade;

pub use byte_ring::{BodyEnd, ByteRing};
pub use method::Method;

#[cfg(not(target_os = "linux"))]
compile_error!("Slotway runs on Linux only: it stands on memfd seals, futexes and io_uring");
