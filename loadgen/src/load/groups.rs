//! Latencies told apart: by what was asked, and by the status that came.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::limits::HISTOGRAM_DIGITS;

/// Histograms of groups that have anything. They are as large as their values need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    /// Right responses, by the index of their request.
    pub by_request: BTreeMap<usize, Histogram<u64>>,
    /// Whole responses, right or not, by their status.
    pub by_status: BTreeMap<u16, Histogram<u64>>,
}

fn record<K: Ord>(groups: &mut BTreeMap<K, Histogram<u64>>, key: K, nanoseconds: u64) {
    record_grown(groups.entry(key).or_insert_with(new_group), nanoseconds);
}

/// Records a value in a histogram that grows.
pub fn record_grown(histogram: &mut Histogram<u64>, nanoseconds: u64) {
    // It fails only for what is too large to count.
    let _ = histogram.record(nanoseconds);
}

fn merge<K: Ord + Copy>(
    groups: &mut BTreeMap<K, Histogram<u64>>,
    more: &BTreeMap<K, Histogram<u64>>,
) {
    for (key, histogram) in more {
        let own = groups.entry(*key).or_insert_with(new_group);
        own.add(histogram).expect("it grows as it must");
    }
}

/// An empty histogram that grows.
pub fn new_group() -> Histogram<u64> {
    Histogram::new(HISTOGRAM_DIGITS).expect("a legal precision")
}

impl Groups {
    /// Notes the latency of a right response.
    pub fn note_request(&mut self, request: usize, nanoseconds: u64) {
        record(&mut self.by_request, request, nanoseconds);
    }

    /// Notes the latency of a whole response.
    pub fn note_status(&mut self, status: u16, nanoseconds: u64) {
        record(&mut self.by_status, status, nanoseconds);
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.by_request, &other.by_request);
        merge(&mut self.by_status, &other.by_status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_and_add_up() {
        let mut groups = Groups::default();
        groups.note_request(3, 1_000);
        groups.note_status(200, 7_000_000_000_000);
        let mut more = groups.clone();
        more.note_status(404, 5);
        groups.merge(&more);
        assert_eq!(groups.by_request[&3].len(), 2);
        assert_eq!(groups.by_status[&200].len(), 2);
        assert_eq!(groups.by_status[&404].max(), 5);
    }
}
