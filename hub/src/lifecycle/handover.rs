//! What an old hub hands to a new one: its listening sockets and locks, and the
//! registrations of its workers. The two talk over a Unix socket that is the new
//! process's standard input.
//!
//! ```text
//! old                                     new
//!   Sockets + [descriptors] …  ────────▶
//!                              ◀────────  Prepared: everything made, workers expected
//!   Moved                      ────────▶  (the workers have been told, and attach)
//!                              ◀────────  Ready: it accepts
//!   drains and ends
//! ```
//!
//! In place of any of its steps the new one may say why it ends (`failed: …`).
//!
//! Until Ready the old hub serves on; if the new one ends before, it goes on as if
//! nothing had been.

use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use slotway_shm_proto::packet::{self, FD_COUNT_MAX};

use crate::routing::registration::ExpectedWorker;

/// In the environment of a hub that is to take over.
pub use crate::config::check::HANDOVER_VARIABLE as ENVIRONMENT;

/// One step of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Some of the descriptors; more follow.
    Some,
    /// The last of them.
    Sockets,
    /// The new hub has made everything, and expects the workers.
    Prepared,
    /// The old hub has told its workers to attach to the new one.
    Moved,
    /// The new hub accepts clients.
    Ready,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Some,
        Self::Sockets,
        Self::Prepared,
        Self::Moved,
        Self::Ready,
    ];

    fn word(self) -> &'static [u8] {
        match self {
            Self::Some => b"some",
            Self::Sockets => b"sockets",
            Self::Prepared => b"prepared",
            Self::Moved => b"moved",
            Self::Ready => b"ready",
        }
    }
}

/// What the descriptors are; they come in this order, behind the document itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Description {
    /// Of the shared memory that the workers use.
    #[serde(default)]
    pub layout_version: u32,
    /// For clients.
    #[serde(flatten)]
    pub clients: ListenerDescription,
    /// For who operates the hub.
    #[serde(default)]
    pub operations: ListenerDescription,
    /// For balancers that ask how the hub is.
    #[serde(default)]
    pub agents: ListenerDescription,
    /// A listening socket, and its lock unless the service manager opened it.
    pub attach: PathBuf,
    /// Whether it did.
    #[serde(default)]
    pub attach_is_service_managers: bool,
    /// A folder that was made for the attach socket.
    pub private_folder: Option<PathBuf>,
    /// Workers that will attach.
    pub workers: Vec<ExpectedWorker>,
}

/// Listening sockets of one purpose.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ListenerDescription {
    /// For each address so many listening sockets.
    pub tcp: Vec<(SocketAddr, usize)>,
    /// For each path a listening socket, and its lock.
    pub unix: Vec<PathBuf>,
    /// For each path a listening socket that the service manager opened.
    #[serde(default)]
    pub service_managers: Vec<PathBuf>,
}

/// Sends one step. The socket waits for its peer.
pub fn say(socket: impl AsFd, step: Step) -> io::Result<()> {
    packet::send(socket, step.word(), &[])
}

/// Says which process the new hub is: where it is no child of the old one, that cannot know.
pub fn say_process(socket: impl AsFd) -> io::Result<()> {
    let packet = format!("{PROCESS}{}", std::process::id());
    packet::send(socket, packet.as_bytes(), &[])
}

/// Waits for that.
pub fn hear_process(socket: impl AsFd) -> io::Result<Pid> {
    let received = packet::receive_up_to(socket, FAILURE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&received.bytes);
    let number = text
        .strip_prefix(PROCESS)
        .and_then(|number| number.parse().ok());
    let pid = number.and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the new hub ended at its start; its log says why"))
}

const PROCESS: &str = "process ";

/// Says why this hub does not take over.
pub fn fail(socket: impl AsFd, why: &str) -> io::Result<()> {
    let most = FAILURE_BYTES_MAX - FAILED.len();
    let why = why.as_bytes();
    let packet = [FAILED, &why[..why.len().min(most)]].concat();
    packet::send(socket, &packet, &[])
}

