//! What the event streams of a run got, each by itself.

use serde::{Deserialize, Serialize};

use crate::limits::LAGGING_SHARE;

/// What one stream got in the time measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTally {
    /// Events.
    pub event_count: u64,
    /// Of which had a time stamp.
    pub stamped_count: u64,
    /// Of which were stamped later than they came: clocks differ.
    pub early_count: u64,
    /// By how much, at most, in nanoseconds.
    pub early_ns: u64,
    /// How often it ended before the run did.
    pub end_count: u64,
}

/// All streams, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Streams.
    pub count: u64,
    /// Events of the one with the fewest.
    pub events_min: u64,
    /// Of the one in the middle.
    pub events_median: u64,
    /// Of the one with the most.
    pub events_max: u64,
    /// Streams with less than 99 % of the events of the one with the most.
    pub lagging: u64,
    /// Ends before that of the run, of all streams.
    pub ended: u64,
    /// Events that had a time stamp.
    pub stamped: u64,
    /// Of which were stamped later than they came: their delay counts as 0.
    pub early: u64,
    /// By how much, at most, in nanoseconds.
    pub early_ns_max: u64,
}

impl Streams {
    /// Sums up.
    pub fn of(mut tallies: Vec<StreamTally>) -> Self {
        tallies.sort_by_key(|tally| tally.event_count);
        let sum = |of: fn(&StreamTally) -> u64| tallies.iter().map(of).sum();
        let events = |index: usize| tallies.get(index).map_or(0, |tally| tally.event_count);
        let most = events(tallies.len().saturating_sub(1));
        let enough = |tally: &&StreamTally| tally.event_count as f64 >= LAGGING_SHARE * most as f64;
        Self {
            count: tallies.len() as u64,
            events_min: events(0),
            events_median: events(tallies.len() / 2),
            events_max: most,
            lagging: (tallies.len() - tallies.iter().filter(enough).count()) as u64,
            ended: sum(|tally| tally.end_count),
            stamped: sum(|tally| tally.stamped_count),
            early: sum(|tally| tally.early_count),
            early_ns_max: tallies
                .iter()
                .map(|tally| tally.early_ns)
                .max()
                .unwrap_or(0),
        }
    }

    /// Adds those of another run or machine; the median is the lower one.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.events_min = self.events_min.min(other.events_min);
        self.events_median = self.events_median.min(other.events_median);
        self.events_max = self.events_max.max(other.events_max);
        self.lagging += other.lagging;
        self.ended += other.ended;
        self.stamped += other.stamped;
        self.early += other.early;
        self.early_ns_max = self.early_ns_max.max(other.early_ns_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_with_fewer_events_than_the_fullest_lag() {
        let tally = |event_count| StreamTally {
            event_count,
            ..StreamTally::default()
        };
        let streams = Streams::of([1000, 989, 990, 1000, 0].map(tally).to_vec());
        assert_eq!(
            (
                streams.events_min,
                streams.events_median,
                streams.events_max
            ),
            (0, 990, 1000)
        );
        assert_eq!((streams.count, streams.lagging), (5, 2));
        assert_eq!(Streams::of(Vec::new()), Streams::default());
    }
}
