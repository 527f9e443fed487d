//! What has happened to workers: how their sessions ended, counted by cause, and the last of
//! what an operator should know of.

use std::collections::{BTreeMap, VecDeque};

use slotway_shm_proto::message::Goodbye;

use crate::clock;
use crate::limits::INCIDENT_COUNT_MAX;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Its process ended, or its connection closed, unannounced.
    Crashed,
    /// A worker of its name took over.
    Replaced,
    /// It wanted to.
    Left,
    /// The hub stopped.
    Stopping,
    /// It broke the protocol.
    Violation,
    /// It left too many requests unanswered.
    TooManyUnanswered,
    /// It did not answer pings.
    Unresponsive,
    /// The hub has no descriptors or memory for it.
    NoResources,
    /// It was replaced or leaving, and did not finish in time.
    Late,
    /// An operator wanted it.
    Evicted,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crashed,
        Self::Replaced,
        Self::Left,
        Self::Stopping,
        Self::Violation,
        Self::TooManyUnanswered,
        Self::Unresponsive,
        Self::NoResources,
        Self::Late,
        Self::Evicted,
    ];

    /// As a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::Replaced => "replaced",
            Self::Left => "left",
            Self::Stopping => "stopping",
            Self::Violation => "violation",
            Self::TooManyUnanswered => "too_many_unanswered",
            Self::Unresponsive => "unresponsive",
            Self::NoResources => "no_resources",
            Self::Late => "late",
            Self::Evicted => "evicted",
        }
    }

    /// That of a worker which is told this.
    pub fn of(goodbye: Goodbye) -> Self {
        match goodbye {
            Goodbye::Replaced => Self::Replaced,
            Goodbye::Left => Self::Left,
            Goodbye::Violation => Self::Violation,
            Goodbye::TooManyUnanswered => Self::TooManyUnanswered,
            Goodbye::Unresponsive => Self::Unresponsive,
            Goodbye::NoResources => Self::NoResources,
            Goodbye::Evicted => Self::Evicted,
            // There is none but this left; the enum may grow.
            _ => Self::Stopping,
        }
    }
}

/// Something that has happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Incident {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The worker's name.
    pub worker: String,
    /// One word: `attached`, or a [`Cause`].
    pub what: &'static str,
    /// In words.
    pub text: String,
}

/// The last incidents, and how often each cause has been.
#[derive(Debug, Default)]
pub struct Incidents {
    last: VecDeque<Incident>,
    counts: BTreeMap<Cause, u64>,
}

impl Incidents {
    /// A session ended.
    pub fn ended(&mut self, worker: &str, cause: Cause, text: &str) {
        *self.counts.entry(cause).or_default() += 1;
        self.note(worker, cause.label(), text);
    }

    /// Something else that an operator should know of.
    pub fn note(&mut self, worker: &str, what: &'static str, text: &str) {
        if self.last.len() >= INCIDENT_COUNT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(Incident {
            at_ms: clock::unix_ms(),
            worker: worker.to_owned(),
            what,
            text: text.to_owned(),
        });
    }

    /// The last ones, newest first.
    pub fn newest_first(&self) -> Vec<Incident> {
        self.last.iter().rev().cloned().collect()
    }

    /// How many sessions have ended for each cause.
    pub fn counts(&self) -> Vec<(Cause, u64)> {
        let count = |cause| self.counts.get(&cause).copied().unwrap_or_default();
        Cause::ALL.map(|cause| (cause, count(cause))).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_and_the_last_are_kept() {
        let mut incidents = Incidents::default();
        for n in 0..=INCIDENT_COUNT_MAX {
            incidents.ended(&n.to_string(), Cause::Crashed, "its process ended");
        }
        let last = incidents.newest_first();
        assert_eq!(last.len(), INCIDENT_COUNT_MAX);
        assert_eq!(last[0].worker, INCIDENT_COUNT_MAX.to_string());
        assert_eq!(last[0].what, "crashed");
        let crashed = incidents.counts()[0];
        assert_eq!(crashed, (Cause::Crashed, INCIDENT_COUNT_MAX as u64 + 1));
    }
}
