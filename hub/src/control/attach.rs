//! The attach socket: binding it, taking greetings, and watching a session's
//! connection and process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use slotway_net::{Watched, readable};
use slotway_shm_proto::credentials::{PeerCredentials, peer_credentials};
use slotway_shm_proto::message::{
    Emit, FromHub, Hello, Leaving, MessageError, Refusal, WORKER_PACKET_BYTES_MAX,
};
use slotway_shm_proto::packet;
use slotway_shm_proto::registration::{REGISTER_PACKET_BYTES_MAX, Register};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::control::ControlMessage;
use crate::limits::{ACCEPT_PAUSE, CONTROL_BODY_BYTES_MAX, HELLO_COUNT_MAX, HELLO_TIME};
use crate::shared::id::new_id;
use crate::unix_socket::{UnixSocket, UnixSocketError};

/// A worker that wants to attach, from a user who may.
#[derive(Debug)]
pub struct Greeting {
    /// What it says.
    pub opening: Opening,
    /// Its connection.
    pub socket: OwnedFd,
    /// Its process, where this hub can see it, and its user.
    pub peer: PeerCredentials,
}

/// How a worker begins.
#[derive(Debug)]
pub enum Opening {
    /// It has registered over HTTP.
    Hello(Hello),
    /// It registers here.
    Register {
        /// As it would post it.
        document: Vec<u8>,
        /// Threads with a doorbell.
        thread_count: u32,
    },
}

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct AttachSocket {
    socket: UnixSocket,
    /// A folder made for it, which goes too.
    private_folder: Option<PrivateFolder>,
}

#[derive(Debug)]
struct PrivateFolder {
    path: PathBuf,
    is_owned: AtomicBool,
}

