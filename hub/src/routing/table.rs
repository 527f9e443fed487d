//! The route table: an immutable snapshot, swapped in one step. Where the next one comes from
//! is [`editor`](super::editor).

use std::sync::Arc;

use slotway_shm_proto::Method;

use super::absence::Absence;
use super::concurrency::Gate;
use super::entries::Entries;
pub use super::entry::Target;
use super::entry::{Answer, MethodEntry, PathEntry};
use super::found::{FoundRoute, NoRoute};
use super::host;
use super::limits::Limits;
use super::params::Params;
use super::pattern::{Pattern, Segment};
use super::registration::RouteSpec;
use super::session::{Session, SessionState};
use super::tree::Tree;

/// A snapshot of all routes and sessions; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Tells it from all tables before it.
    pub(super) version: u64,
    /// Patterns for those hosts that have none of their own; a pattern's value is the index of
    /// its entry.
    pub(super) any_host: Tree,
    /// The others by the hosts' names, sorted.
    pub(super) hosts: Vec<(Arc<str>, Tree)>,
    pub(super) entries: Entries,
    /// All sessions, those included that some reactor has yet to let go of, and their
    /// states.
    pub sessions: Vec<(Arc<Session>, SessionState)>,
    /// Workers that must be there and have never been.
    pub missing: Vec<String>,
}

impl RouteTable {
    /// Workers that take requests.
    pub fn live_count(&self) -> usize {
        let states = self.sessions.iter().map(|(_, state)| state);
        states.filter(|state| **state == SessionState::Live).count()
    }

    /// The patterns for a host of its own.
    fn of_host(&self, host: &[u8]) -> Option<&Tree> {
        let host = host::name_of(host);
        let place = self
            .hosts
            .binary_search_by(|(known, _)| host::compare(known, host));
        place.ok().map(|index| &self.hosts[index].1)
    }

    /// The index of the entry of a shape.
    pub(super) fn index_of(&self, host: Option<&str>, shape: &[Segment]) -> Option<usize> {
        let patterns = match host {
            None => &self.any_host,
            Some(host) => self.of_host(host.as_bytes())?,
        };
        patterns.get(shape)
    }

    fn entry_of(&self, route: &RouteSpec) -> Option<&PathEntry> {
        let index = self.index_of(route.host.as_deref(), route.path.shape())?;
        Some(self.entries.get(index))
    }

    fn method_of(&self, route: &RouteSpec) -> Option<&MethodEntry> {
        let methods = &self.entry_of(route)?.methods;
        methods.iter().find(|entry| entry.method == route.method)
    }

    /// The pattern of this route's shape and host, if one of the workers that serve it
    /// `counts`.
    pub fn pattern_of(
        &self,
        route: &RouteSpec,
        counts: impl Fn(&&Target) -> bool,
    ) -> Option<&Pattern> {
        let entry = self.entry_of(route)?;
        let mut targets = entry.methods.iter().flat_map(|entry| &entry.targets);
        targets
            .any(|target| counts(&target))
            .then_some(&entry.pattern)
    }

    /// Workers for one route.
    pub fn targets_of(&self, route: &RouteSpec) -> &[Target] {
        self.method_of(route)
            .map_or(&[], |entry| entry.targets.as_slice())
    }

    /// What is known of a route whose workers have all gone.
    pub fn absence_of(&self, route: &RouteSpec) -> Option<&Absence> {
        self.method_of(route)?.absence()
    }

    /// The methods of a path, as the Allow field has them.
    pub fn allow_of(&self, host: Option<&[u8]>, path: &str) -> Option<&str> {
        let index = self.find_entry(|| host, path, &mut Params::default())?;
        Some(&self.entries.get(index).allow)
    }

    /// Whether a path's route has a worker, for any method and any host; `None` if it has no
    /// route.
    pub fn is_served(&self, path: &str) -> Option<bool> {
        let index = self.find_entry(|| None, path, &mut Params::default())?;
        let methods = &self.entries.get(index).methods;
        Some(methods.iter().any(|method| !method.targets.is_empty()))
    }

    /// Whether a route is registered for just this path, without parameters.
    pub fn has_literal(&self, host: Option<&[u8]>, path: &str) -> bool {
        let found = self.find_entry(|| host, path, &mut Params::default());
        found.is_some_and(|index| self.entries.get(index).pattern.as_str() == path)
    }

    #[inline]
    fn find_entry<'h>(
        &self,
        host: impl FnOnce() -> Option<&'h [u8]>,
        path: &str,
        params: &mut Params,
    ) -> Option<usize> {
        if !self.hosts.is_empty()
            && let Some(own) = host().and_then(|host| self.of_host(host))
            && let Some(found) = own.find(path, params)
        {
            return Some(found);
        }
        self.any_host.find(path, params)
    }

    /// What answers `method` on `path` (raw, as sent) of a host (as the Host field has it, looked
    /// for where it matters); its parameters are written to `params`.
    #[inline]
    pub fn find<'h>(
        &self,
        method: Method,
        host: impl FnOnce() -> Option<&'h [u8]>,
        path: &str,
        params: &mut Params,
    ) -> Result<FoundRoute, NoRoute<'_>> {
        let found = self.find_entry(host, path, params);
        let entry_index = found.ok_or(NoRoute::NotFound)?;
        let entry = self.entries.get(entry_index);
        let of = |method| entry.methods.iter().position(|e| e.method == method);
        // A worker that answers GET answers HEAD: the hub leaves the body out.
        let of_get = || (method == Method::Head).then(|| of(Method::Get)).flatten();
        let method_index = of(method).or_else(of_get);
        Ok(FoundRoute {
            version: self.version as u32,
            entry_index: entry_index as u32,
            method_index: method_index.ok_or(NoRoute::WrongMethod {
                allow: &entry.allow,
            })? as u32,
        })
    }

    #[inline]
    fn found(&self, found: FoundRoute) -> Option<&MethodEntry> {
        if found.version != self.version as u32 {
            return None;
        }
        let entry = self.entries.get(found.entry_index as usize);
        Some(&entry.methods[found.method_index as usize])
    }

    /// The workers of what was found, none if they have all gone; `None` if it was found in
    /// another table.
    #[inline]
    pub fn targets(&self, found: FoundRoute) -> Option<&[Target]> {
        self.found(found).map(|entry| entry.targets.as_slice())
    }

    /// What answers it.
    #[inline]
    pub fn answer(&self, found: FoundRoute) -> Option<Answer<'_>> {
        self.found(found).map(|entry| Answer {
            targets: entry.targets.as_slice(),
            route_id: entry.route_id,
            limits: entry.limits,
        })
    }

    /// What it may use; `None` if it was not found, or in another table.
    pub fn limits(&self, found: Option<FoundRoute>) -> Option<Limits> {
        self.found(found?).map(|entry| entry.limits)
    }

    /// What a route may use that is there.
    pub fn limits_of(&self, route: &RouteSpec) -> Option<Limits> {
        self.method_of(route).map(|entry| entry.limits)
    }

    /// How many requests workers may have of it at a time, if that is bounded.
    #[inline]
    pub fn gate(&self, found: FoundRoute) -> Option<&Arc<Gate>> {
        self.found(found)?.gate.as_ref()
    }

    /// What is known of a route that was found, whose workers have all gone.
    pub fn absence(&self, found: FoundRoute) -> Option<&Absence> {
        self.found(found)?.absence()
    }
}
