//! One client's connection as bytes, and the request that is being read from it.

pub mod body;
