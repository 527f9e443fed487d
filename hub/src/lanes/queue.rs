//! Where requests wait for a slot: a bounded queue for each route, in which the
//! longest waiting is next, or the last that came in every second turn (see [`Order`]). A
//! reactor's own, so nothing here is locked.
//!
//! A slot that comes free is granted to one place in the queues of its worker's
//! routes. Whoever is granted one tries again to reserve; if the slot has gone to
//! another route by then, the place stays what it was. When somebody leaves, or has
//! got a slot, the first of every queue may try: the slot that was granted may have
//! been another worker's, and may be anybody's now. So no free slot is overlooked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::clock;
use crate::routing::registration::RouteSpec;

/// The queues of one reactor: one for each route that requests wait for.
#[derive(Debug)]
pub struct RouteQueues {
    order: Order,
    is_newest_next: Cell<bool>,
    waiting_count: Cell<usize>,
    next_number: Cell<u64>,
    queues: RefCell<HashMap<RouteSpec, Queue>>,
}

/// What waits for one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLoad {
    /// The route.
    pub route: RouteSpec,
    /// Requests.
    pub waiting: u64,
    /// Since when the one does that has waited longest, on the coarse clock.
    pub oldest_since_ms: u64,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Who has waited longest.
    OldestFirst,
    /// Who has waited longest and who came last, in turn: however many clients came to
    /// be slow, one that comes after them need not wait until the last of them is seen
    /// through.
    OldestAndNewest,
}

/// By number: the lowest has waited longest.
type Queue = BTreeMap<u64, Rc<Waiter>>;

#[derive(Debug, Default)]
struct Waiter {
    /// On the coarse clock.
    since_ms: u64,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A request's place in the queue of its route, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Rc<RouteQueues>,
    route: RouteSpec,
    number: u64,
    waiter: Rc<Waiter>,
}

impl RouteQueues {
    /// Nobody waits yet.
    pub fn new(order: Order) -> Rc<Self> {
        Rc::new(Self {
            order,
            is_newest_next: Cell::new(false),
            waiting_count: Cell::new(0),
            next_number: Cell::new(0),
            queues: RefCell::default(),
        })
    }

    /// Whether nobody waits, for any route.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting_count.get() == 0
    }

    /// Whether a request for the route has to queue behind others.
    #[inline]
    pub fn is_queueing(&self, route: &RouteSpec) -> bool {
        self.waiting_count.get() > 0 && self.queues.borrow().contains_key(route)
    }

    /// Requests that wait for any of these routes.
    pub fn count_for(&self, routes: &[RouteSpec]) -> usize {
        if self.waiting_count.get() == 0 {
            return 0;
        }
        let queues = self.queues.borrow();
        let queues = routes.iter().filter_map(|route| queues.get(route));
        queues.map(Queue::len).sum()
    }

    /// For each route that requests wait for: how many do, and since when the first.
    pub fn loads(&self) -> Vec<QueueLoad> {
        let queues = self.queues.borrow();
        let loads = queues.iter().map(|(route, queue)| QueueLoad {
            route: route.clone(),
            waiting: queue.len() as u64,
            oldest_since_ms: queue
                .values()
                .next()
                .map_or(u64::MAX, |first| first.since_ms),
        });
        loads.collect()
    }

    /// Takes the last place in the queue of a route; `None` if it has so many already.
    pub fn enter(self: &Rc<Self>, route: &RouteSpec, count_max: u32) -> Option<Place> {
        let mut queues = self.queues.borrow_mut();
        if queues.get(route).map_or(0, Queue::len) >= count_max as usize {
            return None;
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let waiter = Rc::new(Waiter {
            since_ms: clock::coarse_ms(),
            ..Waiter::default()
        });
        let queue = queues.entry(route.clone()).or_default();
        queue.insert(number, Rc::clone(&waiter));
        self.waiting_count.set(self.waiting_count.get() + 1);
        Some(Place {
            room: Rc::clone(self),
            route: route.clone(),
            number,
            waiter,
        })
    }

    /// A worker that answers these routes has a free slot.
    #[inline]
    pub fn slot_freed(&self, routes: &[RouteSpec]) {
        if self.waiting_count.get() > 0 {
            self.grant_next(routes);
        }
    }

    fn grant_next(&self, routes: &[RouteSpec]) {
        let queues = self.queues.borrow();
        let takes_newest = self.order == Order::OldestAndNewest && self.is_newest_next.get();
        self.is_newest_next.set(!takes_newest);
        let next_of = |queue: &Queue| {
            let is_next = |(_, waiter): &(&u64, &Rc<Waiter>)| !waiter.granted.get();
            let next = if takes_newest {
                queue.iter().rev().find(is_next)
            } else {
                queue.iter().find(is_next)
            };
            next.map(|(number, waiter)| (*number, Rc::clone(waiter)))
        };
        let queues = routes.iter().filter_map(|route| queues.get(route));
        let next = queues.filter_map(next_of);
        let next = if takes_newest {
            next.max_by_key(|next| next.0)
        } else {
            next.min_by_key(|next| next.0)
        };
        if let Some((_, waiter)) = next {
            waiter.grant();
        }
    }

    /// The first of every queue looks again.
    pub fn grant_first_of_each(&self) {
        for queue in self.queues.borrow().values() {
            if let Some(waiter) = queue.values().find(|waiter| !waiter.granted.get()) {
                waiter.grant();
            }
        }
    }

    /// Workers have come or gone: everybody looks again.
    pub fn grant_all(&self) {
        for queue in self.queues.borrow().values() {
            for waiter in queue.values() {
                waiter.grant();
            }
        }
    }
}

