//! A hub that another one started to take over: nobody's child until its parent ends.

use rustix::process::{Pid, Signal, kill_process};

use crate::system::{HubPart, wait_until};

/// A hub that took over, ended with the value.
#[derive(Debug)]
pub struct Successor(Pid);

impl Successor {
    /// Tells a hub of this log to hand over; the hub it starts, once it accepts.
    pub fn take_over(hub: &HubPart, from: Pid) -> Self {
        let nth = started(hub).len();
        kill_process(from, Signal::USR2).expect("it is running");
        Self::find(hub, nth)
    }

    /// The `nth` that the log tells of, once it is there.
    pub fn find(hub: &HubPart, nth: usize) -> Self {
        wait_until("a new hub is started", || started(hub).len() > nth);
        Self(started(hub)[nth])
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// Whether it has.
    pub fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    /// Whether it has, with all of its threads, and its parent knows.
    pub fn is_reaped(&self) -> bool {
        !std::path::Path::new(&format!("/proc/{}", self.0.as_raw_nonzero())).exists()
    }

    /// Waits until it has ended, which it does by itself once it has handed over.
    pub fn await_end(&self) {
        await_end(self.0);
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Fails if it has ended, as most have.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Waits until a process that may not be ours to wait for has ended: reaped by whoever
/// adopts orphans here, at its own time.
pub fn await_end(process: Pid) {
    let hub = std::mem::ManuallyDrop::new(Successor(process));
    wait_until("a hub ends", || hub.has_ended());
}

/// The new hubs that the log tells of.
fn started(hub: &HubPart) -> Vec<Pid> {
    let log = hub.part.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("started the new hub"));
    let pids = lines.filter_map(|line| line.split_once("process=")?.1.trim().parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}
