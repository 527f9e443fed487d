//! Descriptors that workers have sent. Closing one can wait for its file system, for as long as that
//! likes, so it is done on threads that nobody waits for.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

/// Closes the descriptors of one worker, one after the other. Where one hangs, those behind it wait.
#[derive(Debug, Default)]
pub struct Closer {
    thread: OnceLock<Option<Sender<OwnedFd>>>,
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    /// How many wait to be closed.
    pub fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn close(&self, fd: OwnedFd) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let thread = self.thread.get_or_init(|| start(&self.waiting));
        let sent = match thread {
            Some(thread) => thread.send(fd).map_err(|unsent| unsent.0),
            None => Err(fd),
        };
        if let Err(fd) = sent {
            leak(fd);
        }
    }
}

fn start(waiting: &Arc<AtomicUsize>) -> Option<Sender<OwnedFd>> {
    let (sender, receiver) = channel();
    let waiting = Arc::clone(waiting);
    let thread = std::thread::Builder::new().name("slotway-closer".to_owned());
    let spawned = thread.spawn(move || {
        for fd in receiver {
            drop::<OwnedFd>(fd);
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    });
    spawned.is_ok().then_some(sender)
}

/// Rather than wait for it.
fn leak(fd: OwnedFd) {
    let raw = fd.into_raw_fd();
    tracing::warn!(
        "a worker's descriptor ({raw}) stays open: the system gives no thread to close it"
    );
}

/// A descriptor that a worker has sent; whatever it is.
#[derive(Debug)]
pub struct ForeignFd {
    /// Until it is dropped.
    fd: Option<OwnedFd>,
    closer: Arc<Closer>,
}

impl ForeignFd {
    /// To be closed by this.
    pub fn new(fd: OwnedFd, closer: &Arc<Closer>) -> Self {
        Self {
            fd: Some(fd),
            closer: Arc::clone(closer),
        }
    }
}

impl AsFd for ForeignFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("it is there until the drop")
            .as_fd()
    }
}

impl Drop for ForeignFd {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.closer.close(fd);
        }
    }
}

/// Closes what came with a message that has none.
pub fn close_elsewhere(fds: Vec<OwnedFd>) {
    if fds.is_empty() {
        return;
    }
    let closer = Closer::default();
    for fd in fds {
        closer.close(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    #[test]
    fn descriptors_are_closed_by_another_thread() {
        let closer = Arc::new(Closer::default());
        let (mut output, input) = std::io::pipe().unwrap();
        let fd = ForeignFd::new(input.into(), &closer);
        assert!(rustix::io::fcntl_getfd(&fd).is_ok());
        drop(fd);
        // It ends once nobody can write.
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
        let start = Instant::now();
        while closer.waiting_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        let (mut output, input) = std::io::pipe().unwrap();
        close_elsewhere(vec![input.into()]);
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
    }
}
