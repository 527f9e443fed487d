//! Talking to a hub: [`attach`] at its Unix socket, which registers in one go where it can,
//! and [`register`] over HTTP, with [`client`] ([`url`] says where the hub is, `trusted_users` whose it may be, and a
//! [`connection`] has one request after the other).

pub(crate) mod attach;
pub(crate) mod client;
mod connection;
pub(crate) mod register;
pub(crate) mod trusted_users;
pub(crate) mod url;
