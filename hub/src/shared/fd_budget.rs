//! How the descriptors that the system gives the hub are shared out, so that neither
//! clients nor workers can take those of the other.

use std::fmt;

use crate::limits::{
    FILE_COUNT_MAX, FILE_FD_DIVISOR, OTHER_FD_COUNT, OTHER_FD_DIVISOR, PROCESS_SESSIONS_DIVISOR,
    SESSION_FD_DIVISOR, USER_SESSIONS_DIVISOR,
};

/// Sessions that there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// In all.
    pub all: u32,
    /// Of one user.
    pub per_user: u32,
    /// Of one process.
    pub per_process: u32,
}

impl fmt::Display for SessionLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            all,
            per_user,
            per_process,
        } = self;
        write!(
            f,
            "{all} in all, {per_user} of a user, {per_process} of a process"
        )
    }
}

/// What the limit of open files allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdBudget {
    /// Client connections.
    pub connections: u64,
    /// Sessions.
    pub sessions: SessionLimits,
    /// Files of workers.
    pub files: u64,
}

impl FdBudget {
    /// Shares out `fd_limit` descriptors; a session with so many lanes has a connection, a
    /// process, and an eventfd for each lane. Another connection for each session may wait to
    /// become one.
    pub fn new(fd_limit: u64, lane_count: u32) -> Self {
        let session_fds = 3 + u64::from(lane_count);
        let others = OTHER_FD_COUNT.min(fd_limit / OTHER_FD_DIVISOR);
        let rest = fd_limit.saturating_sub(others);
        let all = (rest / SESSION_FD_DIVISOR / session_fds).max(1);
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let files = (rest / FILE_FD_DIVISOR).clamp(1, FILE_COUNT_MAX);
        let taken = u64::from(all) * session_fds + 3 * files;
        Self {
            files,
            connections: rest.saturating_sub(taken).max(1),
            sessions: SessionLimits {
                all,
                per_user: all - all / USER_SESSIONS_DIVISOR,
                per_process: all - all / PROCESS_SESSIONS_DIVISOR,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_workers_and_the_hub_itself_share_any_limit() {
        for fd_limit in [64, 256, 513, 1024, 4096, 20_000, 1 << 20] {
            for lane_count in [1, 2, 8] {
                let budget = FdBudget::new(fd_limit, lane_count);
                let sessions = budget.sessions;
                let session_fds = u64::from(sessions.all) * (3 + u64::from(lane_count));
                assert!(
                    budget.connections + session_fds + 3 * budget.files <= fd_limit,
                    "{fd_limit} {budget:?}"
                );
                assert!(budget.connections >= fd_limit / 2, "{fd_limit} {budget:?}");
                assert!(sessions.per_process >= 1 && sessions.per_process <= sessions.per_user);
            }
        }
        let ordinary = FdBudget::new(1024, 1);
        assert!(
            ordinary.sessions.per_process < ordinary.sessions.all,
            "another one finds room"
        );
    }
}
