//! Services of tower, such as an axum `Router`, as handlers: [`service`] calls them, with
//! [`body`] as the type of their requests' bodies.

pub(crate) mod body;
pub(crate) mod service;
