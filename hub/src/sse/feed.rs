//! One client's events on their way: a bounded buffer, filled by any thread and
//! emptied by the reactor that has the connection. What a client was too slow for is
//! counted, and told to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::FEED_BYTES_MAX;
use crate::sse::event::Frame;

/// See the module.
#[derive(Debug)]
pub struct Feed {
    count_max: usize,
    state: Mutex<State>,
    /// The connection has something to do.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Events dropped since the buffer was emptied last.
    lost: u64,
    is_closing: bool,
}

/// What came of pushing an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is on its way.
    Queued,
    /// The client is too slow: it will be told that it lost one.
    Lost,
    /// The connection is ending.
    Closing,
}

impl Feed {
    /// An empty one for so many events.
    pub fn new(count_max: usize) -> Self {
        Self {
            count_max,
            state: Mutex::default(),
            news: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event.
    pub fn push(&self, frame: &Frame) -> Pushed {
        let mut state = self.lock();
        if state.is_closing {
            return Pushed::Closing;
        }
        let bytes = state.bytes + frame.text.len();
        // After a loss nothing is queued before the client has been told of it.
        let is_full = state.lost > 0
            || state.frames.len() >= self.count_max
            || (bytes > FEED_BYTES_MAX && !state.frames.is_empty());
        if is_full {
            state.lost += 1;
            return Pushed::Lost;
        }
        state.bytes = bytes;
        state.frames.push_back(frame.clone());
        drop(state);
        self.news.notify_one();
        Pushed::Queued
    }

    /// Appends all that is there to `out`, and returns the id of the last event that
    /// has one.
    pub fn take(&self, out: &mut Vec<u8>) -> Option<Arc<str>> {
        let mut state = self.lock();
        let frames = std::mem::take(&mut state.frames);
        let lost = std::mem::take(&mut state.lost);
        state.bytes = 0;
        drop(state);
        let mut last_id = None;
        for frame in frames {
            out.extend_from_slice(frame.text.as_bytes());
            last_id = frame.id.or(last_id);
        }
        if lost > 0 {
            let told = format!("event: lagged\ndata: {{\"lost\":{lost}}}\n\n");
            out.extend_from_slice(told.as_bytes());
        }
        last_id
    }

    /// Whether there is anything to take.
    pub fn is_empty(&self) -> bool {
        self.lock().frames.is_empty()
    }

    /// Waits until an event has been pushed since this was asked last.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// No further event is taken.
    pub fn close(&self) {
        self.lock().is_closing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str, id: Option<&str>) -> Frame {
        Frame {
            text: text.into(),
            id: id.map(Into::into),
        }
    }

    fn taken(feed: &Feed) -> String {
        let mut out = Vec::new();
        feed.take(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_come_out_in_order_and_the_last_id_is_known() {
        let feed = Feed::new(8);
        assert!(feed.is_empty());
        for (text, id) in [("a", None), ("b", Some("1")), ("c", None)] {
            assert_eq!(feed.push(&frame(text, id)), Pushed::Queued);
        }
        let mut out = Vec::new();
        assert_eq!(feed.take(&mut out).as_deref(), Some("1"));
        assert_eq!(out, b"abc");
        assert!(feed.is_empty());
    }

    #[test]
    fn a_slow_client_is_told_how_many_events_it_lost_where_it_lost_them() {
        let feed = Feed::new(2);
        let outcomes: Vec<_> = ["a", "b", "c", "d"]
            .map(|text| feed.push(&frame(text, None)))
            .into();
        assert_eq!(outcomes[1..], [Pushed::Queued, Pushed::Lost, Pushed::Lost]);
        assert_eq!(taken(&feed), "abevent: lagged\ndata: {\"lost\":2}\n\n");
        assert_eq!(feed.push(&frame("e", None)), Pushed::Queued);
        assert_eq!(taken(&feed), "e");
    }

    #[test]
    fn bytes_are_bounded_too_but_one_event_always_goes() {
        let feed = Feed::new(1000);
        let large = "x".repeat(FEED_BYTES_MAX);
        assert_eq!(feed.push(&frame(&large, None)), Pushed::Queued);
        assert_eq!(feed.push(&frame("y", None)), Pushed::Lost);
    }

    #[test]
    fn a_closing_feed_takes_nothing() {
        let feed = Feed::new(1);
        feed.close();
        assert_eq!(feed.push(&frame("a", None)), Pushed::Closing);
    }
}
