//! What requests cost beside time: system calls, wakes and memory, and what another load
//! generator says.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use slotway_loadgen::load::plan::{Plan, Stop};
use slotway_loadgen::load::run::run;

use super::loads::closed;
use super::systems::System;
use crate::wrk;

/// Of a system under `get-64`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The system.
    pub name: String,
    /// System calls of all its processes, by perf's tracepoint; `None` where that may not be
    /// used.
    pub syscalls_per_request: Option<f64>,
    /// Times that a thread of it went to sleep, and so had to be woken.
    pub sleeps_per_request: f64,
    /// Memory of all its processes, shared pages by their share (PSS), in KiB.
    pub memory_kib: u64,
    /// What wrk says, where it is installed: requests per second.
    pub wrk_rate: Option<f64>,
}

/// What perf needs to begin with.
const PERF_START: Duration = Duration::from_millis(500);

/// Looks at a system.
pub fn look(system: &System, time: Duration) -> Facts {
    let plan = Plan {
        warmup: Duration::ZERO,
        ..closed(64).plan(system, time)
    };
    let requests = || {
        let outcome = run(&plan, &Arc::new(Stop::default()), &mut ());
        let outcome = outcome.expect("it has answered before");
        outcome.total.response_count.max(1) as f64
    };
    let pids = system.pids();
    let before = sleep_count(&pids);
    let count = requests();
    let sleeps_per_request = (sleep_count(&pids) - before) as f64 / count;
    let memory_kib = pids.iter().map(|pid| pss_kib(*pid)).sum();
    let url = format!("http://{}/api/items/42", system.address);
    let seconds = (time.as_secs() as u32).max(1);
    Facts {
        name: system.name.to_owned(),
        syscalls_per_request: count_syscalls(&pids, requests),
        sleeps_per_request,
        memory_kib,
        wrk_rate: wrk::is_installed().then(|| wrk::run(&url, 64, seconds).rate),
    }
}

/// The threads of a process, as folders.
fn tasks(pid: Pid) -> impl Iterator<Item = std::path::PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.path())
}

/// Nanoseconds that the threads of these processes have run.
pub fn cpu_time(pids: &[Pid]) -> Duration {
    let of_task = |task: std::path::PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        first.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let tasks = pids.iter().flat_map(|pid| tasks(*pid));
    Duration::from_nanos(tasks.map(of_task).sum())
}

fn sleep_count(pids: &[Pid]) -> u64 {
    let of_task = |task: std::path::PathBuf| {
        let text = fs::read_to_string(task.join("status")).unwrap_or_default();
        let own = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        own.and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let tasks = pids.iter().flat_map(|pid| tasks(*pid));
    tasks.map(of_task).sum()
}

fn pss_kib(pid: Pid) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let text = fs::read_to_string(path).unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = own.and_then(|text| text.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// System calls per request, by perf.
fn count_syscalls(pids: &[Pid], requests: impl FnOnce() -> f64) -> Option<f64> {
    let list: Vec<_> = pids
        .iter()
        .map(|pid| pid.as_raw_nonzero().to_string())
        .collect();
    let mut perf = Command::new("perf")
        .args([
            "stat",
            "-x,",
            "-e",
            "raw_syscalls:sys_enter",
            "-p",
            &list.join(","),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    std::thread::sleep(PERF_START);
    if perf.try_wait().is_ok_and(|ended| ended.is_some()) {
        return None;
    }
    let requests = requests();
    kill_process(Pid::from_child(&perf), Signal::INT).ok()?;
    let output = perf.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count: f64 = text
        .lines()
        .find_map(|line| line.split(',').next()?.parse().ok())?;
    Some(count / requests)
}
