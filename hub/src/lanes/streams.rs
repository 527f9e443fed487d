//! Who streams a body through a lane. Such a body holds its slot for as long as it takes,
//! and half of that is the client's doing: so streams get a share of the slots and no
//! more, and a client that is slow gives its place up when others wait for one. The
//! other slots are never held at the pace of a client.
//!
//! These are bodies of requests, and of responses whose length is known: the worker may hold
//! all of such a body until its client has taken it. A response without an end that is known,
//! like an event stream, is made as it goes and leaves its slot to the next request: see
//! [`LaneLimits`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::limits::{
    STREAM_END_INTERVAL, STREAM_PACE_WINDOW, STREAM_RATE_MIN, STREAM_RESERVE_DIVISOR,
    STREAM_SHARE_DIVISOR, STREAM_SPARE_DIVISOR,
};

/// What a lane may hold at a time; it has as many slots as both together.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Requests, those whose bodies stream among them.
    pub requests: u32,
    /// Responses without a known end.
    pub open_streams: u32,
}

/// The client at the other end of a body that streams.
pub trait StreamClient {
    /// Whether it is waited for now: to send, or to take what was sent.
    fn is_awaited(&self) -> bool;
    /// Bytes that it has sent, or taken, since it came.
    fn moved_bytes(&self) -> u64;
    /// It has been too slow while others waited: ends what it is waited for.
    fn end_slow(&self);
}

/// See the module; of one lane.
pub struct Streams {
    /// Streams that there may be by right.
    share: usize,
    /// Streams beyond that, whose slots were taken by requests that did not say so: up to
    /// here they are borne.
    bearable: usize,
    holders: RefCell<BTreeMap<u64, Holder>>,
    next_key: Cell<u64>,
    /// No client that waits makes room before this.
    next_end_ms: Cell<u64>,
}

/// A stream's place in the share, until it is dropped.
pub struct Permit {
    streams: Rc<Streams>,
    key: u64,
}

struct Holder {
    client: Rc<dyn StreamClient>,
    pace: Cell<Pace>,
    is_ended: Cell<bool>,
}

/// How quick a client has been.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The window that is being measured: when it began, what had moved by then, and how
    /// long the client has been waited for in it.
    start_ms: u64,
    start_bytes: u64,
    awaited_ms: u64,
    sampled_ms: u64,
    /// Bytes per second of the time that it was waited for, in the last window in which
    /// that was most of the time.
    rate: Option<u64>,
}

impl Streams {
    /// None yet, of a lane with so many slots.
    pub fn new(slot_count: u32) -> Rc<Self> {
        let slots = slot_count as usize;
        Rc::new(Self {
            share: slots - slots / STREAM_SHARE_DIVISOR,
            bearable: slots - slots / STREAM_RESERVE_DIVISOR,
            holders: RefCell::default(),
            next_key: Cell::new(0),
            next_end_ms: Cell::new(0),
        })
    }

