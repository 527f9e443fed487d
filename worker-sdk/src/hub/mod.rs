//! Talking to a hub: [`register`] over HTTP (with [`client`]), and [`attach`] at its Unix
//! socket, which registers in one go where it can.

pub(crate) mod attach;
pub(crate) mod client;
pub(crate) mod register;