impl Waiter {
    fn grant(&self) {
        self.granted.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Place {
    /// Whether it is one for the route in this room.
    pub fn is_in(&self, room: &Rc<RouteQueues>, route: &RouteSpec) -> bool {
        Rc::ptr_eq(&self.room, room) && self.route == *route
    }

    /// Waits until it is worth trying to reserve a slot. If that fails, this waits
    /// again in the same place.
    pub async fn granted(&self) {
        poll_fn(|cx| self.poll_granted(cx)).await;
    }

    fn poll_granted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiter.granted.replace(false) {
            return Poll::Ready(());
        }
        *self.waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let room = &self.room;
        room.waiting_count.set(room.waiting_count.get() - 1);
        {
            let mut queues = room.queues.borrow_mut();
            if let Some(queue) = queues.get_mut(&self.route) {
                queue.remove(&self.number);
                if queue.is_empty() {
                    queues.remove(&self.route);
                }
            }
        }
        if room.waiting_count.get() > 0 {
            room.grant_first_of_each();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_granted(place: &Place) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        place.poll_granted(&mut cx).is_ready()
    }

    #[test]
    fn the_longest_waiting_of_the_worker_s_routes_is_next() {
        let room = RouteQueues::new(Order::OldestFirst);
        let (a, b, other) = (
            RouteSpec::for_tests("/a"),
            RouteSpec::for_tests("/b"),
            RouteSpec::for_tests("/other"),
        );
        let elsewhere = room.enter(&other, 10).unwrap();
        let first = room.enter(&b, 10).unwrap();
        let second = room.enter(&a, 10).unwrap();
        let third = room.enter(&b, 10).unwrap();
        room.slot_freed(&[a.clone(), b.clone()]);
        assert!(!is_granted(&elsewhere) && !is_granted(&second) && !is_granted(&third));
        assert!(is_granted(&first));
        room.slot_freed(&[a.clone(), b.clone()]);
        assert!(
            is_granted(&first),
            "it has not left: its place is still the first"
        );
        // It leaves: whose slot that was is not known, so the first of each may look.
        drop(first);
        assert!(is_granted(&third) && is_granted(&second) && is_granted(&elsewhere));
        room.slot_freed(&[a, b]);
        assert!(
            is_granted(&second) && !is_granted(&third),
            "longest waiting first"
        );
    }

    #[test]
    fn a_full_queue_takes_nobody_and_one_that_empties_takes_again() {
        let room = RouteQueues::new(Order::OldestFirst);
        let a = RouteSpec::for_tests("/a");
        assert!(!room.is_queueing(&a));
        let places = [room.enter(&a, 2).unwrap(), room.enter(&a, 2).unwrap()];
        assert!(room.enter(&a, 2).is_none() && room.enter(&a, 3).is_some());
        assert!(room.enter(&RouteSpec::for_tests("/b"), 2).is_some());
        assert!(room.is_queueing(&a));
        drop(places);
        assert_eq!((room.waiting_count.get(), room.is_queueing(&a)), (0, false));
        assert!(
            RouteQueues::new(Order::OldestFirst).enter(&a, 0).is_none(),
            "no queue at all"
        );
    }

    #[test]
    fn a_grant_that_its_place_leaves_with_goes_to_the_next_of_any_route() {
        let room = RouteQueues::new(Order::OldestFirst);
        let (a, b) = (RouteSpec::for_tests("/a"), RouteSpec::for_tests("/b"));
        let (first, second) = (room.enter(&a, 10).unwrap(), room.enter(&b, 10).unwrap());
        room.slot_freed(&[a, b]);
        drop(first);
        assert!(is_granted(&second));
    }

    #[test]
    fn when_workers_come_everybody_looks() {
        let room = RouteQueues::new(Order::OldestFirst);
        let places: Vec<_> = ["/a", "/b", "/a"]
            .map(|path| room.enter(&RouteSpec::for_tests(path), 10).unwrap())
            .into();
        room.grant_all();
        assert!(places.iter().all(is_granted));
    }

    #[test]
    fn where_the_newest_has_every_second_turn_neither_end_waits_for_the_other() {
        let room = RouteQueues::new(Order::OldestAndNewest);
        let own = RouteSpec::for_tests("/a");
        let places: Vec<_> = (0..4).map(|_| room.enter(&own, 10).unwrap()).collect();
        let mut order = Vec::new();
        for _ in 0..4 {
            room.slot_freed(std::slice::from_ref(&own));
            let granted = (0..4).filter(|n| places[*n].waiter.granted.get());
            order.push(granted.filter(|n| !order.contains(n)).collect::<Vec<_>>()[0]);
        }
        assert_eq!(order, [0, 3, 1, 2]);
    }
}