const FAILED: &[u8] = b"failed: ";

/// Longest packet that says so.
const FAILURE_BYTES_MAX: usize = 1024;

/// Waits for a step that must be this one.
pub fn hear(socket: impl AsFd, expected: Step) -> io::Result<()> {
    let (step, _) = receive(socket)?;
    if step == expected {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{step:?} where {expected:?} was due"
        )))
    }
}

fn receive(socket: impl AsFd) -> io::Result<(Step, Vec<OwnedFd>)> {
    let packet = loop {
        match packet::receive_up_to(&socket, FAILURE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => break received?,
        }
    };
    if packet.bytes.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the other hub has ended",
        ));
    }
    if let Some(why) = packet.bytes.strip_prefix(FAILED) {
        return Err(io::Error::other(String::from_utf8_lossy(why).into_owned()));
    }
    let step = Step::ALL
        .into_iter()
        .find(|step| step.word() == packet.bytes);
    let step = step.ok_or_else(|| io::Error::other("no step of a handover"))?;
    Ok((step, packet.fds))
}

/// Sends the description and the descriptors.
pub fn send(
    socket: impl AsFd,
    description: &Description,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut document = std::fs::File::from(rustix::fs::memfd_create("slotway-handover", flags)?);
    serde_json::to_writer(&document, description)?;
    document.flush()?;
    document.rewind()?;
    let all: Vec<_> = std::iter::once(document.as_fd())
        .chain(fds.iter().copied())
        .collect();
    let count = all.chunks(FD_COUNT_MAX).count();
    for (index, chunk) in all.chunks(FD_COUNT_MAX).enumerate() {
        let is_last = index + 1 == count;
        let step = if is_last { Step::Sockets } else { Step::Some };
        packet::send(&socket, step.word(), chunk)?;
    }
    Ok(())
}

/// Receives what [`send`] has sent.
pub fn take(socket: impl AsFd) -> io::Result<(Description, Vec<OwnedFd>)> {
    let mut fds = Vec::new();
    loop {
        let (step, more) = receive(&socket)?;
        fds.extend(more);
        match step {
            Step::Some => {}
            Step::Sockets => break,
            other => {
                return Err(io::Error::other(format!(
                    "{other:?} where sockets were due"
                )));
            }
        }
    }
    if fds.is_empty() {
        return Err(io::Error::other("a handover without descriptors"));
    }
    let mut document = std::fs::File::from(fds.remove(0));
    let mut text = String::new();
    document.read_to_string(&mut text)?;
    Ok((serde_json::from_str(&text)?, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::registration::{ExpectedRoute, RouteOptions};

    #[test]
    fn descriptors_and_workers_arrive_however_many_there_are() {
        let (old, new) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let workers = (0..500).map(|n| ExpectedWorker {
            worker_id: format!("{n:032}"),
            name: format!("worker {n}"),
            shares_routes: false,
            upgrades: false,
            started_ms: None,
            version: None,
            routes: vec![ExpectedRoute {
                method: "GET".to_owned(),
                host: None,
                path: format!("/{n}"),
                options: RouteOptions::default(),
            }],
            uid: Some(n as u32),
            session_id: n,
        });
        let description = Description {
            clients: ListenerDescription {
                tcp: vec![("127.0.0.1:80".parse().unwrap(), 70)],
                ..ListenerDescription::default()
            },
            workers: workers.collect(),
            ..Description::default()
        };
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds = vec![null.as_fd(); 150];
        send(&old, &description, &fds).unwrap();
        let (taken, fds) = take(&new).unwrap();
        assert_eq!((taken.workers.len(), fds.len()), (500, 150));
        assert_eq!(taken.clients.tcp, description.clients.tcp);
        say(&new, Step::Prepared).unwrap();
        assert!(hear(&old, Step::Ready).is_err(), "not yet");
        drop(new);
        let error = hear(&old, Step::Ready).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
