//! How far the notification that a client has come has got. A client may leave at any
//! time; a worker that has begun with it must get to its end all the same.

/// The notification of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// No worker has it.
    Waiting,
    /// A worker has it: from here on it may know of the client.
    Submitted,
    /// A worker has it, and the client has left since: no other one need know of it.
    SubmittedAndLeft,
}

/// What follows for a notification that needs a worker, the first or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// One is looked for.
    Submit,
    /// None is.
    Drop,
}

/// What follows for the wait of a client that has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterHangup {
    /// It may end: no worker will ever know.
    MayEnd,
    /// It goes on to the worker's response.
    GoOn,
}

impl Notice {
    /// A worker is needed.
    pub fn begin(&mut self) -> Next {
        match self {
            Self::Waiting | Self::Submitted => {
                *self = Self::Waiting;
                Next::Submit
            }
            Self::SubmittedAndLeft => Next::Drop,
        }
    }

    /// A worker has it.
    pub fn submitted(&mut self) {
        if *self == Self::Waiting {
            *self = Self::Submitted;
        }
    }

    /// The client has hung up; `is_gone` if it reads no more either.
    pub fn hung_up(&mut self, is_gone: bool) -> AfterHangup {
        match self {
            Self::Waiting => AfterHangup::MayEnd,
            Self::Submitted | Self::SubmittedAndLeft => {
                if is_gone {
                    *self = Self::SubmittedAndLeft;
                }
                AfterHangup::GoOn
            }
        }
    }

    /// Whether a worker may know of the client.
    pub fn is_submitted(self) -> bool {
        self != Self::Waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Notice::{Submitted, SubmittedAndLeft, Waiting};

    #[test]
    fn a_client_that_left_is_told_to_the_worker_that_has_begun_and_to_no_other() {
        for (before, after, next) in [
            (Waiting, Waiting, Next::Submit),
            (Submitted, Waiting, Next::Submit),
            (SubmittedAndLeft, SubmittedAndLeft, Next::Drop),
        ] {
            let mut notice = before;
            assert_eq!(notice.begin(), next, "{before:?}");
            assert_eq!(notice, after, "{before:?}");
        }
    }

    #[test]
    fn a_hangup_ends_the_wait_only_while_no_worker_can_know_of_the_client() {
        for (before, is_gone, after, next) in [
            (Waiting, false, Waiting, AfterHangup::MayEnd),
            (Waiting, true, Waiting, AfterHangup::MayEnd),
            (Submitted, false, Submitted, AfterHangup::GoOn),
            (Submitted, true, SubmittedAndLeft, AfterHangup::GoOn),
            (SubmittedAndLeft, false, SubmittedAndLeft, AfterHangup::GoOn),
            (SubmittedAndLeft, true, SubmittedAndLeft, AfterHangup::GoOn),
        ] {
            let mut notice = before;
            assert_eq!(notice.hung_up(is_gone), next, "{before:?} {is_gone}");
            assert_eq!(notice, after, "{before:?} {is_gone}");
            assert_eq!(notice.is_submitted(), next == AfterHangup::GoOn);
        }
        for (before, after) in [
            (Waiting, Submitted),
            (Submitted, Submitted),
            (SubmittedAndLeft, SubmittedAndLeft),
        ] {
            let mut notice = before;
            notice.submitted();
            assert_eq!(notice, after, "{before:?}");
        }
    }
}
