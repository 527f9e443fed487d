//! What the service manager is told (`sd_notify(3)`), where there is one that listens.

use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use sd_notify::NotifyState;

use crate::blocking;

/// Variables that are for one process and not for its successor.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Whether the service manager is told, and so follows a hub that hands over.
pub fn is_told() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The hub serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the hub does, in a line.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The hub reads its configuration again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The hub ends, within so long.
pub fn stopping(limit: Duration) {
    let us = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(us),
        NotifyState::Status("finishing what is in flight"),
    ]);
}

/// Another process is the service from now on. Waits until the service manager knows, which would take
/// the end of this process for the service's otherwise.
pub async fn handed_over(successor: Pid) {
    if !is_told() {
        return;
    }
    let pid = successor.as_raw_nonzero().get().unsigned_abs();
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
    let known = blocking::run("service manager", await_known).await;
    if let Err(error) = known.and_then(|known| known) {
        tracing::warn!("the service manager has not said that it knows of the new hub: {error}");
    }
}

/// Waits until everything that was told has been read: the service manager closes what is passed to it
/// with these words (`sd_notify_barrier(3)`).
fn await_known() -> io::Result<()> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()])?;
    drop(theirs);
    let limit = Timespec::try_from(BARRIER_TIME).expect("a few seconds");
    let mut fds = [PollFd::new(&ours, PollFlags::empty())];
    match rustix::event::poll(&mut fds, Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// How long the service manager may take to read what it is told.
const BARRIER_TIME: Duration = Duration::from_secs(5);

/// The hub lives.
pub fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// How long the service manager waits for a word that the hub lives; `None`: it does not.
pub fn watchdog_time() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
}

/// A successor is told of as this process is, and has sockets of its own.
pub fn prepare_successor(command: &mut Command) {
    for variable in OWN_VARIABLES {
        command.env_remove(variable);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);
    if let Err(error) = sd_notify::notify(state)
        && !HAS_FAILED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!("the service manager cannot be told (NOTIFY_SOCKET): {error}");
    }
}
