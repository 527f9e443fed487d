//! Attaching: the Unix socket that becomes the session's connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use slotway_shm_proto::credentials::peer_credentials;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::message::{FromHub, Goodbye, Hello, MessageError, Refusal, WORKER_ID_BYTES};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::WorkerRegions;
use slotway_shm_proto::registration::{NotRegistered, REPLY_PACKET_BYTES_MAX, Register};
use slotway_shm_proto::upgrade::{HAND_OVER_PACKET_BYTES_MAX, HandOver};

use crate::error::RunError;
use crate::hub::register::Reservation;

/// Where a worker's hub is, and which users it may run as.
#[derive(Clone, Debug)]
pub(crate) struct AttachSocket {
    /// The attach socket, if the worker was told.
    pub told: Option<PathBuf>,
    /// Where it may be, if it was not.
    pub usual: Vec<PathBuf>,
    /// Users besides the worker's own and root.
    pub trusted: Vec<u32>,
}

impl AttachSocket {
    /// Whether the process that listens may be the worker's hub. Anybody can listen on a
    /// port or make a file, and would then see the worker's requests; what the system
    /// says of the other end of a Unix socket nobody can forge.
    fn check_user(&self, socket: &OwnedFd, path: &Path) -> Result<(), RunError> {
        let peer = peer_credentials(socket).map_err(|error| RunError::AttachSocket {
            path: path.to_owned(),
            error,
        })?;
        let own = rustix::process::geteuid().as_raw();
        if peer.uid == own || peer.uid == 0 || self.trusted.contains(&peer.uid) {
            return Ok(());
        }
        Err(RunError::UntrustedHub {
            path: path.to_owned(),
            uid: peer.uid,
        })
    }
}

/// Registers and attaches at the attach socket. `None`: there is no hub that knows how, so
/// that it must be asked over HTTP.
pub(crate) fn register_and_attach(
    attach: &AttachSocket,
    document: &[u8],
    thread_count: u32,
    limit: Duration,
) -> Result<Option<Attachment>, RunError> {
    let places = match &attach.told {
        Some(path) => std::slice::from_ref(path),
        None => &attach.usual,
    };
    for path in places {
        let socket = match connect(path, limit) {
            Ok(socket) => socket,
            // Whose hub is elsewhere may have nothing there, or what a dead one left.
            Err(_) if attach.told.is_none() => continue,
            Err(error) => return Err(cannot_reach(path, error)),
        };
        attach.check_user(&socket, path)?;
        let sent = Register::pieces(document, thread_count)
            .try_for_each(|piece| packet::send(&socket, &piece.to_packet(), &[]));
        match welcome(socket, path, sent) {
            // A hub of before this could be done.
            Err(RunError::Refused(Refusal::Garbage)) if attach.told.is_none() => {}
            attached => return attached.map(Some),
        }
    }
    Ok(None)
}

/// An attached session's parts.
pub(crate) struct Attachment {
    pub geometry: Geometry,
    pub regions: WorkerRegions,
    pub eventfds: Vec<OwnedFd>,
    pub socket: OwnedFd,
    /// Where it attached.
    pub path: PathBuf,
    /// The hub's own paths hide some of the worker's.
    pub hides_paths: bool,
}

/// Says hello with what was registered over HTTP; blocks for at most `limit`.
pub(crate) fn attach(
    reservation: &Reservation,
    attach: &AttachSocket,
    thread_count: u32,
    limit: Duration,
) -> Result<Attachment, RunError> {
    let path = &reservation.attach;
    let socket = connect(path, limit).map_err(|error| cannot_reach(path, error))?;
    attach.check_user(&socket, path)?;
    let hello = Hello {
        worker_id: reservation.worker_id,
        thread_count,
    };
    let sent = packet::send(&socket, &hello.to_packet(), &[]);
    welcome(socket, path, sent)
}

