//! Where a hub is in the replacement of one hub by another.

use std::collections::HashSet;

/// `A` is who waits until all workers are here.
#[derive(Debug, PartialEq, Eq)]
pub enum Handover<A> {
    /// None is under way.
    Idle,
    /// This hub gives its workers to another: none may attach here.
    Giving,
    /// Workers of another hub are expected here.
    Receiving {
        /// The ids with which they will attach. Never empty.
        expected: HashSet<String>,
        /// To be told once all have.
        waits: A,
    },
}

impl<A> Handover<A> {
    /// An upgrade begins.
    pub fn give(&mut self) {
        *self = Self::Giving;
    }

    /// It failed: this hub goes on.
    pub fn take_back(&mut self) {
        *self = Self::Idle;
    }

    /// Whether workers are to attach to another hub.
    pub fn is_giving(&self) -> bool {
        matches!(self, Self::Giving)
    }

    /// Workers of another hub will attach. Returns who waits for them, to be told, if there
    /// are none.
    #[must_use]
    pub fn expect(&mut self, expected: HashSet<String>, waits: A) -> Option<A> {
        if expected.is_empty() {
            *self = Self::Idle;
            return Some(waits);
        }
        *self = Self::Receiving { expected, waits };
        None
    }

    /// A worker has attached. Returns who waits, to be told, if it was the last.
    #[must_use]
    pub fn attached(&mut self, worker_id: &str) -> Option<A> {
        let Self::Receiving { expected, .. } = self else {
            return None;
        };
        expected.remove(worker_id);
        if !expected.is_empty() {
            return None;
        }
        match std::mem::replace(self, Self::Idle) {
            Self::Receiving { waits, .. } => Some(waits),
            Self::Idle | Self::Giving => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn who_waits_is_told_once_when_the_last_expected_worker_is_here() {
        let mut handover = Handover::Idle;
        assert_eq!(handover.expect(ids(&["a", "b"]), "waits"), None);
        for (worker_id, told) in [
            ("other", None),
            ("a", None),
            ("a", None),
            ("b", Some("waits")),
            ("b", None),
        ] {
            assert_eq!(handover.attached(worker_id), told, "{worker_id}");
        }
        assert_eq!(handover, Handover::Idle);
    }

    #[test]
    fn where_no_worker_is_expected_who_waits_is_told_at_once() {
        let mut handover = Handover::Idle;
        assert_eq!(handover.expect(ids(&[]), "waits"), Some("waits"));
        assert_eq!(handover, Handover::Idle);
    }

    #[test]
    fn a_hub_that_gives_its_workers_lets_none_in_until_it_takes_them_back() {
        let mut handover = Handover::Idle;
        assert!(!handover.is_giving());
        assert_eq!(handover.expect(ids(&["a"]), "waits"), None);
        handover.give();
        assert!(handover.is_giving() && handover.attached("a").is_none());
        handover.take_back();
        assert!(!handover.is_giving());
    }
}
