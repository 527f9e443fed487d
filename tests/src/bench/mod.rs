//! Comparing systems in one run on one machine: [`systems`] are started and checked, [`loads`]
//! are what each of them is given, in rounds that alternate, [`facts`] are what a request costs
//! beside time, and [`results`] is what came of it, as [`markdown`], as a [`page`] and as JSON.

pub mod facts;
pub mod loads;
pub mod markdown;
pub mod page;
pub mod results;
pub mod systems;