    /// Whether another may begin.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.holders.borrow().len() < self.share
    }

    /// Whether another may begin that had better wait if others could need its place.
    pub fn has_room_to_spare(&self) -> bool {
        self.holders.borrow().len() < self.share / STREAM_SPARE_DIVISOR
    }

    /// Enters a stream that has been let in by [`Streams::has_room`].
    pub fn enter(self: &Rc<Self>, client: Rc<dyn StreamClient>, now_ms: u64) -> Permit {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        let pace = Pace {
            start_ms: now_ms,
            start_bytes: client.moved_bytes(),
            awaited_ms: 0,
            sampled_ms: now_ms,
            rate: None,
        };
        let holder = Holder {
            client,
            pace: Cell::new(pace),
            is_ended: Cell::new(false),
        };
        self.holders.borrow_mut().insert(key, holder);
        Permit {
            streams: Rc::clone(self),
            key,
        }
    }

    /// Enters a stream whose slot is taken already; `None` if that is more than can be
    /// borne, and nobody is slow enough to make room.
    pub fn enter_late(
        self: &Rc<Self>,
        client: Rc<dyn StreamClient>,
        now_ms: u64,
    ) -> Option<Permit> {
        let is_bearable = self.holders.borrow().len() < self.bearable;
        (is_bearable || self.end_one_for_another(now_ms)).then(|| self.enter(client, now_ms))
    }

    /// Looks how quick the clients are; to be called every now and then.
    pub fn sample(&self, now_ms: u64) {
        for holder in self.holders.borrow().values() {
            let mut pace = holder.pace.get();
            if holder.client.is_awaited() {
                pace.awaited_ms += now_ms - pace.sampled_ms;
            }
            pace.sampled_ms = now_ms;
            let window_ms = now_ms - pace.start_ms;
            let whole_ms = STREAM_PACE_WINDOW.as_millis() as u64;
            if window_ms * 2 >= whole_ms {
                let moved = holder.client.moved_bytes();
                let bytes = moved.saturating_sub(pace.start_bytes);
                // A window in which it was mostly the worker that took its time says
                // nothing of the client.
                let is_clients = pace.awaited_ms * 2 >= window_ms;
                let rate = is_clients.then(|| bytes * 1000 / pace.awaited_ms.max(1));
                if window_ms >= whole_ms {
                    pace.rate = rate;
                    (pace.start_ms, pace.start_bytes, pace.awaited_ms) = (now_ms, moved, 0);
                } else if rate.is_some_and(|rate| rate < STREAM_RATE_MIN / 8) {
                    // Half a window is enough to know one that all but stands still.
                    pace.rate = rate;
                }
            }
            holder.pace.set(pace);
        }
    }

    /// Ends the slowest client for one that waits, if it is time: whoever takes its place
    /// costs the worker a request, and a crowd of slow clients must not become work for it
    /// at once. Those beyond the share make room for nobody, and are ended first.
    pub fn make_room(&self, now_ms: u64) {
        let staying_count = || {
            let holders = self.holders.borrow();
            let staying = holders.values().filter(|holder| !holder.is_ended.get());
            staying.count()
        };
        while staying_count() > self.share && self.end_slowest() {}
        if staying_count() == self.share {
            self.end_one_for_another(now_ms);
        }
    }

    fn end_one_for_another(&self, now_ms: u64) -> bool {
        let is_ended = now_ms >= self.next_end_ms.get() && self.end_slowest();
        if is_ended {
            let interval_ms = STREAM_END_INTERVAL.as_millis() as u64;
            self.next_end_ms.set(now_ms + interval_ms);
        }
        is_ended
    }

    /// Ends the slowest client, if one is too slow for a place that others wait for.
    fn end_slowest(&self) -> bool {
        let slowest = {
            let holders = self.holders.borrow();
            let slow = holders.values().filter_map(|holder| {
                let rate = holder.pace.get().rate?;
                let is_slow = rate < STREAM_RATE_MIN && !holder.is_ended.get();
                // One that is not waited for now could not be ended.
                (is_slow && holder.client.is_awaited()).then_some((rate, holder))
            });
            let slowest = slow.min_by_key(|(rate, _)| *rate);
            slowest.map(|(_, holder)| {
                holder.is_ended.set(true);
                Rc::clone(&holder.client)
            })
        };
        // It may leave at once.
        slowest.inspect(|client| client.end_slow()).is_some()
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.holders.borrow().len()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.streams.holders.borrow_mut().remove(&self.key);
    }
}

/// Whether the responses of a route usually stream: then its requests wait for a place in
/// the share before they take a slot.
#[derive(Debug, Default)]
pub struct StreamHabit(Cell<u8>);

impl StreamHabit {
    /// Learns from one response.
    #[inline]
    pub fn learn(&self, streams: bool) {
        let old = self.0.get();
        if streams {
            self.0.set(old + (u8::MAX - old).div_ceil(2));
        } else if old > 0 {
            self.0.set(old - old.div_ceil(8));
        }
    }