/// Waits for the hub's reply, and maps what it passes. `sent` is how saying the first
/// word went.
fn welcome(socket: OwnedFd, path: &Path, sent: io::Result<()>) -> Result<Attachment, RunError> {
    let failed = |error: io::Error| RunError::AttachSocket {
        path: path.to_owned(),
        error,
    };
    let invalid = |error: MessageError| RunError::Message(error.to_string());
    let welcome = packet::receive_up_to(&socket, REPLY_PACKET_BYTES_MAX).map_err(failed)?;
    if welcome.bytes.is_empty() {
        // A hub that refuses may close before it is greeted; its refusal, if
        // there is one, counts more than that.
        sent.map_err(failed)?;
        return Err(RunError::Disconnected);
    }
    if let Some(NotRegistered { status, text }) =
        NotRegistered::from_packet(&welcome.bytes).map_err(invalid)?
    {
        return Err(RunError::Registration {
            status,
            response: text,
        });
    }
    let (geometry, hides_paths) = match FromHub::from_packet(&welcome.bytes).map_err(invalid)? {
        FromHub::Welcome {
            geometry,
            hides_paths,
        } => (geometry, hides_paths),
        FromHub::Refused(refusal) => return Err(RunError::Refused(refusal)),
        FromHub::Goodbye(goodbye) => return Err(RunError::Ended(goodbye)),
        FromHub::Moving(_) => return Err(RunError::Disconnected),
    };
    let garbage = MessageError::Garbage {
        bytes: welcome.bytes.len(),
    };
    let mut fds = welcome.fds;
    if fds.len() != geometry.lane_count() as usize + 2 {
        return Err(invalid(garbage));
    }
    let eventfds = fds.split_off(2);
    let fds: [OwnedFd; 2] = fds.try_into().map_err(|_| invalid(garbage))?;
    let regions =
        WorkerRegions::map(&fds, &geometry).map_err(|error| RunError::Region(error.to_string()))?;
    // From here on a receive waits for the session's end.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, None)
        .map_err(|error| failed(error.into()))?;
    Ok(Attachment {
        geometry,
        regions,
        eventfds,
        socket,
        path: path.to_owned(),
        hides_paths,
    })
}

/// Why connecting failed; that the socket is another user's is nothing that time mends.
fn cannot_reach(path: &Path, error: io::Error) -> RunError {
    let path = path.to_owned();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return RunError::AttachSocket { path, error };
    }
    RunError::AttachDenied {
        owner: rustix::fs::stat(&path).ok().map(|status| status.st_uid),
        own: rustix::process::geteuid().as_raw(),
        path,
    }
}

fn connect(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    packet::set_timeout(&socket, limit)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// What the hub says to an attached worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// The session is over; the reason, if the hub gave one.
    Ended(Option<Goodbye>),
    /// A new hub waits for the worker, under this id.
    Moving([u8; WORKER_ID_BYTES]),
}

/// Blocks until the hub says something, or the connection ends. Client sockets are handed on
/// meanwhile.
pub(crate) fn wait_for_news(
    socket: &impl AsFd,
    mut handed_over: impl FnMut(&HandOver<'_>, Option<OwnedFd>),
) -> News {
    loop {
        match packet::receive_up_to(socket, HAND_OVER_PACKET_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(mut packet) => {
                if let Ok(Some(message)) = HandOver::from_packet(&packet.bytes) {
                    // Without descriptors left, the socket does not arrive with its message.
                    let socket = packet.fds.pop().filter(|_| message.has_socket);
                    handed_over(&message, socket);
                    continue;
                }
                return match FromHub::from_packet(&packet.bytes) {
                    Ok(FromHub::Goodbye(goodbye)) => News::Ended(Some(goodbye)),
                    Ok(FromHub::Moving(worker_id)) => News::Moving(worker_id),
                    _ => News::Ended(None),
                };
            }
            Err(_) => return News::Ended(None),
        }
    }
}
