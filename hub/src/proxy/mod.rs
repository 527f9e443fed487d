//! A request through a slot: from a parsed head to the worker's response on the socket.
//!
//! [`fill`] writes a request into its slot, [`wait`] is what happens when there is none,
//! [`upload`] and [`download`] are bodies that stream, [`reply`] awaits and sends the
//! response, and [`retry`] gives what a dead worker had not begun to another.

pub mod download;
pub mod fill;
pub mod reply;
pub mod retry;
pub mod upload;
pub mod wait;
