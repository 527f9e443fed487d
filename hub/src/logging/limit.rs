//! How often each line of the log may come. A line is known by where the program writes
//! it; each has a budget of its own, and what is left out is counted and told.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::limits::{LOG_BURST, LOG_LINES_PER_S, LOG_SUMMARY_INTERVAL};

/// The budgets of all lines. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(Arc<Mutex<HashMap<Identifier, Budget>>>);

#[derive(Debug)]
struct Budget {
    left: f64,
    at: Instant,
    left_out: u64,
    /// What the first line says that was left out.
    example: String,
    /// When the first was left out that nobody has been told of.
    since: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: LOG_BURST,
            at: now,
            left_out: 0,
            example: String::new(),
            since: now,
        }
    }

    /// Whether a line may be written now.
    fn take(&mut self, now: Instant) -> bool {
        let earned = (now - self.at).as_secs_f64() * LOG_LINES_PER_S;
        self.left = (self.left + earned).min(LOG_BURST);
        self.at = now;
        let may_write = self.left >= 1.0;
        if may_write {
            self.left -= 1.0;
        }
        may_write
    }
}

/// Lines that were left out, for one place of the program.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
    /// In how long.
    pub time: Duration,
}

impl RateLimit {
    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Budget>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_write(&self, site: Identifier, now: Instant, text: impl FnOnce() -> String) -> bool {
        let mut budgets = self.lock();
        let budget = budgets.entry(site).or_insert_with(|| Budget::new(now));
        if budget.take(now) {
            return true;
        }
        if budget.left_out == 0 {
            budget.since = now;
            budget.example = text();
        }
        budget.left_out += 1;
        false
    }

    /// What has been left out for long enough to be told, or all of it.
    pub fn take_left_out(&self, now: Instant, all: bool) -> Vec<LeftOut> {
        let mut budgets = self.lock();
        let told = budgets.values_mut().filter(|budget| {
            budget.left_out > 0 && (all || now - budget.since >= LOG_SUMMARY_INTERVAL)
        });
        told.map(|budget| LeftOut {
            count: std::mem::take(&mut budget.left_out),
            example: std::mem::take(&mut budget.example),
            time: now - budget.since,
        })
        .collect()
    }
}

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let text = || {
            let mut message = Message::default();
            event.record(&mut message);
            message.0
        };
        self.may_write(event.metadata().callsite(), Instant::now(), text)
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // A String takes everything.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    struct Count(Arc<Mutex<u64>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    #[test]
    fn a_flood_of_one_line_is_bounded_counted_and_hides_no_other() {
        let limit = RateLimit::default();
        let lines = Arc::new(Mutex::new(0_u64));
        let layer =
            tracing_subscriber::Layer::with_filter(Count(Arc::clone(&lines)), limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for n in 0..10_000 {
                tracing::warn!("a flood, {n}");
            }
            let flood = *lines.lock().unwrap();
            assert!((LOG_BURST as u64..10_000).contains(&flood), "{flood}");
            tracing::warn!("something else");
            assert_eq!(*lines.lock().unwrap(), flood + 1);
            let left_out = limit.take_left_out(Instant::now(), true);
            assert_eq!(left_out.len(), 1);
            assert_eq!(left_out[0].count + flood, 10_000);
            assert!(left_out[0].example.starts_with("a flood, "));
            assert!(
                limit.take_left_out(Instant::now(), true).is_empty(),
                "told once"
            );
        });
    }

    #[test]
    fn a_budget_comes_back_with_time_up_to_its_burst() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let burst = (0..1000).filter(|_| budget.take(start)).count();
        assert_eq!(burst, LOG_BURST as usize);
        let later = start + Duration::from_secs(1);
        let second = (0..1000).filter(|_| budget.take(later)).count();
        assert_eq!(second, LOG_LINES_PER_S as usize);
        let much_later = later + Duration::from_secs(1_000_000);
        let rested = (0..1000).filter(|_| budget.take(much_later)).count();
        assert_eq!(rested, LOG_BURST as usize);
    }
}
