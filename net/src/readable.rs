//! Waiting on a descriptor through the epoll of the current runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A descriptor that is waited on. It cannot be exchanged for another, which the wait
/// would not know of: no reference to it that could be written through is handed out.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Waits until it can be read.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }

    /// Waits until it can be written.
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.writable().await
    }

    /// Does something that answers `WouldBlock` until there is something to read.
    pub async fn read_with<T>(&self, read: impl FnMut(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Gives the descriptor back.
    pub fn into_inner(self) -> OwnedFd {
        self.0.into_inner()
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Registers a non-blocking descriptor to be waited on for reading.
pub fn readable(fd: OwnedFd) -> io::Result<Watched> {
    registered(fd, Interest::READABLE)
}

/// Registers a non-blocking descriptor to be waited on.
pub(crate) fn registered(fd: OwnedFd, interest: Interest) -> io::Result<Watched> {
    // SAFETY: an `OwnedFd` is open, names one file for as long as it lives, and is owned
    // by the `AsyncFd` from here on; `Watched` lets nobody replace it. tokio has no safe
    // form of this since any `AsRawFd` may be passed.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(Watched(registered?))
}
