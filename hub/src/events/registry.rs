//! All clients of event streams, by what they listen to.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::events::feed::{Feed, Pushed};
use crate::events::frame::Frame;
use crate::events::memory::{EventMemory, Room};
use crate::limits::EVENT_TIME_MAX;

/// What a client listens to, and by what it can be found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `/events`: everything that is emitted.
    All,
    /// `/events/{channel}`.
    Channel(String),
    /// An SSE route's clients, by the path that they asked for, as sent.
    Path(String),
    /// An SSE route's clients, by its pattern.
    Pattern(String),
    /// One client of an SSE route.
    Connection(String),
    /// The status pages.
    Status,
}

/// Names and decoded values of a path's parameters.
pub type Params = Vec<(String, String)>;

/// What is known of a client of an SSE route.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Of its path.
    pub params: Params,
    /// Of its route.
    pub host: Option<Arc<str>>,
}

/// Which clients of a topic an event is for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those that have all of these parameters.
    pub params: BTreeMap<String, String>,
    /// Those whose route is of one of these hosts, or of none if the list is empty.
    pub hosts: Option<Vec<String>>,
}

impl Filter {
    fn lets(&self, client: &Client) -> bool {
        let is_of_host = match (&self.hosts, client.host.as_deref()) {
            (None, _) => true,
            (Some(hosts), None) => hosts.is_empty(),
            (Some(hosts), Some(own)) => hosts.iter().any(|host| own.eq_ignore_ascii_case(host)),
        };
        is_of_host
            && self
                .params
                .iter()
                .all(|(name, value)| client.params.iter().any(|(n, v)| n == name && v == value))
    }
}

#[derive(Debug)]
struct Listener {
    feed: Arc<Feed>,
    client: Client,
}

/// The clients of all event streams.
#[derive(Debug, Default)]
pub struct Registry {
    /// Never used twice.
    next_key: AtomicU64,
    topics: Mutex<HashMap<Topic, BTreeMap<u64, Arc<Listener>>>>,
    memory: EventMemory,
}

/// A client's place in the registry, which it leaves with this.
#[derive(Debug)]
pub struct Listening<'r> {
    registry: &'r Registry,
    key: u64,
    topics: Vec<Topic>,
    /// What it gets.
    pub feed: Arc<Feed>,
}

/// Whom an event has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// It is on its way to so many.
    pub queued: u64,
    /// So many were too slow for it.
    pub lost: u64,
    /// So many are just ending.
    pub closing: u64,
    /// So many were ended, since memory was short and they were slow to take an event.
    pub cut: u64,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, BTreeMap<u64, Arc<Listener>>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a client.
    pub fn enter(
        &self,
        topics: Vec<Topic>,
        client: Client,
        event_count_max: usize,
    ) -> Listening<'_> {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let feed = Arc::new(Feed::new(event_count_max));
        let listener = Arc::new(Listener {
            feed: Arc::clone(&feed),
            client,
        });
        let mut all = self.lock();
        for topic in &topics {
            let listeners = all.entry(topic.clone()).or_default();
            listeners.insert(key, Arc::clone(&listener));
        }
        drop(all);
        Listening {
            registry: self,
            key,
            topics,
            feed,
        }
    }

    /// Clients that listen to a topic.
    pub fn count(&self, topic: &Topic) -> usize {
        self.lock().get(topic).map_or(0, BTreeMap::len)
    }

    /// All clients of event streams, status pages apart.
    pub fn client_count(&self) -> usize {
        let all = self.lock();
        let of_one = |topic: &Topic| matches!(topic, Topic::All | Topic::Channel(_));
        // A client of a route listens to three topics.
        let clients = all
            .iter()
            .filter(|(topic, _)| of_one(topic) || matches!(topic, Topic::Connection(_)));
        clients.map(|(_, listeners)| listeners.len()).sum()
    }

    /// Ends all clients that have been within one event for too long.
    fn cut_slow(&self, now: Instant) -> u64 {
        let Some(moment) = now.checked_sub(EVENT_TIME_MAX) else {
            return 0;
        };
        let all: Vec<_> = self
            .lock()
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect();
        let cut = all
            .iter()
            .filter(|listener| listener.feed.cut_if_begun_before(moment));
        cut.count() as u64
    }

    /// Pushes an event to the clients of a topic that a filter lets through.
    pub fn push(&self, topic: &Topic, filter: &Filter, frame: &Frame) -> Reached {
        let found: Vec<_> = match self.lock().get(topic) {
            Some(listeners) => listeners.values().cloned().collect(),
            None => return Reached::default(),
        };
        let mut reached = Reached::default();
        let mut room = self.memory.room();
        if room == Room::None {
            // Events that slow clients are within must not stop those of all others.
            reached.cut = self.cut_slow(Instant::now());
            room = self.memory.room();
        }
        let held = Arc::new(self.memory.hold(frame));
        for listener in found
            .iter()
            .filter(|listener| filter.lets(&listener.client))
        {
            match listener.feed.push(&held, room) {
                Pushed::Queued => reached.queued += 1,
                Pushed::Lost => reached.lost += 1,
                Pushed::Closing => reached.closing += 1,
            }
        }
        reached
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut all = self.registry.lock();
        for topic in &self.topics {
            if let Some(listeners) = all.get_mut(topic) {
                listeners.remove(&self.key);
                if listeners.is_empty() {
                    all.remove(topic);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            text: "x".into(),
            id: None,
        }
    }

    fn params(pairs: &[(&str, &str)]) -> Filter {
        let owned = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Filter {
            params: owned.collect(),
            ..Filter::default()
        }
    }

    #[test]
    fn events_reach_those_who_listen_and_nobody_who_has_left() {
        let registry = Registry::default();
        let pattern = Topic::Pattern("/r/{id}".to_owned());
        let client = |id: &str| {
            let topics = vec![Topic::Path(format!("/r/{id}")), pattern.clone()];
            let client = Client {
                params: vec![("id".to_owned(), id.to_owned())],
                host: Some(format!("{id}.example").into()),
            };
            registry.enter(topics, client, 1)
        };
        let (one, also_one, two) = (client("1"), client("1"), client("2"));
        let reached = registry.push(&Topic::Path("/r/1".to_owned()), &params(&[]), &frame());
        assert_eq!(reached.queued, 2);
        assert!(two.feed.is_empty());
        let reached = registry.push(&pattern, &params(&[("id", "2")]), &frame());
        assert_eq!((reached.queued, reached.lost), (1, 0));
        let reached = registry.push(&pattern, &params(&[]), &frame());
        assert_eq!((reached.queued, reached.lost), (0, 3), "all are full");
        let of = |host: &str| Filter {
            hosts: Some(vec![host.to_owned()]),
            ..Filter::default()
        };
        assert_eq!(registry.push(&pattern, &of("2.Example"), &frame()).lost, 1);
        assert_eq!(registry.push(&pattern, &of("example"), &frame()).lost, 0);
        let of_none = Filter {
            hosts: Some(Vec::new()),
            ..Filter::default()
        };
        assert_eq!(registry.push(&pattern, &of_none, &frame()).lost, 0);
        let other = registry.push(&pattern, &params(&[("other", "2")]), &frame());
        assert_eq!(other, Reached::default());
        two.feed.close();
        drop((one, also_one));
        let reached = registry.push(&pattern, &params(&[]), &frame());
        assert_eq!((reached.closing, reached.queued), (1, 0));
        drop(two);
        assert!(registry.lock().is_empty());
    }
}
