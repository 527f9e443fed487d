//! The old hub's side of an upgrade: starts the program again, hands over what it
//! has, and goes on serving if that fails.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, Signal};
use slotway_shm_proto::packet;

use crate::lifecycle::handover::{self, Description, ENVIRONMENT, Step};
use crate::lifecycle::{stand_in, systemd};
use crate::limits::{HANDOVER_TIME, MOVE_TIME};

/// The program as it was started: what stands there later is the new one. Links in its
/// path are followed then, not now: a deploy may switch one.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// To be asked at the start, before anybody changes the folder.
    pub fn running() -> io::Result<Self> {
        let typed = std::env::args_os().next().map(PathBuf::from);
        let Some(typed) = typed.filter(|typed| !typed.as_os_str().is_empty()) else {
            return std::env::current_exe().map(Self);
        };
        if typed.components().count() > 1 || typed.is_absolute() {
            return std::path::absolute(typed).map(Self);
        }
        // A name alone was found by the shell.
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders)
            .map(|folder| folder.join(&typed))
            .find(|path| path.is_file());
        match found {
            Some(path) => std::path::absolute(path).map(Self),
            None => std::env::current_exe().map(Self),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Says what to do about a program that cannot be started.
fn explain(error: &io::Error, program: &Path) -> io::Error {
    let program = program.display();
    if error.kind() == io::ErrorKind::ExecutableFileBusy {
        return io::Error::other(format!(
            "{error}: {program} is still open for writing; write the new program beside it and \
             rename it to this name (install, mv)"
        ));
    }
    io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
}

/// A new hub that is about to take over. Ended again if it is dropped before.
pub struct Successor {
    process: Option<Process>,
    socket: OwnedFd,
}

/// Its process.
enum Process {
    /// A child of this one.
    Child(Child),
    /// The service manager's, which so learns how it ends.
    Detached(Pid),
}

/// In the variable of a hub that is to take over: its process is to be nobody's child here.
const DETACH: &str = "detach";
/// It is.
const DETACHED: &str = "detached";
/// It is this process's child.
const CHILD: &str = "stdin";

impl Successor {
    /// Starts the program with this one's arguments. Blocks.
    pub fn start(program: &Program) -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        packet::set_timeout(&ours, HANDOVER_TIME)?;
        let is_detached = systemd::is_told();
        let kind = if is_detached { DETACH } else { CHILD };
        let mut command = Command::new(program.path());
        systemd::prepare_successor(&mut command);
        let mut child = command
            .args(std::env::args_os().skip(1))
            .env(ENVIRONMENT, kind)
            .envs(stand_in::mark())
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|error| explain(&error, program.path()))?;
        let process = if is_detached {
            // It ends at once, and what it has started is the service manager's.
            child.wait()?;
            Process::Detached(handover::hear_process(&ours)?)
        } else {
            Process::Child(child)
        };
        let this = Self {
            process: Some(process),
            socket: ours,
        };
        tracing::info!(process = this.number(), "upgrade: started the new hub");
        Ok(this)
    }

    fn number(&self) -> u32 {
        match &self.process {
            Some(Process::Child(child)) => child.id(),
            Some(Process::Detached(pid)) => pid.as_raw_nonzero().get().unsigned_abs(),
            None => 0,
        }
    }

    /// Hands everything over and waits until the new hub expects the workers. Blocks.
    pub fn prepare(&self, description: &Description, fds: &[OwnedFd]) -> io::Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        handover::send(&self.socket, description, &fds)?;
        handover::hear(&self.socket, Step::Prepared)
    }

    /// The workers have been told; waits until the new hub accepts. Returns its
    /// process. Blocks.
    pub fn await_ready(mut self) -> io::Result<Pid> {
        handover::say(&self.socket, Step::Moved)?;
        handover::hear(&self.socket, Step::Ready)?;
        // It is nobody's child from now on.
        match self.process.take() {
            Some(Process::Child(child)) => Ok(Pid::from_child(&child)),
            Some(Process::Detached(pid)) => Ok(pid),
            None => Err(io::Error::other("no process")),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Each fails only if it has ended by itself.
        match self.process.take() {
            Some(Process::Child(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Some(Process::Detached(pid)) => {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            None => {}
        }
    }
}

/// Where this process is only to start the new hub: does so, and says that it is to end.
pub fn must_detach() -> io::Result<bool> {
    if std::env::var_os(ENVIRONMENT).is_none_or(|kind| kind != DETACH) {
        return Ok(false);
    }
    let program = Program::running()?;
    let started = Command::new(program.path())
        .args(std::env::args_os().skip(1))
        .env(ENVIRONMENT, DETACHED)
        .spawn();
    started.map_err(|error| explain(&error, program.path()))?;
    Ok(true)
}

/// The new hub's side.
pub struct Predecessor {
    socket: OwnedFd,
}

impl Predecessor {
    /// The hub that started this one to take over, if one did.
    pub fn find() -> io::Result<Option<Self>> {
        let Some(kind) = std::env::var_os(ENVIRONMENT) else {
            return Ok(None);
        };
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        // The connection must not stay open for as long as this process runs.
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(HANDOVER_TIME))?;
        if kind == DETACHED {
            handover::say_process(&socket)?;
        }
        Ok(Some(Self { socket }))
    }

    /// What it hands over. Blocks.
    pub fn take(&self) -> io::Result<(Description, Vec<OwnedFd>)> {
        handover::take(&self.socket)
    }

    /// Everything is made and the workers are expected; waits until they have been
    /// told. Blocks.
    pub fn prepared(&self) -> io::Result<()> {
        handover::say(&self.socket, Step::Prepared)?;
        handover::hear(&self.socket, Step::Moved)
    }

    /// This hub does not take over. In vain only if the other has ended.
    pub fn failed(&self, why: &impl std::fmt::Display) {
        let _ = handover::fail(&self.socket, &why.to_string());
    }

    /// This hub accepts.
    pub fn ready(&self) -> io::Result<()> {
        handover::say(&self.socket, Step::Ready)
    }
}

const _: () = assert!(HANDOVER_TIME.as_secs() > MOVE_TIME.as_secs());
