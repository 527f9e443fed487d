//! Sockets that the service manager has opened and passed on (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the sockets that were passed to this process, each with its name; none if it was started
/// without. Only the first call gets them.
pub fn take_passed() -> io::Result<Vec<(OwnedFd, String)>> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let sockets = passed.map(|(fd, name)| {
        // SAFETY: the service manager opened the descriptor for this process (LISTEN_PID is its
        // own), and nobody else here has taken it: this happens once.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // That it is open is what the variables say, and not known before this.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok((socket, name))
    });
    sockets.collect()
}
