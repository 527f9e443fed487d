//! Clients of event streams: they stay connected and are pushed events.
//!
//! [`stream`] is a connection that serves one client, on its reactor, and [`send`] writes to
//! it; [`subscriber`] is such a client of a worker's route, [`notify`] tells the worker that
//! it has come or gone, [`notice`] says how far that has got, and [`ownership`] which worker
//! knows of it.

mod notice;
mod notify;
mod ownership;
mod send;
pub mod stream;
mod subscriber;
