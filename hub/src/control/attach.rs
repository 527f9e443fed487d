//! The attach socket's connections: taking greetings, and watching a session's
//! connection and process.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags};
use slotway_net::{Watched, readable};
use slotway_shm_proto::admin::Command;
use slotway_shm_proto::credentials::{PeerCredentials, peer_credentials};
use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::message::{
    Emit, FromHub, Hello, Leaving, MessageError, Refusal, WORKER_PACKET_BYTES_MAX,
};
use slotway_shm_proto::packet::{self, Packet};
use slotway_shm_proto::registration::{NotRegistered, REGISTER_PACKET_BYTES_MAX, Register};
use slotway_shm_proto::upgrade::Sockets;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::attach_queue::{AttachQueue, QueueLimits};
use crate::foreign_fd;
use crate::limits::{ACCEPT_PAUSE, HELLO_TIME, REGISTRATION_BYTES_MAX};
use crate::shared::attach_policy::{AttachPolicy, Grant};
use crate::shared::message::{ControlMessage, Greeting, Opening};

/// Accepts workers, each in a task of its own until it has said hello. The
/// listener is the socket's. So many may wait to say it.
pub async fn accept(
    listener: Watched,
    limits: QueueLimits,
    control: mpsc::UnboundedSender<ControlMessage>,
    mut open: watch::Receiver<bool>,
    mut policy: watch::Receiver<AttachPolicy>,
) {
    let queue = AttachQueue::new(limits);
    loop {
        // While a new hub takes over, workers wait for it.
        if open.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            accepted = listener.read_with(|socket| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                Ok(rustix::net::accept_with(socket, flags)?)
            }) => accepted,
            _ = open.changed() => continue,
        };
        match accepted {
            Ok(socket) => {
                let Ok(peer) = peer_credentials(&socket) else {
                    refuse(&socket, Refusal::NoResources);
                    continue;
                };
                let Some(grant) = policy.borrow_and_update().grant(&socket, peer) else {
                    refuse_user(&socket, peer);
                    continue;
                };
                let Some(place) = queue.enter(peer.uid) else {
                    tracing::warn!(
                        user = peer.uid,
                        "as many connections of this user wait at the attach socket as may; another was closed"
                    );
                    continue;
                };
                let control = control.clone();
                tokio::spawn(async move {
                    let turn = place.turn().await;
                    greet(socket, control, (peer, grant), turn).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept workers; trying again after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn greet(
    socket: OwnedFd,
    control: mpsc::UnboundedSender<ControlMessage>,
    (peer, grant): (PeerCredentials, Grant),
    turn: OwnedSemaphorePermit,
) {
    match tokio::time::timeout(HELLO_TIME, read_first(&socket)).await {
        Ok(Ok(First::Command(document))) => match grant {
            Grant::Own => {
                // As below.
                let _ = control.send(ControlMessage::Command(document, socket));
            }
            Grant::Other(_) => {
                let uid = peer.uid;
                let text = format!(
                    "commands are for the hub's own user and root, and this is user {uid}; its workers may \
                     attach"
                );
                refuse_with(&socket, 403, text);
            }
        },
        Ok(Ok(First::TooLarge)) => {
            let text = format!(
                "a registration may have {REGISTRATION_BYTES_MAX} bytes: register fewer routes, or a \
                 pattern for many of them (/shop/{{*rest}})"
            );
            refuse_with(&socket, 413, text);
        }
        Ok(Ok(First::Worker(opening))) => {
            let greeting = Greeting {
                opening,
                socket,
                peer,
                turn,
            };
            // Fails only when the hub stops, and closes the connection then.
            let _ = control.send(ControlMessage::Hello(greeting));
        }
        Ok(Err(refusal)) => refuse(&socket, refusal),
        Err(_) => tracing::warn!(
            user = peer.uid,
            "a connection to the attach socket sent nothing in time"
        ),
    }
}

/// Refuses a connection, with a line in the log.
pub fn refuse(socket: &OwnedFd, refusal: Refusal) {
    tracing::warn!("attach refused: {refusal}");
    // In vain if the peer has left.
    let _ = packet::send_last(socket, &FromHub::Refused(refusal).to_packet());
}

/// The same, in words of its own.
fn refuse_with(socket: &OwnedFd, status: u16, text: String) {
    tracing::warn!("attach refused: {text}");
    let refused = NotRegistered { status, text };
    // In vain if the peer has left.
    let _ = packet::send_last(socket, &refused.to_packet());
}

/// Refuses a worker of another user, with both users' numbers.
pub fn refuse_user(socket: &OwnedFd, peer: PeerCredentials) {
    let own = rustix::process::geteuid().as_raw();
    let uid = peer.uid;
    let text = format!(
        "this hub runs as user {own}, and this worker as user {uid} (as the hub sees it), who may not \
         attach: let it with slotway-hub --attach-user {uid}, or [[attach]] in its configuration"
    );
    refuse_with(socket, 403, text);
}

/// What a connection begins with.
enum First {
    /// A worker.
    Worker(Opening),
    /// Who operates the hub.
    Command(Vec<u8>),
    /// A worker that registers more than may be.
    TooLarge,
}

async fn read_first(socket: &OwnedFd) -> Result<First, Refusal> {
    let no_resources = |_| Refusal::NoResources;
    let socket = socket
        .try_clone()
        .and_then(readable)
        .map_err(no_resources)?;
    let mut document = Vec::new();
    loop {
        let receive = |socket: &OwnedFd| packet::receive_up_to(socket, REGISTER_PACKET_BYTES_MAX);
        let packet = socket.read_with(receive).await.map_err(no_resources)?;
        if !packet.fds.is_empty() {
            foreign_fd::close_elsewhere(packet.fds);
            return Err(Refusal::Garbage);
        }
        let refuse = |error| match error {
            MessageError::LayoutVersion { .. } => Refusal::LayoutVersion,
            _ => Refusal::Garbage,
        };
        if document.is_empty()
            && let Some(command) = Command::from_packet(&packet.bytes).map_err(refuse)?
        {
            return Ok(First::Command(command.0.to_vec()));
        }
        let Some(register) = Register::from_packet(&packet.bytes).map_err(refuse)? else {
            let hello = Hello::from_packet(&packet.bytes).map_err(refuse)?;
            return Ok(First::Worker(Opening::Hello(hello)));
        };
        document.extend_from_slice(register.piece);
        if document.len() > REGISTRATION_BYTES_MAX {
            return Ok(First::TooLarge);
        }
        if register.is_last {
            let thread_count = register.thread_count;
            let opening = Opening::Register {
                document,
                thread_count,
            };
            return Ok(First::Worker(opening));
        }
    }
}

/// What a worker that has attached says.
pub enum Said<'p> {
    /// It wants to finish what it has and go.
    Leaving,
    /// An event.
    Emit(&'p [u8]),
    /// Of the sockets that it was handed.
    Sockets(Sockets),
    /// A file that a response is made of, if it arrived.
    File(FileBody, Option<OwnedFd>),
}

/// What no worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unexpected;

impl<'p> Said<'p> {
    fn read(bytes: &'p [u8], mut fds: Vec<OwnedFd>) -> Result<Self, Unexpected> {
        if let Ok(Some(message)) = FileBody::from_packet(bytes) {
            let file = fds.pop();
            if fds.is_empty() {
                return Ok(Self::File(message, file));
            }
            fds.extend(file);
        }
        if !fds.is_empty() {
            foreign_fd::close_elsewhere(fds);
            return Err(Unexpected);
        }
        if let Ok(Some(said)) = Sockets::from_packet(bytes) {
            return Ok(Self::Sockets(said));
        }
        if Leaving::from_packet(bytes).is_ok() {
            return Ok(Self::Leaving);
        }
        match Emit::from_packet(bytes) {
            Ok(Emit(document)) => Ok(Self::Emit(document)),
            Err(_) => Err(Unexpected),
        }
    }
}

/// Waits for the end of a session: its connection closes, its process ends
/// (a child may hold the connection open), or it sends what it must not. Calls
/// `heard` with what the worker says.
pub async fn watch_session(
    socket: Arc<OwnedFd>,
    pid: Option<Pid>,
    heard: impl Fn(Said<'_>) -> Result<(), Unexpected>,
) -> &'static str {
    let process_end = async {
        let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        match pidfd.and_then(|fd| readable(fd).ok()) {
            Some(pidfd) => {
                // An error here means that the process cannot be watched.
                if pidfd.readable().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    };
    let connection_end = async {
        let Ok(connection) = readable(socket) else {
            return "its connection cannot be watched";
        };
        loop {
            // However much one worker sends, others have their turn.
            tokio::task::yield_now().await;
            let received = connection
                .read_with(|socket| packet::receive_up_to(socket, WORKER_PACKET_BYTES_MAX))
                .await;
            match received {
                Ok(packet) if packet.bytes.is_empty() => return "its connection closed",
                Ok(Packet { bytes, fds }) => {
                    if Said::read(&bytes, fds).and_then(&heard).is_err() {
                        return "it sent an unexpected message";
                    }
                }
                Err(_) => return "its connection closed",
            }
        }
    };
    tokio::select! {
        why = connection_end => why,
        () = process_end => "its process ended",
    }
}
