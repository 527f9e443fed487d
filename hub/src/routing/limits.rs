//! What one route may use, where it is not what all routes may.

use serde::{Deserialize, Serialize};

/// Limits of a route; without one, what the hub's flags say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimits {
    /// Time that a worker has to respond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Largest request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Requests that wait, on each reactor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Requests that workers may have at a time, in the whole hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl RouteLimits {
    /// Of each limit the one that allows less.
    pub fn stricter(self, other: Self) -> Self {
        Self {
            timeout_ms: least(self.timeout_ms, other.timeout_ms),
            body_bytes_max: least(self.body_bytes_max, other.body_bytes_max),
            queue: least(self.queue, other.queue),
            concurrency: least(self.concurrency, other.concurrency),
        }
    }
}

/// What a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time that the worker has to respond.
    pub timeout_ms: u64,
    /// Largest body.
    pub body_bytes_max: u64,
    /// How many may wait for a slot.
    pub queue: u32,
}

impl Limits {
    /// With a route's own in place of the hub's.
    #[inline]
    pub fn of_route(self, route: &RouteLimits) -> Self {
        Self {
            timeout_ms: route.timeout_ms.unwrap_or(self.timeout_ms),
            body_bytes_max: route.body_bytes_max.unwrap_or(self.body_bytes_max),
            queue: route.queue.unwrap_or(self.queue),
        }
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_limits_the_stricter_counts_and_one_that_is_not_said_does_not() {
        let worker = RouteLimits {
            timeout_ms: Some(300_000),
            queue: Some(3),
            ..RouteLimits::default()
        };
        let file = RouteLimits {
            timeout_ms: Some(60_000),
            concurrency: Some(2),
            ..RouteLimits::default()
        };
        let both = worker.stricter(file);
        assert_eq!(both, file.stricter(worker));
        let expected = RouteLimits {
            timeout_ms: Some(60_000),
            body_bytes_max: None,
            queue: Some(3),
            concurrency: Some(2),
        };
        assert_eq!(both, expected);
    }
}
