//! Whether this process may choose the cores of its threads. A seccomp filter may end a process for
//! trying (systemd's `SystemCallFilter=` does unless it is told otherwise), so where there is a filter a
//! child tries.

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Whether it may; asked once.
pub(crate) fn is_allowed(set: &CpuSet) -> bool {
    static IS_ALLOWED: OnceLock<bool> = OnceLock::new();
    *IS_ALLOWED.get_or_init(|| !has_filter() || child_survives(set))
}

/// `Seccomp: 2` (`proc_pid_status(5)`). Where that cannot be read there may be one.
fn has_filter() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_none_or(|mode| mode.trim() == "2")
}

fn child_survives(set: &CpuSet) -> bool {
    // SAFETY: the child has this thread alone and calls nothing that takes a lock or memory: one
    // system call, and its end.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let code = i32::from(sched_setaffinity(None, set).is_err());
            // SAFETY: `_exit` takes any number and does not return.
            unsafe { nix::libc::_exit(code) }
        }
        // Somebody else may wait for all children of this process: then nothing is known.
        Ok(ForkResult::Parent { child }) => loop {
            match waitpid(child, None) {
                Err(Errno::EINTR) => {}
                ended => return matches!(ended, Ok(WaitStatus::Exited(_, 0))),
            }
        },
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_may_keep_to_the_cores_that_this_thread_has() {
        let own = rustix::thread::sched_getaffinity(None).unwrap();
        assert!(child_survives(&own) && is_allowed(&own));
    }
}
