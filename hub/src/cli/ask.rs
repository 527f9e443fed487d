//! Asks a hub that runs, at its attach socket.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;
use slotway_shm_proto::admin::{Command as CommandPacket, Part, REPLY_PACKET_BYTES_MAX, Reply};
use slotway_shm_proto::limits::COMMAND_BYTES_MAX;
use slotway_shm_proto::message::FromHub;
use slotway_shm_proto::packet;
use slotway_shm_proto::registration::NotRegistered;

use super::command::{Asked, WhichHub};
use super::show;
use crate::control::admin::AdminCommand;
use crate::limits::COMMAND_REPLY_TIME;

/// Why there is no reply.
#[derive(Debug)]
enum AskError {
    /// No socket is where one should be.
    NotFound(Vec<PathBuf>),
    /// It cannot be connected to.
    Connect(PathBuf, Errno),
    /// The connection failed.
    Talk(PathBuf, io::Error),
    /// The hub does not do it.
    Refused(String),
    /// Standard output cannot be written.
    Print(io::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(places) => {
                let places: Vec<_> = places
                    .iter()
                    .map(|place| place.display().to_string())
                    .collect();
                write!(
                    f,
                    "no hub's socket is at {}; the hub's first line says where it is (--socket, --port)",
                    places.join(" or ")
                )
            }
            Self::Connect(path, Errno::CONNREFUSED) => {
                write!(f, "no hub listens at {} any more", path.display())
            }
            Self::Connect(path, Errno::ACCESS) => write!(
                f,
                "{} may be used by the hub's own user and root alone",
                path.display()
            ),
            Self::Connect(path, error) => {
                write!(f, "cannot connect to {}: {error}", path.display())
            }
            Self::Talk(path, error) => {
                write!(f, "the hub at {} did not reply: {error}", path.display())
            }
            Self::Refused(why) => f.write_str(why),
            Self::Print(error) => write!(f, "cannot write: {error}"),
        }
    }
}

/// Asks, and prints the reply.
pub fn run(asked: &Asked) -> ExitCode {
    match ask(asked) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has enough.
        Err(AskError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = writeln!(io::stderr(), "slotway-hub: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command_of(asked: &Asked) -> AdminCommand {
    match asked {
        Asked::Status { .. } => AdminCommand::Status,
        Asked::Workers { .. } => AdminCommand::Workers,
        Asked::Routes { path: None, .. } => AdminCommand::Routes,
        Asked::Routes {
            path: Some(path),
            method,
            host,
            ..
        } => AdminCommand::Who {
            path: path.clone(),
            method: method.clone(),
            host: host.clone(),
        },
        Asked::Slots { .. } => AdminCommand::Slots,
        Asked::Reload { .. } => AdminCommand::Reload,
        Asked::Drain { worker, .. } => AdminCommand::Drain {
            worker: worker.clone(),
        },
        Asked::Evict { worker, .. } => AdminCommand::Evict {
            worker: worker.clone(),
        },
        Asked::Trace { route, .. } => AdminCommand::Trace {
            route: route.clone(),
        },
    }
}

fn ask(asked: &Asked) -> Result<(), AskError> {
    let hub = asked.hub();
    let (socket, path) = connect(hub)?;
    let talk = |error| AskError::Talk(path.clone(), error);
    let document = serde_json::to_vec(&command_of(asked)).expect("the hub's own types serialise");
    if document.len() > COMMAND_BYTES_MAX {
        let bytes = document.len();
        let why = format!("{bytes} bytes are too many to ask, {COMMAND_BYTES_MAX} at most");
        return Err(AskError::Refused(why));
    }
    packet::send(&socket, &CommandPacket(&document).to_packet(), &[]).map_err(talk)?;
    if matches!(asked, Asked::Trace { .. }) {
        return follow(&socket, &path, hub.json);
    }
    packet::set_timeout(&socket, COMMAND_REPLY_TIME).map_err(talk)?;
    let mut text = Vec::new();
    while receive(&socket, &path, &mut text)? == Part::More {}
    let reply: Value = serde_json::from_slice(&text)
        .map_err(io::Error::from)
        .map_err(talk)?;
    let shown = if hub.json {
        format!("{reply:#}\n")
    } else {
        show::reply(asked, &reply)
    };
    io::stdout()
        .write_all(shown.as_bytes())
        .map_err(AskError::Print)?;
    match (asked, reply["not_ready_because"].as_str()) {
        (Asked::Status { ready: true, .. }, Some(why)) => {
            Err(AskError::Refused(format!("not ready: {why}")))
        }
        _ => Ok(()),
    }
}

/// Prints requests as they come, until the hub ends.
fn follow(socket: &OwnedFd, path: &Path, json: bool) -> Result<(), AskError> {
    let mut out = io::stdout();
    let mut is_first = true;
    loop {
        let mut text = Vec::new();
        match receive(socket, path, &mut text) {
            Ok(Part::Last) => return Ok(()),
            Err(AskError::Talk(_, error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let why = "the hub ended this: it ends itself, or this was read too slowly (its log says so)";
                return Err(AskError::Refused(why.to_owned()));
            }
            received => received?,
        };
        let request: Value = serde_json::from_slice(&text)
            .map_err(|error| AskError::Talk(path.to_owned(), error.into()))?;
        let head = if is_first { show::TRACE_HEAD } else { "" };
        is_first = false;
        let line = if json {
            format!("{request}\n")
        } else {
            format!("{head}{}", show::traced(&request))
        };
        out.write_all(line.as_bytes()).map_err(AskError::Print)?;
    }
}

/// Receives a piece, behind the end of `text`.
fn receive(socket: &OwnedFd, path: &Path, text: &mut Vec<u8>) -> Result<Part, AskError> {
    let talk = |error| AskError::Talk(path.to_owned(), error);
    let received = loop {
        match packet::receive_up_to(socket, REPLY_PACKET_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => break received.map_err(talk)?,
        }
    };
    if received.bytes.is_empty() {
        return Err(talk(io::ErrorKind::UnexpectedEof.into()));
    }
    let garbage = |error| talk(io::Error::other(error));
    if let Some(refused) = NotRegistered::from_packet(&received.bytes).map_err(garbage)? {
        return Err(AskError::Refused(refused.text));
    }
    let Some(reply) = Reply::from_packet(&received.bytes).map_err(garbage)? else {
        let refused = match FromHub::from_packet(&received.bytes).map_err(garbage)? {
            FromHub::Refused(refusal) => refusal.to_string(),
            other => format!("an unexpected reply: {other:?}"),
        };
        return Err(AskError::Refused(refused));
    };
    if reply.part == Part::Failed {
        let why = String::from_utf8_lossy(reply.piece).into_owned();
        return Err(AskError::Refused(why));
    }
    text.extend_from_slice(reply.piece);
    Ok(reply.part)
}

/// Where the hub's attach socket may be.
fn places(hub: &WhichHub) -> Vec<PathBuf> {
    if let Some(path) = &hub.socket {
        return vec![path.clone()];
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = runtime_dir.into_iter().chain([PathBuf::from("/run")]);
    let file = format!("slotway-{}.sock", hub.port);
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file))
        .collect()
}

fn connect(hub: &WhichHub) -> Result<(OwnedFd, PathBuf), AskError> {
    let places = places(hub);
    for path in &places {
        let failed = |error| AskError::Connect(path.clone(), error);
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(failed)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok((socket, path.clone())),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(AskError::NotFound(places))
}
