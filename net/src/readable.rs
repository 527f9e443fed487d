//! Waiting on a descriptor through the epoll of the current runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// An open descriptor that names one file for as long as the value lives.
pub trait OpenDescriptor: AsRawFd + AsFd + private::Sealed {}

impl OpenDescriptor for OwnedFd {}

impl OpenDescriptor for Arc<OwnedFd> {}

mod private {
    use super::{Arc, OwnedFd};

    /// Only those of which that is known.
    pub trait Sealed {}

    impl Sealed for OwnedFd {}

    impl Sealed for Arc<OwnedFd> {}
}

/// A descriptor that is waited on. It cannot be exchanged for another, which the wait
/// would not know of: no reference to it that could be written through is handed out.
#[derive(Debug)]
pub struct Watched<F: OpenDescriptor = OwnedFd>(AsyncFd<F>);

impl<F: OpenDescriptor> Watched<F> {
    /// Waits until it can be read.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, F>> {
        self.0.readable().await
    }

    /// Waits until it can be written.
    pub async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, F>> {
        self.0.writable().await
    }

    /// Does something that answers `WouldBlock` until there is something to read.
    pub async fn read_with<T>(&self, read: impl FnMut(&F) -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Gives the descriptor back.
    pub fn into_inner(self) -> F {
        self.0.into_inner()
    }
}

impl<F: OpenDescriptor> AsFd for Watched<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl<F: OpenDescriptor> AsRawFd for Watched<F> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Registers a non-blocking descriptor to be waited on for reading.
pub fn readable<F: OpenDescriptor>(fd: F) -> io::Result<Watched<F>> {
    registered(fd, Interest::READABLE)
}

/// Registers a non-blocking descriptor to be waited on.
pub(crate) fn registered<F: OpenDescriptor>(fd: F, interest: Interest) -> io::Result<Watched<F>> {
    // SAFETY: an `OpenDescriptor` is open, names one file for as long as it lives, and is
    // owned by the `AsyncFd` from here on; `Watched` lets nobody replace it. tokio has no safe
    // form of this since any `AsRawFd` may be passed.
    let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(Watched(registered?))
}
