//! Attaching: the Unix socket that becomes the session's connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use slotway_shm_proto::layout::Geometry;
use slotway_shm_proto::message::{FromHub, Goodbye, Hello, MessageError};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::WorkerRegions;

use crate::error::RunError;
use crate::limits::CONNECT_TIME;
use crate::register::Reservation;

/// An attached session's parts.
pub(crate) struct Attachment {
    pub geometry: Geometry,
    pub regions: WorkerRegions,
    pub eventfds: Vec<OwnedFd>,
    pub socket: OwnedFd,
}

/// Says hello and maps what the hub passes; blocks for at most [`CONNECT_TIME`].
pub(crate) fn attach(reservation: &Reservation, thread_count: u32) -> Result<Attachment, RunError> {
    let failed = |error: io::Error| RunError::AttachSocket {
        path: reservation.attach.clone(),
        error,
    };
    let socket = connect(&reservation.attach).map_err(failed)?;
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
    })
}

fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, direction, Some(CONNECT_TIME))?;
    }
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Blocks until the hub ends the session; the reason, if it gave one.
pub(crate) fn wait_for_end(socket: &impl AsFd) -> Option<Goodbye> {
    loop {
        match packet::receive(socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(packet) => {
                return match FromHub::from_packet(&packet.bytes) {
                    Ok(FromHub::Goodbye(goodbye)) => Some(goodbye),
                    _ => None,
                };
            }
            Err(_) => return None,
        }
    }
}
