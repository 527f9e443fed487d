//! What a report calls what it counts and times: requests and latencies, or events and delays.

use crate::report::described::{DescribedPlan, EVENTS};

/// The words of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What is counted.
    pub counted: &'static str,
    /// Of those in a second.
    pub per_second: &'static str,
    /// What is timed.
    pub time: &'static str,
    /// At the head of a figure.
    pub time_heading: &'static str,
    /// All of those.
    pub all_times: &'static str,
    /// What came.
    pub came: &'static str,
}

const OF_REQUESTS: Words = Words {
    counted: "requests",
    per_second: "requests/s",
    time: "latency",
    time_heading: "Latency",
    all_times: "All latencies",
    came: "Responses",
};

const OF_EVENTS: Words = Words {
    counted: "events",
    per_second: "events/s",
    time: "delay",
    time_heading: "Delay",
    all_times: "All delays",
    came: "Events",
};

impl Words {
    /// For what was done.
    pub fn of(plan: &DescribedPlan) -> Self {
        if plan.kind == EVENTS {
            OF_EVENTS
        } else {
            OF_REQUESTS
        }
    }
}
