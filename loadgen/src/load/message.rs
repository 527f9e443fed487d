//! What a thread of the generator says, and the moments that it goes by.

use std::io;

use super::errors::ErrorKind;
use super::groups::Groups;
use super::recorder::Interval;
use super::self_watch::Usage;
use super::streams::StreamTally;

/// Moments of a run on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The first request may go.
    pub start_ns: u64,
    /// The warm-up is over.
    pub measure_ns: u64,
    /// No request goes any more; `u64::MAX` where a count ends the run.
    pub end_ns: u64,
    /// Length of an interval.
    pub interval_ns: u64,
}

/// What a thread says.
pub enum Message {
    /// Its connections are open, or the first that failed says why.
    Ready(Result<(), (ErrorKind, io::Error)>),
    /// An interval is over.
    Interval {
        /// When it ended.
        until_ns: u64,
        /// What happened.
        interval: Box<Interval>,
    },
    /// The thread has ended.
    Done {
        /// Requests that were due and never sent.
        unsent_count: u64,
        /// When its last response, or error, came.
        last_response_ns: u64,
        /// What it used since the start of measuring, as closely as its step
        /// allows.
        usage: Usage,
        /// Latencies told apart.
        groups: Box<Groups>,
        /// Of its event streams.
        tallies: Vec<StreamTally>,
    },
}
