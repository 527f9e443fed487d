//! Latency over rate: the highest rate that holds a goal, and the picture of what comes before
//! and after it.
//!
//! `step` measures one rate and judges it by a `goal`; `search` looks for the limit; `knee` finds
//! where a curve bends; `render` shows it all (table, page, JSON).

pub mod goal;
pub mod knee;
pub mod render;
pub mod search;
pub mod step;
