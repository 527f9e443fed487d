//! Server-Sent Events (WHATWG HTML, section 9.2): clients that stay connected and are
//! pushed events.
//!
//! `event` writes an event as clients read it, `feed` is one client's bounded buffer,
//! `memory` bounds them all, and `registry` knows all clients by what they listen to;
//! they are shared between threads, since an event may come in anywhere. `stream` is a
//! connection that serves one client, on its reactor, which `route_changes` wakes when its
//! workers are others, and `lifecycle` tells the route's worker that clients come and go.

pub mod event;
pub mod feed;
mod lifecycle;
pub mod memory;
pub mod registry;
pub mod route_changes;
mod stream;