impl PrivateFolder {
    fn new(path: PathBuf, is_owned: bool) -> Self {
        Self {
            path,
            is_owned: AtomicBool::new(is_owned),
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if self.is_owned.load(Ordering::Relaxed) {
            // Best effort, like the file in it, which has gone before.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

impl AttachSocket {
    /// Binds at `path`, or at the default place for a hub on `port`.
    pub fn bind(path: Option<&Path>, port: u16) -> Result<Self, UnixSocketError> {
        let (path, private_folder) = match path {
            Some(path) => (path.to_owned(), None),
            None => default_path(port)?,
        };
        let private_folder = private_folder.map(|path| PrivateFolder::new(path, true));
        let socket = UnixSocket::bind(&path, SocketType::SEQPACKET, Some(0o600))?;
        Ok(Self {
            socket,
            private_folder,
        })
    }

    /// One that another hub has handed over, and whose files are still that hub's.
    pub fn inherit(socket: UnixSocket, private_folder: Option<PathBuf>) -> Self {
        Self {
            socket,
            private_folder: private_folder.map(|path| PrivateFolder::new(path, false)),
        }
    }

    /// Socket and lock, and the folder that was made for it, to be handed over.
    pub fn try_clone_all(&self) -> io::Result<([OwnedFd; 2], Option<PathBuf>)> {
        let folder = self.private_folder.as_ref();
        let path = folder.map(|folder| folder.path.clone());
        Ok((self.socket.try_clone_all()?, path))
    }

    /// Whether its files go with this value, or are another hub's.
    pub fn own_files(&self, owns: bool) {
        self.socket.own_file(owns);
        if let Some(folder) = &self.private_folder {
            folder.is_owned.store(owns, Ordering::Relaxed);
        }
    }

    /// Where it is, absolute.
    pub fn path(&self) -> PathBuf {
        self.socket.path()
    }

    /// Registers it to be waited on; in a tokio runtime.
    pub fn listener(&self) -> io::Result<Watched> {
        readable(self.socket.try_clone()?)
    }
}

/// `$XDG_RUNTIME_DIR`, else `/run`, else a private folder in the temporary
/// folder.
fn default_path(port: u16) -> Result<(PathBuf, Option<PathBuf>), UnixSocketError> {
    let file = format!("slotway-{port}.sock");
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    for folder in runtime_dir.into_iter().chain([PathBuf::from("/run")]) {
        let writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
        if folder.is_absolute() && writable {
            return Ok((folder.join(file), None));
        }
    }
    let id = new_id().map_err(|error| UnixSocketError::System {
        path: std::env::temp_dir(),
        error,
    })?;
    let folder = std::env::temp_dir().join(format!("slotway-{id}"));
    rustix::fs::mkdir(&folder, rustix::fs::Mode::from_raw_mode(0o700)).map_err(|error| {
        UnixSocketError::System {
            path: folder.clone(),
            error: error.into(),
        }
    })?;
    Ok((folder.join(file), Some(folder)))
}

/// Accepts workers, each in a task of its own until it has said hello. The
/// listener is the socket's.
pub async fn accept(
    listener: Watched,
    control: mpsc::UnboundedSender<ControlMessage>,
    mut open: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(HELLO_COUNT_MAX));
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
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!("too many connections to the attach socket say nothing");
                    continue;
                };
                let control = control.clone();
                tokio::spawn(async move {
                    greet(socket, control).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept workers; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn greet(socket: OwnedFd, control: mpsc::UnboundedSender<ControlMessage>) {
    match tokio::time::timeout(HELLO_TIME, read_opening(&socket)).await {
        Ok(Ok((opening, peer))) => {
            let greeting = Greeting {
                opening,
                socket,
                peer,
            };
            // Fails only when the hub stops, and closes the connection then.
            let _ = control.send(ControlMessage::Hello(greeting));
        }
        Ok(Err(refusal)) => refuse(&socket, refusal),
        Err(_) => tracing::warn!("a connection to the attach socket said nothing in time"),
    }
}

/// Refuses a connection, with a line in the log.
pub fn refuse(socket: &OwnedFd, refusal: Refusal) {
    tracing::warn!("attach refused: {refusal}");
    // In vain if the peer has left.
    let _ = packet::send(socket, &FromHub::Refused(refusal).to_packet(), &[]);
}

async fn read_opening(socket: &OwnedFd) -> Result<(Opening, PeerCredentials), Refusal> {
    let no_resources = |_| Refusal::NoResources;
    let peer = peer_credentials(socket).map_err(no_resources)?;
    if peer.uid != rustix::process::geteuid().as_raw() && peer.uid != 0 {
        return Err(Refusal::WrongUser);
    }
    let socket = socket
        .try_clone()
        .and_then(readable)
        .map_err(no_resources)?;
    let mut document = Vec::new();
    loop {
        let receive = |socket: &OwnedFd| packet::receive_up_to(socket, REGISTER_PACKET_BYTES_MAX);
        let packet = socket.read_with(receive).await.map_err(no_resources)?;
        if !packet.fds.is_empty() {
            return Err(Refusal::Garbage);
        }
        let refuse = |error| match error {
            MessageError::LayoutVersion { .. } => Refusal::LayoutVersion,
            _ => Refusal::Garbage,
        };
        let Some(register) = Register::from_packet(&packet.bytes).map_err(refuse)? else {
            let hello = Hello::from_packet(&packet.bytes).map_err(refuse)?;
            return Ok((Opening::Hello(hello), peer));
        };
        document.extend_from_slice(register.piece);
        if document.len() as u64 > CONTROL_BODY_BYTES_MAX {
            return Err(Refusal::Garbage);
        }
        if register.is_last {
            let thread_count = register.thread_count;
            let opening = Opening::Register {
                document,
                thread_count,
            };
            return Ok((opening, peer));
        }
    }
}

/// Waits for the end of a session: its connection closes, its process ends
/// (a child may hold the connection open), or it sends what it must not. Calls
/// `leaving` when the worker says that it is, and `emit` with each event.
pub async fn watch_session(
    socket: OwnedFd,
    pid: Option<Pid>,
    leaving: impl Fn(),
    emit: impl Fn(&[u8]),
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
                Ok(packet)
                    if packet.fds.is_empty() && Leaving::from_packet(&packet.bytes).is_ok() =>
                {
                    leaving();
                }
                Ok(packet) if packet.fds.is_empty() => match Emit::from_packet(&packet.bytes) {
                    Ok(Emit(document)) => emit(document),
                    Err(_) => return "it sent a message where none is due",
                },
                Ok(_) => return "it sent a message where none is due",
                Err(_) => return "its connection closed",
            }
        }
    };
    tokio::select! {
        why = connection_end => why,
        () = process_end => "its process ended",
    }
}
