//! What those see who operate the hub.
//!
//! An [`observation`] is all that is known at one moment: what the reactors have counted, what
//! they have to do, and who is attached. It becomes metrics in [`exposition`] (with what the
//! system says of the [`process`], in a format of [`openmetrics`]), the status page in [`page`], and documents in [`report`]. [`history`] keeps the last
//! minutes of each route, and [`incidents`] what has happened to workers.

pub mod exposition;
pub mod history;
pub mod incidents;
pub mod observation;
pub mod openmetrics;
pub mod page;
mod process;
pub mod report;
