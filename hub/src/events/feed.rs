//! One client's events on their way: a bounded buffer, filled by any thread and
//! emptied by the reactor that has the connection. Clients share the bytes of an event
//! until they are sent, a piece at a time. What a client was too slow for is counted,
//! and told to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::events::memory::{Held, Room};
use crate::limits::{FEED_BYTES_MAX, FEED_PIECE_BYTES};

/// The bounded buffer of one client.
#[derive(Debug)]
pub struct Feed {
    count_max: usize,
    state: Mutex<State>,
    /// The connection has something to do.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arc<Held>>,
    /// Of the first frame; the rest of it follows before anything else.
    sent_bytes: usize,
    /// Of all frames, but for what has been sent.
    bytes: usize,
    /// Events dropped since the buffer was emptied last.
    lost: u64,
    is_closing: bool,
    /// When the first frame was begun, if it has been.
    begun_at: Option<Instant>,
    /// It was too slow for an event while memory was short: the connection must end.
    is_cut: bool,
}

impl State {
    /// Lets go of what has not been begun.
    fn drop_waiting(&mut self) {
        let kept = usize::from(self.sent_bytes > 0);
        self.lost += (self.frames.len() - kept) as u64;
        self.frames.truncate(kept);
        let first = self.frames.front().map_or(0, |frame| frame.text.len());
        self.bytes = first - self.sent_bytes;
    }

    fn is_full(&self, count_max: usize, bytes: usize) -> bool {
        // After a loss nothing is queued before the client has been told of it.
        self.lost > 0
            || self.frames.len() >= count_max
            || (self.bytes + bytes > FEED_BYTES_MAX && !self.frames.is_empty())
    }
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

    /// Queues an event, if there is room: for this client, and in the hub's memory. Where
    /// that is short, a client that lags behind loses what waits for it.
    pub fn push(&self, frame: &Arc<Held>, room: Room) -> Pushed {
        let mut state = self.lock();
        if state.is_closing {
            return Pushed::Closing;
        }
        if room != Room::Plenty {
            state.drop_waiting();
        }
        let bytes = frame.text.len();
        let pushed = if room == Room::None || state.is_full(self.count_max, bytes) {
            state.lost += 1;
            Pushed::Lost
        } else {
            state.bytes += bytes;
            state.frames.push_back(Arc::clone(frame));
            Pushed::Queued
        };
        drop(state);
        self.news.notify_one();
        pushed
    }

