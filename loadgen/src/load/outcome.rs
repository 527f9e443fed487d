//! What came of a run.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::limits::RATE_REACHED_SHARE;
use crate::load::disturbance::Disturbance;
use crate::load::errors::Errors;
use crate::load::recorder::Interval;
use crate::load::streams::Streams;

/// One interval, in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its start, from the start of measuring, in seconds.
    #[serde(rename = "from_s")]
    pub from_seconds: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Right responses.
    #[serde(rename = "requests")]
    pub response_count: u64,
    /// Wrong and missing responses.
    #[serde(rename = "errors")]
    pub error_count: u64,
    /// Median latency in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// How many latencies were in which [`crate::load::steps`].
    #[serde(default)]
    pub steps: Vec<(u16, u64)>,
}

/// What came of a run. All times are in nanoseconds unless named otherwise.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything measured, merged.
    pub total: Interval,
    /// One per interval.
    pub points: Vec<Point>,
    /// When measuring began.
    pub began: SystemTime,
    /// Time measured.
    pub elapsed: Duration,
    /// Requests per second that were asked for, in the mean.
    pub asked_rate: Option<f64>,
    /// Requests that were due and never sent.
    pub unsent_count: u64,
    /// CPU time of the generator's threads while measuring.
    pub cpu: Duration,
    /// That, and the time they waited for a core.
    pub busy: Duration,
    /// The generator's threads.
    pub thread_count: usize,
    /// What others took from the generator meanwhile.
    pub disturbance: Disturbance,
    /// What event streams got, if that is what was followed.
    pub streams: Option<Streams>,
    /// Why the run is shorter than planned, if it is.
    pub partial: Option<String>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            total: Interval::new(),
            points: Vec::new(),
            began: SystemTime::now(),
            elapsed: Duration::ZERO,
            asked_rate: None,
            unsent_count: 0,
            cpu: Duration::ZERO,
            busy: Duration::ZERO,
            thread_count: 1,
            disturbance: Disturbance::default(),
            streams: None,
            partial: None,
        }
    }

    /// Right responses per second.
    pub fn rate(&self) -> f64 {
        self.total.response_count as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Service times: from sending. In a closed loop they are the latencies.
    pub fn service(&self) -> &Histogram<u64> {
        if self.asked_rate.is_some() {
            &self.total.service
        } else {
            &self.total.latency
        }
    }

    /// Errors.
    pub fn errors(&self) -> &Errors {
        &self.total.errors
    }

    /// Which part of what was due got a right response, from 0 to 1; `None` if nothing was due.
    pub fn right_share(&self) -> Option<f64> {
        let right = match self.streams {
            Some(_) => self.total.response_count,
            None => self.total.latency.len() - self.total.waited_count,
        };
        let all = self.due_count();
        (all > 0).then(|| right as f64 / all as f64)
    }

    /// Received bytes per second.
    pub fn bytes_per_s(&self) -> f64 {
        self.total.received_bytes as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Requests that came due in the time measured, answered rightly or not.
    fn due_count(&self) -> u64 {
        let answered = match self.streams {
            Some(_) => self.total.response_count,
            None => self.total.latency.len(),
        };
        answered + self.errors().count()
    }

    /// Whether an open loop sent what it was asked to.
    pub fn has_reached_its_rate(&self) -> bool {
        let unreached = self.due_count() as f64 * (1.0 - RATE_REACHED_SHARE);
        self.asked_rate.is_none() || self.unsent_count as f64 <= unreached
    }

    /// Which part of the time the generator's threads had no rest.
    pub fn busy_share(&self) -> f64 {
        let time = self.elapsed.as_secs_f64() * self.thread_count as f64;
        self.busy.as_secs_f64() / time.max(f64::MIN_POSITIVE)
    }
}
