//! `slotway-hub`: HTTP in, shared memory through, HTTP out.
//!
//! The rooms of the house, from the top floor down. A line imports from floors below its
//! own, never from above:
//!
//! ```text
//! parts       pieces of a request's way, for counting their instructions (in tests alone)
//! cli         the command line
//! lifecycle   starts, stops and replaces the hub; binds its sockets; a thread per reactor
//! front       accepts a client, reads a head, decides which part of the hub answers
//! sse         clients of event streams, and telling their workers of them
//! proxy       a request through a slot: dispatch, upload, reply, download, retry
//! wire        one connection as bytes, and the request that is read from it
//! control     registers and attaches workers, swaps the route table
//! status      what those see who operate the hub: metrics, a page, reports
//! reactor     what the connections of one thread share: lanes, deadlines, buffers
//! shared      what all threads share: counters, admission, access, messages
//! config      flags           events   events on their way to clients
//! http        heads and bodies as bytes; no I/O
//! lanes       slots, rings and arenas between one reactor and one worker
//! routing     from a path to the workers that serve it
//! access_log  a line for each request
//! logging     a log that never blocks and is never flooded      clock   coarse time
//! blocking    what blocks, on a thread of its own      foreign_fd   descriptors of workers
//! decimal     numbers as text
//! metrics     what each reactor counts
//! limits      every bound and default
//! ```
//!
//! A request goes down the ladder once and comes up once, by a waker:
//!
//! ```text
//! front/listener ▶ front/connection ▶ http/scan, http/head ▶ front/request ▶ proxy/dispatch
//!    ▶ routing/table, proxy/reserve, lanes/exchange ▶ proxy/fill ▶ reactor/lanes ▶ (worker)
//!    ▶ reactor/completion ▶ lanes/slot ▶ proxy/reply ▶ lanes/response_head, http/encode
//!    ▶ wire/bytes ▶ front/connection
//! ```
//!
//! Each reactor thread has its own listener socket, connections, and one lane of every
//! session, so nothing on this way is shared between threads. Only the crate `slotway-net`
//! knows the I/O engines. `docs/design.md` says why it is built so; `tests/tests/tidy.rs`
//! keeps the floors.
#![forbid(unsafe_code)]

mod access_log;
mod blocking;
pub mod cli;
mod clock;
pub mod config;
mod control;
mod decimal;
mod events;
mod foreign_fd;
mod front;
pub mod http;
mod lanes;
pub mod lifecycle;
pub mod limits;
mod logging;
mod metrics;
#[cfg(test)]
mod parts;
mod proxy;
mod reactor;
mod routing;
mod shared;
mod sse;
mod status;
mod wire;
