//! `slotway-hub`: HTTP in, shared memory through, HTTP out.
#![forbid(unsafe_code)]

pub mod cli;
mod clock;
pub mod config;
mod control;
mod events;
mod front;
pub mod http;
mod lanes;
pub mod lifecycle;
pub mod limits;
mod logging;
mod proxy;
mod reactor;
mod routing;
mod shared;
mod sse;
mod wire;
