//! A command that serves a target for as long as it is compared.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use slotway_net::{Address, Engine, connect};

use crate::limits::{START_PATIENCE, STOP_PATIENCE};
use crate::load::Stop;

/// A running command and all that it has started; ended with the value.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// Why a command does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No shell, or the like.
    #[error("{command:?} cannot be started: {error}")]
    Spawn {
        /// The command.
        command: String,
        /// The system's error.
        error: io::Error,
    },
    /// It is over before it has served.
    #[error("{command:?} ended ({status}) before {address} answered; see its output above")]
    Ended {
        /// The command.
        command: String,
        /// How.
        status: String,
        /// Where it should listen.
        address: Address,
    },
    /// It runs, and nothing listens.
    #[error("{command:?} runs, but after {} s nothing listens on {address}; check its port", START_PATIENCE.as_secs())]
    Silent {
        /// The command.
        command: String,
        /// Where it should listen.
        address: Address,
    },
    /// Something listens already.
    #[error("{0} is in use already, so {1:?} would not be what is measured; stop it first")]
    InUse(Address, String),
    /// Ctrl-C.
    #[error("ended before anything was measured")]
    Stopped,
}

impl Process {
    /// Starts a shell command in a process group of its own, and waits until
    /// its address takes connections. Its standard output is dropped, its
    /// standard error is ours.
    pub fn start(command: &str, address: &Address, stop: &Stop) -> Result<Self, StartError> {
        if listens(address) {
            return Err(StartError::InUse(address.clone(), command.to_owned()));
        }
        let child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| StartError::Spawn {
                command: command.to_owned(),
                error,
            })?;
        let mut process = Self { child };
        lock_running().push(process.group());
        let start = Instant::now();
        while !listens(address) {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(StartError::Ended {
                    command: command.to_owned(),
                    status: status.to_string(),
                    address: address.clone(),
                });
            }
            if stop.is_requested() {
                return Err(StartError::Stopped);
            }
            if start.elapsed() > START_PATIENCE {
                return Err(StartError::Silent {
                    command: command.to_owned(),
                    address: address.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// User and system time of its whole process group, so far.
    pub fn cpu_time(&self) -> Duration {
        let group = self.group().as_raw_nonzero().get().to_string();
        let ticks: u64 = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|stat| {
                // Behind the name come state, parent, group, …; user and system
                // time are fields 14 to 17 with the children's (proc_pid_stat(5)).
                let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
                (*fields.get(2)? == group).then(|| {
                    fields[11..15]
                        .iter()
                        .map(|field| field.parse::<u64>().unwrap_or(0))
                        .sum::<u64>()
                })
            })
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = self.group();
        // Each fails only if the group is gone already.
        let _ = kill_process_group(group, Signal::TERM);
        let start = Instant::now();
        // A shell may go before the server that it has started.
        while (matches!(self.child.try_wait(), Ok(None)) || test_kill_process_group(group).is_ok())
            && start.elapsed() < STOP_PATIENCE
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        lock_running().retain(|running| *running != group);
    }
}

/// Groups that run now, for an end in a hurry.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn lock_running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every command at once.
pub fn end_all_now() {
    for group in lock_running().drain(..) {
        // Fails only if it is gone already.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn listens(address: &Address) -> bool {
    let connecting = async {
        let patience = Duration::from_millis(500);
        let connected = tokio::time::timeout(patience, connect(Engine::Epoll, address)).await;
        matches!(connected, Ok(Ok(_)))
    };
    slotway_net::run(Engine::Epoll, connecting).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_ends_or_an_address_in_use_is_said_in_a_sentence() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(free.local_addr().unwrap());
        let in_use = Process::start("sleep 9", &address, &Stop::default()).unwrap_err();
        assert!(in_use.to_string().contains("in use already"), "{in_use}");
        drop(free);
        let ended = Process::start("exit 7", &address, &Stop::default()).unwrap_err();
        assert!(ended.to_string().contains("exit status: 7"), "{ended}");
    }
}
