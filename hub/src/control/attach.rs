//! The attach socket: binding it, taking greetings, and watching a session's
//! connection and process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};
use slotway_net::readable;
use slotway_shm_proto::message::{FromHub, Hello, MessageError, Refusal};
use slotway_shm_proto::packet;
use tokio::io::Interest;
use tokio::sync::{Semaphore, mpsc};

use crate::bind::{OwnerLock, lock};
use crate::control::ControlMessage;
use crate::limits::{HELLO_COUNT_MAX, HELLO_TIME};

/// A worker that wants to attach, from a user who may.
#[derive(Debug)]
pub struct Greeting {
    /// Its message.
    pub hello: Hello,
    /// Its connection.
    pub socket: OwnedFd,
    /// Its process, where this hub can see it.
    pub pid: Option<Pid>,
}

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct AttachSocket {
    socket: OwnedFd,
    path: PathBuf,
    /// A folder made for it, which goes too.
    private_folder: Option<PathBuf>,
    _lock: OwnerLock,
}

/// Why workers cannot attach.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another hub has it.
    #[error(
        "the attach socket {0} belongs to another slotway-hub; stop that one or choose another --socket"
    )]
    InUse(PathBuf),
    /// There is a file that is no socket.
    #[error("{0} is there and is no socket; choose another --socket")]
    NotASocket(PathBuf),
    /// The system refused it.
    #[error("cannot make the attach socket {path}: {error}")]
    System {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl AttachSocket {
    /// Binds at `path`, or at the default place for a hub on `port`.
    pub fn bind(path: Option<&Path>, port: u16) -> Result<Self, AttachError> {
        let (path, private_folder) = match path {
            Some(path) => (path.to_owned(), None),
            None => default_path(port)?,
        };
        let system = |error: io::Error| AttachError::System {
            path: path.clone(),
            error,
        };
        // Two hubs that start at once must not both take a stale file over.
        let owner = lock(&format!(
            "slotway-hub/socket/{:016x}",
            fnv1a(&absolute(&path))
        ))
        .map_err(system)?
        .ok_or_else(|| AttachError::InUse(path.clone()))?;
        let socket = new_socket().map_err(|error| system(error.into()))?;
        let address = SocketAddrUnix::new(path.as_os_str().as_encoded_bytes())
            .map_err(|error| system(error.into()))?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(&path, &address)?;
                rustix::net::bind(&socket, &address)
            }
            bound => bound,
        }
        .map_err(|error| system(error.into()))?;
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600))
            .map_err(|error| system(error.into()))?;
        rustix::net::listen(&socket, 128).map_err(|error| system(error.into()))?;
        Ok(Self {
            socket,
            path,
            private_folder,
            _lock: owner,
        })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> PathBuf {
        absolute(&self.path)
    }
}

