//! Clients of event streams: they stay connected and are pushed events.
//!
//! [`stream`] is a connection that serves one client, on its reactor; [`notify`] tells the
//! worker of an SSE route that a client has come or gone.

mod notify;
pub mod stream;
