//! Attaching: the Unix socket that becomes the session's connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use slotway_shm_proto::layout::Geometry;
use slotway_shm_proto::message::{FromHub, Goodbye, Hello, MessageError, WORKER_ID_BYTES};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::WorkerRegions;

use crate::error::RunError;
use crate::register::Reservation;

/// An attached session's parts.
pub(crate) struct Attachment {
    pub geometry: Geometry,
    pub regions: WorkerRegions,
    pub eventfds: Vec<OwnedFd>,
    pub socket: OwnedFd,
    /// Where it attached.
    pub path: PathBuf,
}

/// Says hello and maps what the hub passes; blocks for at most `limit`.
pub(crate) fn attach(
    reservation: &Reservation,
    thread_count: u32,
    limit: Duration,
) -> Result<Attachment, RunError> {
    let failed = |error: io::Error| RunError::AttachSocket {
        path: reservation.attach.clone(),
        error,
    };
    let socket = connect(&reservation.attach, limit).map_err(failed)?;
    let hello = Hello {
        worker_id: reservation.worker_id,
        thread_count,
    };
    let sent = packet::send(&socket, &hello.to_packet(), &[]);
    let welcome = packet::receive(&socket).map_err(failed)?;
    if welcome.bytes.is_empty() {
        // A hub that refuses may close before it is greeted; its refusal, if
        // there is one, counts more than that.
        sent.map_err(failed)?;
        return Err(RunError::Disconnected);
    }
    let geometry = match FromHub::from_packet(&welcome.bytes)? {
        FromHub::Welcome(geometry) => geometry,
        FromHub::Refused(refusal) => return Err(RunError::Refused(refusal)),
        FromHub::Goodbye(goodbye) => return Err(RunError::Ended(goodbye)),
        FromHub::Moving(_) => return Err(RunError::Disconnected),
    };
    let garbage = MessageError::Garbage {
        bytes: welcome.bytes.len(),
    };
    let mut fds = welcome.fds;
    if fds.len() != geometry.lane_count() as usize + 2 {
        return Err(garbage.into());
    }
    let eventfds = fds.split_off(2);
    let fds: [OwnedFd; 2] = fds.try_into().map_err(|_| garbage)?;
    let regions = WorkerRegions::map(&fds, &geometry)?;
    // From here on a receive waits for the session's end.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, None)
        .map_err(|error| failed(error.into()))?;
    Ok(Attachment {
        geometry,
        regions,
        eventfds,
        socket,
        path: reservation.attach.clone(),
    })
}

fn connect(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, direction, Some(limit))?;
    }
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

/// Blocks until the hub says something, or the connection ends.
pub(crate) fn wait_for_news(socket: &impl AsFd) -> News {
    loop {
        match packet::receive(socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(packet) => {
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
