//! `slotway-loadgen`: HTTP load with latencies that an engineer would sign.
//!
//! From the command line to the figures, by file:
//!
//! ```text
//! cli ─▶ target ─▶ workload ─┐
//!        schedule ───────────┴▶ load (threads, connections, recorders) ─▶ outcome
//!                                                        noise ─▶ trust ─┤
//!                              report (terminal, HTML, .hgrm, .hlog, JSON), gate
//!                              compare (rounds, statistics, verdicts, gates)
//!                              curve (steps, search for a limit)
//! ```
//!
//! `echo` is a server of its own to measure the noise of the machine by, `environment` says
//! on what a report was made, `fill` makes requests differ (by `random` numbers), `tls` and `websocket` are for targets that speak it, `spread` orders requests by weight, `units` write figures, and every bound is in `limits`.
//!
//! An open loop sends each request at its intended time and counts latency from
//! there; a closed loop sends the next when the last is answered, so a server
//! that stalls is asked less: its figures say what throughput costs, not what
//! users on a schedule would see.
#![forbid(unsafe_code)]

pub mod cli;
pub mod compare;
pub mod curve;
pub mod echo;
pub mod environment;
pub mod fill;
pub mod gate;
pub mod limits;
pub mod load;
pub mod noise;
pub mod random;
pub mod report;
pub mod schedule;
pub mod spread;
pub mod target;
pub mod tls;
pub mod units;
pub mod websocket;
pub mod workload;