impl Drop for AttachSocket {
    fn drop(&mut self) {
        // Best effort: a file that is left behind is taken over as stale.
        let _ = std::fs::remove_file(&self.path);
        if let Some(folder) = &self.private_folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// FNV-1a: names are bounded, paths are not. Stable between releases, which
/// std's hasher is not promised to be.
fn fnv1a(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// `$XDG_RUNTIME_DIR`, else `/run`, else a private folder in the temporary
/// folder.
fn default_path(port: u16) -> Result<(PathBuf, Option<PathBuf>), AttachError> {
    let file = format!("slotway-{port}.sock");
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    for folder in runtime_dir.into_iter().chain([PathBuf::from("/run")]) {
        let writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
        if folder.is_absolute() && writable {
            return Ok((folder.join(file), None));
        }
    }
    let folder = std::env::temp_dir().join(format!("slotway-{}", new_id()));
    rustix::fs::mkdir(&folder, rustix::fs::Mode::from_raw_mode(0o700)).map_err(|error| {
        AttachError::System {
            path: folder.clone(),
            error: error.into(),
        }
    })?;
    Ok((folder.join(file), Some(folder)))
}

fn new_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// Removes the socket file of a hub that is dead.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), AttachError> {
    let system = |error: io::Error| AttachError::System {
        path: path.to_owned(),
        error,
    };
    let metadata = std::fs::symlink_metadata(path).map_err(system)?;
    if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
        return Err(AttachError::NotASocket(path.to_owned()));
    }
    let probe = new_socket().map_err(|error| system(error.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(system),
        // A full backlog or another type of socket: somebody is there.
        _ => Err(AttachError::InUse(path.to_owned())),
    }
}

/// 128 random bits in hexadecimal.
pub fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .expect("getrandom(2) of 16 bytes never fails once the system has started");
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Accepts workers, each in a task of its own until it has said hello.
pub async fn accept(
    attach: Arc<AttachSocket>,
    control: mpsc::UnboundedSender<ControlMessage>,
) -> io::Result<()> {
    let listener = readable(attach.socket.try_clone()?)?;
    let places = Arc::new(Semaphore::new(HELLO_COUNT_MAX));
    loop {
        let accepted = listener
            .async_io(Interest::READABLE, |socket| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                Ok(rustix::net::accept_with(socket, flags)?)
            })
            .await;
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
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn greet(socket: OwnedFd, control: mpsc::UnboundedSender<ControlMessage>) {
    match tokio::time::timeout(HELLO_TIME, read_hello(&socket)).await {
        Ok(Ok((hello, pid))) => {
            // Fails only when the hub stops, and closes the connection then.
            let _ = control.send(ControlMessage::Hello(Greeting { hello, socket, pid }));
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

async fn read_hello(socket: &OwnedFd) -> Result<(Hello, Option<Pid>), Refusal> {
    let peer = rustix::net::sockopt::socket_peercred(socket).map_err(|_| Refusal::WrongUser)?;
    if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
        return Err(Refusal::WrongUser);
    }
    let socket = socket
        .try_clone()
        .and_then(readable)
        .map_err(|_| Refusal::NoResources)?;
    let packet = socket
        .async_io(Interest::READABLE, |socket| packet::receive(socket))
        .await
        .map_err(|_| Refusal::Garbage)?;
    if !packet.fds.is_empty() {
        return Err(Refusal::Garbage);
    }
    let hello = Hello::from_packet(&packet.bytes).map_err(|error| match error {
        MessageError::LayoutVersion { .. } => Refusal::LayoutVersion,
        _ => Refusal::Garbage,
    })?;
    // 0: a process in a namespace that this hub cannot see into.
    let pid = (peer.pid.as_raw_nonzero().get() > 0).then_some(peer.pid);
    Ok((hello, pid))
}

/// Waits for the end of a session: its connection closes, its process ends
/// (a child may hold the connection open), or it sends what it must not.
pub async fn watch(socket: OwnedFd, pid: Option<Pid>) -> &'static str {
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
        match connection
            .async_io(Interest::READABLE, |socket| packet::receive(socket))
            .await
        {
            Ok(packet) if !packet.bytes.is_empty() => "it sent a message where none is due",
            _ => "its connection closed",
        }
    };
    tokio::select! {
        why = connection_end => why,
        () = process_end => "its process ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("slotway-test-{}", new_id()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_live_hubs_socket_is_not_taken_and_a_dead_hubs_is() {
        let folder = folder();
        let path = folder.join("a.sock");
        let first = AttachSocket::bind(Some(&path), 1).unwrap();
        assert!(matches!(
            AttachSocket::bind(Some(&path), 1),
            Err(AttachError::InUse(_))
        ));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        drop(first);
        assert!(!path.exists());

        // What a hub that was killed leaves behind.
        drop(std::os::unix::net::UnixListener::bind(folder.join("b.sock")).unwrap());
        let stale = folder.join("b.sock");
        assert!(stale.exists());
        drop(AttachSocket::bind(Some(&stale), 1).unwrap());
        std::fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        let path = folder.join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(
            AttachSocket::bind(Some(&path), 1),
            Err(AttachError::NotASocket(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
