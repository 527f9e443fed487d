//! Sockets and bells. Only the files of this module name an I/O engine; all
//! else awaits [`Stream`], [`Listener`] and [`Bell`].
//!
//! Rules that the engine sets and this module keeps: an operation that has
//! been started is awaited, never dropped, since the kernel may still write to
//! its buffer; who gives up waiting shuts the socket down and awaits the end.

mod bell;
pub mod bind;
#[allow(unsafe_code)]
mod readable;
#[allow(unsafe_code)]
mod send_now;
mod uring;

pub use bell::Bell;
pub use readable::readable;

pub use uring::{EngineError, Listener, Stream, run};

/// Name of the engine, for the start line.
pub const ENGINE: &str = "io_uring";
