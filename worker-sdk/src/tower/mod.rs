//! Services of tower, such as an axum `Router`, as workers: [`service`] calls them, with
//! [`body`] as the type of their requests' bodies.

pub(crate) mod body;
pub(crate) mod service;
