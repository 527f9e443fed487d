//! The last warnings and errors of the log, for the status page.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::limits::{RECENT_LINE_BYTES_MAX, RECENT_LINE_COUNT_MAX};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// `WARN` or `ERROR`.
    pub level: &'static str,
    /// What it says, and the values of its fields.
    pub text: String,
}

/// The last lines. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentLines(Arc<Mutex<VecDeque<Line>>>);

impl RecentLines {
    /// When the newest was said, in milliseconds since 1970; 0 without one.
    pub fn newest_ms(&self) -> u64 {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().map_or(0, |line| line.at_ms)
    }

    /// All that are kept, newest first.
    pub fn newest_first(&self) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().rev().cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for RecentLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            _ => return,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let mut text = text.0;
        if let Some((end, _)) = text
            .char_indices()
            .find(|(at, _)| *at >= RECENT_LINE_BYTES_MAX)
        {
            text.truncate(end);
            text.push('…');
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line {
            at_ms: since_1970.unwrap_or_default().as_millis() as u64,
            level,
            text,
        };
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= RECENT_LINE_COUNT_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The message, and then `name=value` of each field.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A String takes everything.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn the_last_warnings_and_errors_are_kept_and_nothing_else() {
        let recent = RecentLines::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not this");
            for n in 0..RECENT_LINE_COUNT_MAX {
                tracing::warn!(worker = "w", "number {n}");
            }
            tracing::error!("{}", "é".repeat(RECENT_LINE_BYTES_MAX));
        });
        let lines = recent.newest_first();
        assert_eq!(lines.len(), RECENT_LINE_COUNT_MAX);
        assert_eq!(lines[0].level, "ERROR");
        assert!(lines[0].text.len() <= RECENT_LINE_BYTES_MAX + 4);
        assert_eq!(lines.last().unwrap().text, "number 1 worker=\"w\"");
    }
}
