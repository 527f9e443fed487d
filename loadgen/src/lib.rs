//! `slotway-loadgen`: closed-loop HTTP load with HDR histograms.
//!
//! `target` (what a URL means) → `client` (one keep-alive connection) →
//! `closed_loop` (N of them, for a time) → `report` (table and histogram).
//!
//! A closed loop sends the next request when the last is answered, so a server
//! that stalls is asked less: its figures say what throughput costs, not what
//! users on a schedule would see.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod closed_loop;
pub mod limits;
pub mod report;
pub mod target;
