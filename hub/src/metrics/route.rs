//! Under which route a request is counted. Patterns come from workers, so their number is
//! bounded: those that come later are counted together as `other`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slotway_shm_proto::Method;

use crate::limits::COUNTED_ROUTE_COUNT_MAX;

/// A request's method, as it is counted; those that the hub does not know are one.
type MethodIndex = u32;

/// With the one for unknown methods.
const METHOD_COUNT: u32 = Method::ALL.len() as u32 + 1;

/// Where a request is counted: a route's method and pattern, or one of the groups for
/// requests without a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(u32);

/// Requests that are counted together, each method by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Group {
    /// No route answers them.
    None = 0,
    /// The hub answers them itself.
    Hub = 1,
    /// Their routes came when as many as can be were counted already.
    Other = 2,
}

impl Group {
    const ALL: [Self; 3] = [Self::None, Self::Hub, Self::Other];

    fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hub => "hub",
            Self::Other => "other",
        }
    }
}

/// Places for groups come first.
const GROUP_PLACE_COUNT: u32 = Group::ALL.len() as u32 * METHOD_COUNT;

impl RouteId {
    /// All that there may be.
    pub const COUNT_MAX: usize = GROUP_PLACE_COUNT as usize + COUNTED_ROUTE_COUNT_MAX;

    /// Where requests of a group are counted.
    #[inline]
    pub const fn of_group(group: Group, method: Option<Method>) -> Self {
        let method: MethodIndex = match method {
            Some(Method::Other) | None => 0,
            Some(method) => method as u32,
        };
        Self(group as u32 * METHOD_COUNT + method)
    }

    /// Whether it is one of a group's.
    pub fn is_of(self, group: Group) -> bool {
        self.0 / METHOD_COUNT == group as u32
    }

    /// Whether it is that of a group.
    pub fn is_of_a_group(self) -> bool {
        self.0 < GROUP_PLACE_COUNT
    }

    /// The place of an index, if there is one.
    pub fn from_index(index: u32) -> Option<Self> {
        ((index as usize) < Self::COUNT_MAX).then_some(Self(index))
    }

    /// From 0 on.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the numbers of a [`RouteId`] are labelled with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteLabel {
    /// The pattern, behind its host if it has one; or the name of a group.
    pub route: String,
    /// The method; `other` for those that the hub does not know.
    pub method: &'static str,
}

/// The label of every place, by its index; who enters routes adds to them.
pub type RouteLabels = Arc<Mutex<Vec<RouteLabel>>>;

/// The labels of the groups.
pub fn group_labels() -> RouteLabels {
    let labels = Group::ALL.into_iter().flat_map(|group| {
        let methods = [None].into_iter().chain(Method::ALL.map(Some));
        methods.map(move |method| RouteLabel {
            route: group.label().to_owned(),
            method: method.map_or("other", Method::as_str),
        })
    });
    Arc::new(Mutex::new(labels.collect()))
}

/// All routes that have been counted in this hub's life.
#[derive(Debug)]
pub struct RouteIds<R> {
    ids: HashMap<R, RouteId>,
    labels: RouteLabels,
}

impl<R: Clone + Eq + Hash> RouteIds<R> {
    /// No routes yet; their labels will come behind those of the groups.
    pub fn new(labels: RouteLabels) -> Self {
        Self {
            ids: HashMap::new(),
            labels,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RouteLabel>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The route's place: its own, or that of others if there are as many as may be.
    pub fn enter(&mut self, key: &R, method: Method, label: impl FnOnce() -> String) -> RouteId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let mut labels = self.lock();
        if labels.len() >= RouteId::COUNT_MAX {
            return RouteId::of_group(Group::Other, Some(method));
        }
        let id = RouteId(labels.len() as u32);
        labels.push(RouteLabel {
            route: label(),
            method: method.as_str(),
        });
        drop(labels);
        self.ids.insert(key.clone(), id);
        id
    }

    /// Every place.
    pub fn all(&self) -> impl Iterator<Item = RouteId> + use<R> {
        (0..self.lock().len() as u32).map(RouteId)
    }

    /// Every place and its label.
    pub fn labels(&self) -> Vec<(RouteId, RouteLabel)> {
        self.all().zip(self.lock().iter().cloned()).collect()
    }

    /// The places of a pattern, one for each of its methods.
    pub fn of_pattern(&self, pattern: &str) -> Vec<RouteId> {
        let labels = self.lock();
        let all = (0..).map(RouteId).zip(&*labels);
        let own = all.filter(|(_, label)| label.route == pattern);
        own.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label<R: Clone + Eq + Hash>(ids: &RouteIds<R>, id: RouteId) -> RouteLabel {
        ids.lock()[id.index()].clone()
    }

    #[test]
    fn a_route_keeps_its_place_and_the_last_ones_share_theirs() {
        let mut ids = RouteIds::new(group_labels());
        let enter =
            |ids: &mut RouteIds<usize>, n: usize| ids.enter(&n, Method::Get, || format!("/{n}"));
        let first = enter(&mut ids, 0);
        for n in 1..COUNTED_ROUTE_COUNT_MAX {
            assert_ne!(enter(&mut ids, n), first);
        }
        let late = enter(&mut ids, COUNTED_ROUTE_COUNT_MAX);
        assert_eq!(late, RouteId::of_group(Group::Other, Some(Method::Get)));
        assert_eq!(label(&ids, late).route, "other");
        assert_eq!(enter(&mut ids, 0), first);
        assert_eq!(label(&ids, first).route, "/0");
        assert!(ids.all().all(|id| id.index() < RouteId::COUNT_MAX));
    }

    #[test]
    fn every_group_and_method_has_a_place_of_its_own() {
        let ids = RouteIds::<u32>::new(group_labels());
        for group in Group::ALL {
            let unknown = RouteId::of_group(group, None);
            assert_eq!(label(&ids, unknown).route, group.label());
            assert_eq!(label(&ids, unknown).method, "other");
            for method in Method::ALL {
                let id = RouteId::of_group(group, Some(method));
                assert_eq!(label(&ids, id).method, method.as_str());
                assert_eq!(label(&ids, id).route, group.label());
            }
        }
    }
}
