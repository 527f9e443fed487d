//! By what rules the routes of a table have their limits.

use std::sync::Arc;

use super::concurrency::Gate;
use super::limits::{Limits, RouteLimits};
use super::registration::RouteSpec;

/// By what rules routes have their limits.
pub trait LimitRules {
    /// What a route may use that says nothing of it.
    fn usual(&self) -> Limits;

    /// What a route may use, whose workers say so much of it.
    fn of_route(&self, route: &RouteSpec, of_workers: RouteLimits) -> RouteLimits;

    /// Its gate.
    fn gate(&mut self, route: &RouteSpec, count_max: u32) -> Arc<Gate>;
}

/// Rules without limits.
#[cfg(test)]
pub struct NoLimits;

#[cfg(test)]
impl LimitRules for NoLimits {
    fn usual(&self) -> Limits {
        Limits::default()
    }

    fn of_route(&self, _: &RouteSpec, of_workers: RouteLimits) -> RouteLimits {
        of_workers
    }

    fn gate(&mut self, _: &RouteSpec, _: u32) -> Arc<Gate> {
        Arc::default()
    }
}
