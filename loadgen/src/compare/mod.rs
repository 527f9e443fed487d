//! Comparing targets: short rounds, interleaved (A B B A …), so that a machine
//! that gets slower meanwhile makes all of them slower; ratios with confidence
//! intervals from the rounds; a verdict in words.
//!
//! `process` (a target's command) and `rounds` (measuring) → `statistics`
//! (ratios) → `verdict` (words) → `render` (table, page, JSON) and `gate` (the exit
//! code of a build); `baseline` keeps rounds for another day.

pub mod baseline;
pub mod gate;
pub mod process;
pub mod render;
pub mod rounds;
pub mod statistics;
pub mod verdict;
