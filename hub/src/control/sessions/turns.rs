//! Notices workers of one name that replace each other again and again: replicas that do
//! not say that they are instances.

use std::collections::HashMap;
use std::time::Instant;

use crate::limits::{TURN_COUNT, TURN_NAME_COUNT_MAX, TURN_WINDOW};

/// When workers of which name were replaced.
#[derive(Debug, Default)]
pub struct Turns {
    names: HashMap<String, (Instant, u32)>,
}

impl Turns {
    /// A worker of a name has been replaced. True if that should be said now: once in a
    /// while, for a name that is replaced too often.
    pub fn replaced(&mut self, name: &str, now: Instant) -> bool {
        self.names
            .retain(|_, (since, _)| now.duration_since(*since) < TURN_WINDOW);
        if self.names.len() >= TURN_NAME_COUNT_MAX && !self.names.contains_key(name) {
            return false;
        }
        let (_, count) = self.names.entry(name.to_owned()).or_insert((now, 0));
        *count += 1;
        *count == TURN_COUNT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_name_that_is_replaced_often_is_said_once_in_a_while_and_a_deploy_is_not() {
        let mut turns = Turns::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!turns.replaced("a", at(0)) && !turns.replaced("a", at(1)));
        assert!(!turns.replaced("b", at(1)));
        assert!(turns.replaced("a", at(2)) && !turns.replaced("a", at(3)));
        assert!(!turns.replaced("a", at(70)) && !turns.replaced("a", at(71)));
        assert!(turns.replaced("a", at(72)));
    }
}
