//! How a hub comes up and goes down. For now only what is new lives here.

pub mod blocking;
pub mod file_lock;
