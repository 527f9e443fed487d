//! A listening Unix socket with a file: owned by one hub, taken over when its hub
//! is dead, and gone with it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::config::account::FileAccess;
use crate::lifecycle::file_lock::FileLock;
use crate::limits::LISTEN_BACKLOG;

/// A listening socket that owns its file.
#[derive(Debug)]
pub struct UnixSocket {
    socket: OwnedFd,
    path: PathBuf,
    /// `None`: the file is the service manager's.
    lock: Option<FileLock>,
    /// The file goes with this value; not with one that another hub has.
    owns_file: AtomicBool,
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Another hub, or another program, has it.
    #[error("the socket {0} belongs to another slotway-hub; stop that one or choose another path")]
    InUse(PathBuf),
    /// There is a file that is no socket.
    #[error("{0} exists and is not a socket; choose another path")]
    NotASocket(PathBuf),
    /// The system refused it.
    #[error("cannot create the socket {path}: {error}")]
    System {
        /// Where.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl UnixSocket {
    /// Binds a non-blocking socket of a type and listens.
    pub fn bind(
        path: &Path,
        socket_type: SocketType,
        access: &FileAccess,
    ) -> Result<Self, UnixSocketError> {
        let system = |error: io::Error| UnixSocketError::System {
            path: path.to_owned(),
            error,
        };
        // Two hubs that start at once must not both take a stale file over.
        let owner = FileLock::take(path)
            .map_err(system)?
            .ok_or_else(|| UnixSocketError::InUse(path.to_owned()))?;
        let socket = Self::bind_file(path, socket_type, access)
            // Nothing is left of one that failed.
            .inspect_err(|_| owner.remove_file())?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            lock: Some(owner),
            owns_file: AtomicBool::new(true),
        })
    }

    fn bind_file(
        path: &Path,
        socket_type: SocketType,
        access: &FileAccess,
    ) -> Result<OwnedFd, UnixSocketError> {
        let system = |error: io::Error| UnixSocketError::System {
            path: path.to_owned(),
            error,
        };
        let socket = new_socket(socket_type).map_err(|error| system(error.into()))?;
        let address = SocketAddrUnix::new(path.as_os_str().as_encoded_bytes())
            .map_err(|error| system(error.into()))?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address, socket_type)?;
                rustix::net::bind(&socket, &address)
            }
            bound => bound,
        }
        .map_err(|error| system(error.into()))?;
        // Nobody can connect before it listens.
        let listen = || {
            give_access(path, access)?;
            Ok(rustix::net::listen(&socket, LISTEN_BACKLOG)?)
        };
        listen().map_err(|error| {
            let _ = std::fs::remove_file(path);
            system(error)
        })?;
        Ok(socket)
    }

    /// One that another hub has handed over, and whose file is still that hub's.
    pub fn inherit(path: PathBuf, socket: OwnedFd, lock: OwnedFd) -> Self {
        Self {
            socket,
            lock: Some(FileLock::inherit(&path, lock)),
            path,
            owns_file: AtomicBool::new(false),
        }
    }

    /// One whose file is the service manager's, and stays so.
    pub fn of_service_manager(path: PathBuf, socket: OwnedFd) -> Self {
        Self {
            socket,
            lock: None,
            path,
            owns_file: AtomicBool::new(false),
        }
    }

    /// Whether it is one of the service manager's.
    pub fn is_service_managers(&self) -> bool {
        self.lock.is_none()
    }

    /// Socket and lock, if it has one, to be handed over.
    pub fn try_clone_all(&self) -> io::Result<Vec<OwnedFd>> {
        let lock = self.lock.as_ref().map(FileLock::try_clone);
        [Some(self.socket.try_clone()), lock]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether the file goes with this value, or is another hub's.
    pub fn own_file(&self, owns: bool) {
        let owns = owns && self.lock.is_some();
        self.owns_file.store(owns, Ordering::Relaxed);
    }

    /// Where it is, absolute.
    pub fn path(&self) -> PathBuf {
        absolute(&self.path)
    }

    /// Another descriptor of the socket.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.owns_file.load(Ordering::Relaxed) {
            // Best effort: a file that is left behind is taken over as stale.
            let _ = std::fs::remove_file(&self.path);
            if let Some(lock) = &self.lock {
                lock.remove_file();
            }
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn new_socket(socket_type: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, socket_type, flags, None)
}

/// Gives the file its group and permissions.
fn give_access(path: &Path, access: &FileAccess) -> io::Result<()> {
    if let Some(group) = &access.group {
        let gid = rustix::fs::Gid::from_raw(group.gid);
        rustix::fs::chown(path, None, Some(gid)).map_err(|error| {
            let text = format!(
                "cannot give it to the group {}: {error}; the hub's user must be a member of it (and a service's filter must allow chown)",
                group.text
            );
            io::Error::other(text)
        })?;
    }
    // Whoever names a group alone means that it may connect.
    let of_group = access.group.as_ref().map(|_| 0o660);
    if let Some(mode) = access.mode.map(|mode| mode.0).or(of_group) {
        rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// Removes the socket file of a hub that is dead.
fn remove_stale(
    path: &Path,
    address: &SocketAddrUnix,
    socket_type: SocketType,
) -> Result<(), UnixSocketError> {
    let system = |error: io::Error| UnixSocketError::System {
        path: path.to_owned(),
        error,
    };
    let metadata = std::fs::symlink_metadata(path).map_err(system)?;
    if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
        return Err(UnixSocketError::NotASocket(path.to_owned()));
    }
    let probe = new_socket(socket_type).map_err(|error| system(error.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(system),
        // A full backlog or another type of socket: somebody is there.
        _ => Err(UnixSocketError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::account::FileMode;
    use crate::shared::id::new_id;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("slotway-test-{}", new_id().unwrap()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_live_hubs_socket_is_not_taken_and_a_dead_hubs_is() {
        let access = FileAccess {
            mode: Some(FileMode(0o600)),
            group: None,
        };
        for (socket_type, other) in [
            (SocketType::SEQPACKET, SocketType::STREAM),
            (SocketType::STREAM, SocketType::SEQPACKET),
        ] {
            let folder = folder();
            let path = folder.join("a.sock");
            let first = UnixSocket::bind(&path, socket_type, &access).unwrap();
            for again in [socket_type, other] {
                let second = UnixSocket::bind(&path, again, &access);
                assert!(matches!(second, Err(UnixSocketError::InUse(_))));
            }
            let permissions = std::fs::metadata(&path).unwrap().permissions();
            let mode = std::os::unix::fs::PermissionsExt::mode(&permissions);
            assert_eq!(mode & 0o777, 0o600);
            drop(first);
            assert!(!path.exists());

            // What a hub that was killed leaves behind.
            let stale = folder.join("b.sock");
            drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
            assert!(stale.exists());
            drop(UnixSocket::bind(&stale, SocketType::STREAM, &access).unwrap());
            std::fs::remove_dir(folder).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder();
        let path = folder.join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        let bound = UnixSocket::bind(&path, SocketType::STREAM, &FileAccess::default());
        assert!(matches!(bound, Err(UnixSocketError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let count = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(count, 1, "nor is anything left beside it");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