    /// Appends the next piece of what is there to `out`, and returns the id of the last
    /// event that has one and is complete with it.
    pub fn take(&self, out: &mut Vec<u8>) -> Option<Arc<str>> {
        let mut state = self.lock();
        let mut last_id = None;
        let mut room = FEED_PIECE_BYTES;
        while let Some(frame) = state.frames.front() {
            let rest = &frame.text.as_bytes()[state.sent_bytes..];
            if rest.len() > room {
                out.extend_from_slice(&rest[..room]);
                state.sent_bytes += room;
                state.bytes -= room;
                state.begun_at.get_or_insert_with(Instant::now);
                break;
            }
            out.extend_from_slice(rest);
            last_id = frame.id.clone().or(last_id);
            room -= rest.len();
            state.bytes -= rest.len();
            state.sent_bytes = 0;
            state.begun_at = None;
            state.frames.pop_front();
        }
        if !state.frames.is_empty() {
            drop(state);
            self.news.notify_one();
        } else if state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            let told = format!("event: lagged\ndata: {{\"lost\":{lost}}}\n\n");
            out.extend_from_slice(told.as_bytes());
        }
        last_id
    }

    /// Whether there is anything to take.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.frames.is_empty() && state.lost == 0
    }

    /// Whether the rest of an event must follow what has been sent.
    pub fn is_within_event(&self) -> bool {
        self.lock().sent_bytes > 0
    }

    /// Waits until there may be something to take that was not there when this was asked
    /// last.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Ends a client that has not taken an event that was begun before a moment, and lets
    /// go of that event. Says whether it is one.
    pub fn cut_if_begun_before(&self, moment: Instant) -> bool {
        let mut state = self.lock();
        let is_slow = state.begun_at.is_some_and(|begun_at| begun_at < moment);
        if is_slow {
            // Only once, however often it is found.
            state.begun_at = None;
            state.is_closing = true;
            state.is_cut = true;
            // Not even what it has lost is told within an event.
            state.frames.clear();
            (state.bytes, state.lost) = (0, 0);
            drop(state);
            self.news.notify_one();
        }
        is_slow
    }

    /// Whether it was ended by [`Feed::cut_if_begun_before`].
    pub fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// No further event is taken.
    pub fn close(&self) {
        self.lock().is_closing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::frame::Frame;
    use crate::events::memory::EventMemory;
    use std::time::Duration;

    fn frame(text: &str, id: Option<&str>) -> Arc<Held> {
        Arc::new(EventMemory::default().hold(&Frame {
            text: text.into(),
            id: id.map(Into::into),
        }))
    }

    fn push(feed: &Feed, text: &str) -> Pushed {
        feed.push(&frame(text, None), Room::Plenty)
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
            assert_eq!(feed.push(&frame(text, id), Room::Plenty), Pushed::Queued);
        }
        let mut out = Vec::new();
        assert_eq!(feed.take(&mut out).as_deref(), Some("1"));
        assert_eq!(out, b"abc");
        assert!(feed.is_empty());
    }

    #[test]
    fn a_slow_client_is_told_how_many_events_it_lost_where_it_lost_them() {
        let feed = Feed::new(2);
        let outcomes: Vec<_> = ["a", "b", "c", "d"].map(|text| push(&feed, text)).into();
        assert_eq!(outcomes[1..], [Pushed::Queued, Pushed::Lost, Pushed::Lost]);
        assert_eq!(taken(&feed), "abevent: lagged\ndata: {\"lost\":2}\n\n");
        assert_eq!(push(&feed, "e"), Pushed::Queued);
        assert_eq!(taken(&feed), "e");
    }

    #[test]
    fn bytes_are_bounded_too_but_one_event_always_goes() {
        let feed = Feed::new(1000);
        assert_eq!(push(&feed, &"x".repeat(FEED_BYTES_MAX)), Pushed::Queued);
        assert_eq!(push(&feed, "y"), Pushed::Lost);
    }

    #[test]
    fn a_large_event_comes_in_pieces_and_its_id_counts_with_the_last() {
        let feed = Feed::new(8);
        let text = "x".repeat(FEED_PIECE_BYTES + 1);
        assert_eq!(
            feed.push(&frame(&text, Some("7")), Room::Plenty),
            Pushed::Queued
        );
        assert_eq!(push(&feed, "y"), Pushed::Queued);
        let mut out = Vec::new();
        assert_eq!(feed.take(&mut out), None);
        assert_eq!(out.len(), FEED_PIECE_BYTES);
        assert!(feed.is_within_event());
        // Nothing but its rest may follow, even where memory is short.
        assert_eq!(feed.push(&frame("z", None), Room::Short), Pushed::Lost);
        out.clear();
        assert_eq!(feed.take(&mut out).as_deref(), Some("7"));
        assert_eq!(out, b"xevent: lagged\ndata: {\"lost\":2}\n\n");
        assert!(!feed.is_within_event() && feed.is_empty());
    }

    #[test]
    fn where_memory_is_short_who_lags_behind_loses_and_who_does_not_gets_it() {
        let feed = Feed::new(8);
        assert_eq!(feed.push(&frame("a", None), Room::Short), Pushed::Queued);
        assert_eq!(feed.push(&frame("b", None), Room::Short), Pushed::Lost);
        assert_eq!(taken(&feed), "event: lagged\ndata: {\"lost\":2}\n\n");
        assert_eq!(feed.push(&frame("c", None), Room::None), Pushed::Lost);
        assert!(!feed.is_empty(), "it is told so");
        assert_eq!(taken(&feed), "event: lagged\ndata: {\"lost\":1}\n\n");
    }

    #[test]
    fn a_closing_feed_takes_nothing() {
        let feed = Feed::new(1);
        feed.close();
        assert_eq!(push(&feed, "a"), Pushed::Closing);
    }

    #[test]
    fn a_client_that_is_within_one_event_for_too_long_is_cut_and_its_event_let_go_of() {
        let feed = Feed::new(2);
        let text = "x".repeat(2 * FEED_PIECE_BYTES);
        push(&feed, &text);
        let before = Instant::now();
        let later = before + Duration::from_secs(1);
        assert!(!feed.cut_if_begun_before(later), "nothing of it is sent");
        let mut out = Vec::new();
        feed.take(&mut out);
        assert!(!feed.cut_if_begun_before(before));
        assert!(feed.cut_if_begun_before(later) && feed.is_cut() && feed.is_empty());
        assert!(!feed.cut_if_begun_before(later), "it counts once");
        assert_eq!(push(&feed, "a"), Pushed::Closing);
        assert!(feed.is_within_event(), "nothing may follow what was sent");
    }
}
