//! Events on their way to the clients that listen to them (Server-Sent Events, WHATWG
//! HTML, section 9.2).
//!
//! [`frame`] writes an event as clients read it, [`feed`] is one client's bounded buffer,
//! [`memory`] bounds all of them, and [`registry`] knows the clients by what they listen
//! to. All of it is shared between threads, since an event may come in on any of them.

pub mod feed;
pub mod frame;
pub mod memory;
pub mod registry;
