//! The limit of open files, which the processes that a test starts inherit.

/// Raises this process's soft limit of open files to the hard one, for tests with many
/// connections.
pub fn raise_fd_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit it may be raised");
}

/// Raises this process's limits of open files, and so those of the processes that it starts, to
/// at least this. False: that is not allowed.
pub fn raise_hard_fd_limit(least: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile)
        .maximum
        .map(|most| most.max(least));
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).is_ok()
}
