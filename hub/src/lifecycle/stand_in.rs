//! Stays in the place of a hub that has handed over, where somebody knows the process: as
//! process 1 of a container, whose end is the container's, or as systemd's main process where that is
//! not told (`Type=exec`). It
//! passes signals on to the hub that serves, and ends with it.
//!
//! A successor that hands over in turn ends, and its own successor becomes a child of this
//! process (`PR_SET_CHILD_SUBREAPER`), however many upgrades there are.

use std::io;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::systemd;

/// Whether the process must stay for as long as a hub serves.
pub fn must_stay() -> bool {
    // Where systemd is told, it follows the new process.
    let is_systemds = || std::env::var_os("INVOCATION_ID").is_some() && !systemd::is_told();
    getpid() == Pid::INIT || is_systemds()
}

/// In the environment of hubs whose parent, or whose parent's, stays for them.
const ENVIRONMENT: &str = "SLOTWAY_STANDS_IN";

/// The exit status of a hub that has handed over, was told to end, and has told its
/// successor: nobody else need tell that one.
const PASSED_ON: u8 = 80;

/// What a successor's environment gets.
pub fn mark() -> Option<(&'static str, &'static str)> {
    must_stay().then_some((ENVIRONMENT, "1"))
}

/// How a hub ends that has passed on that it is to end.
pub fn passed_on() -> std::process::ExitCode {
    let is_heard = std::env::var_os(ENVIRONMENT).is_some();
    std::process::ExitCode::from(if is_heard { PASSED_ON } else { 0 })
}

/// To be called before the first successor starts, by a process that must stay.
pub fn adopt_successors() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Waits until no hub is left; returns the exit status of the last.
pub async fn run(successor: Pid, signals: [(Signal, &mut SignalStream); 4]) -> io::Result<i32> {
    let mut children = signal(SignalKind::child())?;
    let [(first, one), (second, two), (third, three), (fourth, four)] = signals;
    let mut serving = successor;
    let mut status = 0;
    // That it is to end, until a hub must have heard of it.
    let mut told = None;
    tracing::info!("this process stays for the hub that serves, and passes signals on to it");
    loop {
        let passed = tokio::select! {
            _ = one.recv() => Some(first),
            _ = two.recv() => Some(second),
            _ = three.recv() => Some(third),
            _ = four.recv() => Some(fourth),
            _ = children.recv() => None,
        };
        let ends = |signal: &Signal| matches!(*signal, Signal::TERM | Signal::INT);
        told = passed.filter(ends).or(told);
        let before = serving;
        serving = match reap(serving, &mut status)? {
            Some(serving) => serving,
            None => return Ok(status),
        };
        if serving != before && status == i32::from(PASSED_ON) {
            told = None;
        }
        // One that ended with it unheard leaves it to the next.
        let passed = passed.or(told.filter(|_| serving != before));
        if let Some(signal) = passed {
            // Fails only if it has ended, of which the next turn learns.
            let _ = kill_process(serving, signal);
        }
    }
}

/// Takes note of children that have ended: the one that serves now, or `None` if none is
/// left.
fn reap(serving: Pid, status: &mut i32) -> io::Result<Option<Pid>> {
    let mut has_ended = false;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((child, ended))) => {
                *status = ended.exit_status().unwrap_or(1);
                has_ended |= child == serving;
            }
            Ok(None) if !has_ended => return Ok(Some(serving)),
            Ok(None) => return Ok(Some(youngest_child()?.unwrap_or(serving))),
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The child that started last.
fn youngest_child() -> io::Result<Option<Pid>> {
    let own = getpid().as_raw_nonzero().to_string();
    let mut youngest = None;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended since.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may have spaces of its own (proc_pid_stat(5)).
        let Some((_, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = fields.split(' ').collect();
        if fields.get(1) != Some(&own.as_str()) || fields.first() == Some(&"Z") {
            continue;
        }
        let begun = fields.get(19).and_then(|begun| begun.parse::<u64>().ok());
        youngest = youngest.max(begun.map(|begun| (begun, pid)));
    }
    Ok(youngest.and_then(|(_, pid)| Pid::from_raw(pid)))
}
