//! Who owns a Unix socket's file: whoever holds the lock of the file beside it
//! (flock(2)). The lock goes with its holders, however they end, and stands where only
//! those can get at it who could take the socket itself.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Held while a hub owns what it names.
#[derive(Debug)]
pub struct FileLock {
    file: OwnedFd,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock of a socket, or `None` if another process holds it.
    pub fn take(socket: &Path) -> io::Result<Option<Self>> {
        let path = Self::path_of(socket);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // Its last holder may have removed it since it was opened.
            let opened = rustix::fs::fstat(&file)?;
            let is_there = rustix::fs::stat(&path)
                .is_ok_and(|there| (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino));
            if is_there {
                return Ok(Some(Self { file, path }));
            }
        }
    }

    /// One that another hub has handed over.
    pub fn inherit(socket: &Path, file: OwnedFd) -> Self {
        let path = Self::path_of(socket);
        Self { file, path }
    }

    /// To be handed over: the lock is held for as long as either holds it.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.file.try_clone()
    }

    /// Removes its file; to be called while it is held, before the socket is given up.
    pub fn remove_file(&self) {
        // Best effort: one that is left behind is locked again.
        let _ = std::fs::remove_file(&self.path);
    }

    fn path_of(socket: &Path) -> PathBuf {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        PathBuf::from(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::id::new_id;

    #[test]
    fn a_lock_is_free_again_once_its_holders_are_gone_and_leaves_no_file() {
        let name = format!("slotway-test-{}.sock", new_id().unwrap());
        let socket = std::env::temp_dir().join(name);
        let held = FileLock::take(&socket).unwrap().expect("nobody has it");
        assert!(FileLock::take(&socket).unwrap().is_none());
        let handed_over = FileLock::inherit(&socket, held.try_clone().unwrap());
        drop(held);
        assert!(FileLock::take(&socket).unwrap().is_none());
        drop(handed_over);
        let again = FileLock::take(&socket).unwrap().expect("nobody has it");
        again.remove_file();
        // A new file is another lock, and the old one's holder does not mind.
        assert!(FileLock::take(&socket).unwrap().is_some());
        std::fs::remove_file(FileLock::path_of(&socket)).unwrap();
    }
}
