//! The Unix socket at which workers attach: where it is, and who owns its file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::SocketType;
use slotway_net::{Watched, readable};

use super::unix_socket::{UnixSocket, UnixSocketError};
use crate::config::attach::AttachOptions;
use crate::shared::id::new_id;

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
    /// Binds where the flags say, or at the default place for a hub on `port`.
    pub fn bind(options: &AttachOptions, port: u16) -> Result<Self, UnixSocketError> {
        let (path, private_folder) = match &options.socket {
            Some(path) => (path.clone(), None),
            None => default_path(port)?,
        };
        let private_folder = private_folder.map(|path| PrivateFolder::new(path, true));
        let socket = UnixSocket::bind(&path, SocketType::SEQPACKET, &options.file_access())?;
        Ok(Self {
            socket,
            private_folder,
        })
    }

    /// One that the service manager has opened.
    pub fn of_service_manager(path: PathBuf, socket: OwnedFd) -> Self {
        Self {
            socket: UnixSocket::of_service_manager(path, socket),
            private_folder: None,
        }
    }

    /// Whether it is one of the service manager's.
    pub fn is_service_managers(&self) -> bool {
        self.socket.is_service_managers()
    }

    /// One that another hub has handed over, and whose files are still that hub's.
    pub fn inherit(socket: UnixSocket, private_folder: Option<PathBuf>) -> Self {
        Self {
            socket,
            private_folder: private_folder.map(|path| PrivateFolder::new(path, false)),
        }
    }

    /// Socket and lock, if it has one, and the folder that was made for it, to be handed over.
    pub fn try_clone_all(&self) -> io::Result<(Vec<OwnedFd>, Option<PathBuf>)> {
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