    /// Of the last responses most have.
    #[inline]
    pub fn is_usual(&self) -> bool {
        self.0.get() > u8::MAX / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Client {
        is_awaited: Cell<bool>,
        moved: Cell<u64>,
        is_ended: Cell<bool>,
    }

    impl StreamClient for Client {
        fn is_awaited(&self) -> bool {
            self.is_awaited.get()
        }

        fn moved_bytes(&self) -> u64 {
            self.moved.get()
        }

        fn end_slow(&self) {
            self.is_ended.set(true);
        }
    }

    fn client(is_awaited: bool) -> Rc<Client> {
        let client = Rc::new(Client::default());
        client.is_awaited.set(is_awaited);
        client
    }

    const WINDOW_MS: u64 = STREAM_PACE_WINDOW.as_millis() as u64;

    #[test]
    fn streams_have_half_of_the_slots_and_late_ones_leave_a_quarter_free() {
        let streams = Streams::new(8);
        let permits: Vec<_> = (0..4).map(|_| streams.enter(client(false), 0)).collect();
        assert!(!streams.has_room());
        let late: Vec<_> = (0..2)
            .map(|_| streams.enter_late(client(false), 0).expect("it is borne"))
            .collect();
        assert!(streams.enter_late(client(false), 0).is_none());
        drop(late);
        assert!(!streams.has_room());
        drop(permits);
        assert!(streams.has_room() && streams.count() == 0);
        for slot_count in 1..4 {
            let streams = Streams::new(slot_count);
            assert!(streams.has_room(), "{slot_count}");
        }
    }

    #[test]
    fn of_those_that_are_too_slow_the_slowest_makes_room_and_nobody_else() {
        let streams = Streams::new(8);
        let (slow, slower, quick, waits) =
            (client(true), client(true), client(true), client(false));
        let all = [&slow, &slower, &quick, &waits];
        let _permits =
            all.map(|client| streams.enter(Rc::clone(client) as Rc<dyn StreamClient>, 0));
        assert!(!streams.end_slowest(), "nobody is known to be slow yet");
        slow.moved.set(2000);
        slower.moved.set(1000);
        quick.moved.set(STREAM_RATE_MIN * WINDOW_MS / 1000);
        streams.sample(WINDOW_MS);
        assert!(streams.end_slowest());
        assert!(slower.is_ended.get() && !slow.is_ended.get());
        assert!(streams.end_slowest());
        assert!(slow.is_ended.get());
        assert!(!streams.end_slowest());
        assert!(
            !quick.is_ended.get() && !waits.is_ended.get(),
            "its worker is slow, not it"
        );
    }

    #[test]
    fn a_crowd_of_slow_clients_makes_room_one_by_one() {
        let streams = Streams::new(8);
        let clients = [(); 6].map(|()| client(true));
        let enter = |client: &Rc<Client>| {
            let client = Rc::clone(client) as Rc<dyn StreamClient>;
            streams.enter_late(client, 0)
        };
        let mut permits: Vec<_> = clients.iter().map(enter).collect();
        assert!(permits.iter().all(Option::is_some));
        streams.sample(WINDOW_MS);
        let is_ended = |index: usize| clients[index].is_ended.get();
        let interval_ms = STREAM_END_INTERVAL.as_millis() as u64;
        // Two are beyond the share, and one more makes room.
        for (after_ms, count) in [(0, 3), (0, 3), (interval_ms, 3)] {
            streams.make_room(WINDOW_MS + after_ms);
            let ended_count = (0..6).filter(|index| is_ended(*index)).count();
            assert_eq!(ended_count, count, "after {after_ms} ms");
        }
        // They have left, and another has come in.
        for index in (0..6).filter(|index| is_ended(*index)) {
            permits[index] = None;
        }
        assert!(streams.has_room());
        let _other = streams.enter(client(false), 0);
        streams.make_room(WINDOW_MS + interval_ms);
        assert_eq!((0..6).filter(|index| is_ended(*index)).count(), 4);
    }

    #[test]
    fn a_client_that_was_slow_and_now_waits_for_its_worker_is_not_ended_and_keeps_nobody() {
        let streams = Streams::new(2);
        let (slow, other) = (client(true), client(true));
        let enter = |client: &Rc<Client>| {
            let client = Rc::clone(client) as Rc<dyn StreamClient>;
            streams.enter(client, 0)
        };
        let _permits = [enter(&slow), enter(&other)];
        other.moved.set(1000);
        streams.sample(WINDOW_MS);
        slow.is_awaited.set(false);
        assert!(streams.end_slowest());
        assert!(!slow.is_ended.get() && other.is_ended.get());
        slow.is_awaited.set(true);
        assert!(streams.end_slowest());
        assert!(slow.is_ended.get(), "it can be ended later");
    }

    #[test]
    fn time_that_the_worker_took_does_not_count() {
        let streams = Streams::new(8);
        let client = client(false);
        let _permit = streams.enter(Rc::clone(&client) as Rc<dyn StreamClient>, 0);
        // Waited for in a fifth of the window, and quick in it.
        streams.sample(WINDOW_MS * 4 / 5);
        client.is_awaited.set(true);
        client.moved.set(1000);
        streams.sample(WINDOW_MS);
        assert!(!streams.end_slowest());
        // A client that was quick once and now stands still is slow.
        client.moved.set(1 << 30);
        streams.sample(WINDOW_MS * 2);
        assert!(!streams.end_slowest());
        streams.sample(WINDOW_MS * 2 + WINDOW_MS / 2);
        assert!(streams.end_slowest());
    }

    #[test]
    fn a_habit_is_what_most_of_the_last_answers_did() {
        let habit = StreamHabit::default();
        assert!(!habit.is_usual());
        habit.learn(true);
        assert!(habit.is_usual());
        (0..20).for_each(|_| habit.learn(false));
        assert!(!habit.is_usual());
        habit.learn(true);
        habit.learn(true);
        assert!(habit.is_usual());
        (0..200).for_each(|_| habit.learn(false));
        assert_eq!(habit.0.get(), 0);
    }
}
