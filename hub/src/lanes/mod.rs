//! A session's lanes. For now only what is new lives here.

pub mod streams;
