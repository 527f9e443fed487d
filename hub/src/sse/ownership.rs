//! Which worker knows of a subscriber. Workers come and go while it stays, and each new
//! one has to be notified.

use std::time::Instant;

/// `O` is the worker, `T` the task that notifies one.
#[derive(Debug, PartialEq, Eq)]
pub enum Ownership<O, T> {
    /// This worker does, or may.
    Known(O),
    /// A worker is being notified.
    Notifying(T),
    /// None. The last try has failed, and the next must not come before this.
    Nobody {
        /// `None`: at once.
        retry_at: Option<Instant>,
    },
}

/// How a notification has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum NotifyEnd<O> {
    /// This worker knows of the subscriber, or may.
    Known(O),
    /// The worker does not want it, or the route is no event stream any more.
    Unwanted,
    /// There was no worker, or it went.
    Failed,
}

/// What follows for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// It goes on.
    Stay,
    /// It ends.
    End,
}

impl<O, T> Ownership<O, T> {
    /// Whether a worker must be notified now, if there is one.
    pub fn is_due(&self, now: Instant, is_live: impl Fn(&O) -> bool) -> bool {
        match self {
            Self::Known(owner) => !is_live(owner),
            Self::Notifying(_) => false,
            Self::Nobody { retry_at } => retry_at.is_none_or(|at| now >= at),
        }
    }

    /// A worker is being notified. What is held of the last one is let go of.
    pub fn begin(&mut self, task: T) {
        *self = Self::Notifying(task);
    }

    /// That has ended; if it has failed, it is to be tried again at `retry_at`.
    pub fn finish(&mut self, end: NotifyEnd<O>, retry_at: Instant) -> Next {
        let retry_at = Some(retry_at);
        *self = match end {
            NotifyEnd::Known(owner) => Self::Known(owner),
            NotifyEnd::Unwanted => return Next::End,
            NotifyEnd::Failed => Self::Nobody { retry_at },
        };
        Next::Stay
    }

    /// Other workers serve the route: it is worth trying at once.
    pub fn routes_changed(&mut self) {
        if let Self::Nobody { retry_at } = self {
            *retry_at = None;
        }
    }

    /// When a worker is to be notified again, while that is to come.
    pub fn retry_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Nobody { retry_at } => retry_at.filter(|at| *at > now),
            _ => None,
        }
    }

    /// The task that notifies a worker, if there is one.
    pub fn task(&mut self) -> Option<&mut T> {
        match self {
            Self::Notifying(task) => Some(task),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    type Plain = Ownership<u8, &'static str>;

    #[test]
    fn a_worker_is_notified_when_the_last_one_has_gone_and_no_other_is_being_notified() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let is_live = |owner: &u8| *owner == 1;
        for (state, is_due) in [
            (Plain::Known(1), false),
            (Plain::Known(2), true),
            (Plain::Notifying("task"), false),
            (Plain::Nobody { retry_at: None }, true),
            (
                Plain::Nobody {
                    retry_at: Some(now),
                },
                true,
            ),
            (
                Plain::Nobody {
                    retry_at: Some(later),
                },
                false,
            ),
        ] {
            assert_eq!(state.is_due(now, is_live), is_due, "{state:?}");
        }
    }

    #[test]
    fn what_comes_of_a_notification_decides_about_the_stream_and_the_next_try() {
        let retry_at = Instant::now();
        let failed = Plain::Nobody {
            retry_at: Some(retry_at),
        };
        for (end, next, state) in [
            (NotifyEnd::Known(7), Next::Stay, Plain::Known(7)),
            (NotifyEnd::Failed, Next::Stay, failed),
            (NotifyEnd::Unwanted, Next::End, Plain::Notifying("task")),
        ] {
            let mut own = Plain::Known(1);
            own.begin("task");
            assert_eq!(own.task(), Some(&mut "task"));
            assert_eq!(own.finish(end, retry_at), next);
            assert_eq!(own, state);
        }
        let mut own = Plain::Nobody {
            retry_at: Some(retry_at),
        };
        let before = retry_at.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(own.retry_at(before), Some(retry_at));
        assert_eq!(
            own.retry_at(retry_at),
            None,
            "it is due, and waits for nothing"
        );
        own.routes_changed();
        assert_eq!(own, Plain::Nobody { retry_at: None });
    }
}
