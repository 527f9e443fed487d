//! `slotway-hub`: HTTP in, shared memory through, HTTP out.
//!
//! The way of a request, by file:
//!
//! ```text
//! listener ─▶ connection ─▶ http/parse ─▶ request ─▶ route ─▶ dispatch ──▶ slot in
//!                 ▲                       (body)              (upload)     shared memory
//!                 │                                                           │ worker
//!                 └───── http/encode ◀──── reply ◀── answer ◀── completion ◀──┘
//!                                       (download)
//! ```
//!
//! Each reactor thread (`reactor`) has its own listener socket, connections,
//! and one `lane` of every session, so nothing on this way is shared between
//! threads. What a lane's slots are in is told by `slot`; one request's hold on
//! a slot is an `exchange`.
//!
//! `route` is the table of all routes, `routing` the patterns and the tree in it.
//! `wait_room` is where requests wait for a slot (`queue`), `retry` gives what a dead
//! worker had not begun to another, `lookout` notices clients that leave, `ping`
//! workers that stand still. `upgrade` and `handover` replace the hub by a new one.
//!
//! `sse` is event streams: clients that stay, and are pushed events by workers.
//!
//! `access` says who may ask for what, `cors` which web pages may read answers.
//! `admission` says whether another connection may come, `watch` until when each
//! is waited for, `http/forwarded` whom a trusted proxy speaks for.
//!
//! The control thread (`control`) registers and attaches workers, watches
//! them, and swaps the route table; `session` and `shared` are what it shares
//! with the reactors. `hub` starts and stops it all, `cli` is the command line.
//!
//! Only the crate `slotway-net` knows the I/O engines. Every bound is in `limits`.
#![forbid(unsafe_code)]

mod access;
mod admission;
mod answer;
mod bind;
mod body;
pub mod cli;
mod clock;
mod completion;
pub mod config;
mod connection;
mod control;
mod cors;
mod dispatch;
mod download;
mod exchange;
mod handover;
pub mod http;
pub mod hub;
mod inspection;
mod instrumentation;
mod lane;
mod lanes;
mod lifecycle;
pub mod limits;
mod listener;
mod local_answer;
mod logging;
mod lookout;
mod ping;
mod queue;
mod reactor;
mod reply;
mod request;
mod retry;
mod route;
mod routing;
mod session;
mod shared;
#[cfg(test)]
mod simulation;
mod slot;
mod sse;
mod unix_socket;
mod upgrade;
mod upload;
mod wait_room;
mod watch;
