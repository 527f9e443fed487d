//! Building the ring, and running a thread on it.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use io_uring::{EnterFlags, IoUring, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::runtime::{Builder, LocalOptions};

use super::buffers::{Buffers, GROUP};
use super::operations::{Completion, NOBODY, Operations, Received};
use crate::readable::registered;
use crate::uring::Refusal;

/// Submission queue; when it is full it is submitted early.
const SUBMISSION_QUEUE_ENTRIES: u32 = 1024;
/// The completion queue is larger, since every connection keeps an operation in flight.
const COMPLETION_QUEUE_ENTRIES: u32 = 16 * 1024;
/// For operations to end when their thread does. They are all cancelled, so it takes none.
const CLOSE_TIME: Duration = Duration::from_secs(1);

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of a thread.
pub struct Ring {
    parts: RefCell<Parts>,
    eventfd: OwnedFd,
}

struct Parts {
    uring: IoUring,
    operations: Operations,
    buffers: Buffers,
}

/// The ring of this thread, within [`run`].
pub fn current() -> io::Result<Rc<Ring>> {
    let ring = CURRENT.with_borrow(Clone::clone);
    ring.ok_or_else(|| io::Error::other("this thread has no ring"))
}

/// Whether such a ring can be had.
pub fn probe() -> Result<(), Refusal> {
    let ring = Ring::new().map_err(Refusal::explain)?;
    ring.close();
    Ok(())
}

/// Why a thread cannot run on its ring.
#[derive(Debug)]
pub enum Failure {
    /// No ring.
    Ring(Refusal),
    /// No runtime around it.
    Runtime(io::Error),
}

/// Runs a future on this thread until it is done.
pub fn run<F: Future>(future: F) -> Result<F::Output, Failure> {
    let ring = Rc::new(Ring::new().map_err(|error| Failure::Ring(Refusal::explain(error)))?);
    CURRENT.set(Some(Rc::clone(&ring)));
    // Also when the future panics, and after all that it has spawned is gone.
    let _closing = Closing;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(|| with_current(Ring::turn))
        .on_thread_unpark(|| with_current(Ring::take_deferred))
        .build_local(LocalOptions::default())
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let eventfd = ring.eventfd.try_clone().and_then(|eventfd| {
            // Never waited on: that it ends the sleep of the thread is enough.
            registered(eventfd, Interest::READABLE)
        });
        let _woken = eventfd.map_err(Failure::Runtime)?;
        Ok(future.await)
    })
}

struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(ring) = CURRENT.take() {
            ring.close();
        }
    }
}

fn with_current(work: impl Fn(&Ring) -> io::Result<()>) {
    CURRENT.with_borrow(|ring| {
        if let Some(ring) = ring {
            work(ring).unwrap_or_else(|error| panic!("io_uring_enter: {error}"));
        }
    });
}

impl Ring {
    fn new() -> io::Result<Self> {
        // Completions are made when the thread asks for them, and only then (Linux 6.1).
        let uring = IoUring::builder()
            .setup_cqsize(COMPLETION_QUEUE_ENTRIES)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(SUBMISSION_QUEUE_ENTRIES)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        uring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        let buffers = Buffers::new(&uring.submitter())?;
        Ok(Self {
            parts: RefCell::new(Parts {
                uring,
                operations: Operations::default(),
                buffers,
            }),
            eventfd,
        })
    }

    /// Starts a receive at the end of this turn.
    pub fn start_receive(&self, entry: squeue::Entry) -> io::Result<usize> {
        let parts = &mut *self.parts.borrow_mut();
        let key = parts.operations.begin_receive();
        parts.push(&entry.user_data(key as u64))?;
        Ok(key)
    }

    /// Starts another operation at the end of this turn.
    pub fn start_single(&self, entry: squeue::Entry) -> io::Result<usize> {
        let parts = &mut *self.parts.borrow_mut();
        let key = parts.operations.begin_single();
        parts.push(&entry.user_data(key as u64))?;
        Ok(key)
    }

    /// See [`Operations::poll_single`].
    pub fn poll_single(&self, key: usize, cx: &mut Context<'_>) -> Poll<i32> {
        self.parts.borrow_mut().operations.poll_single(key, cx)
    }

    /// See [`Operations::poll_receive`].
    pub fn poll_receive(&self, key: usize, cx: &mut Context<'_>) -> Poll<Received> {
        self.parts.borrow_mut().operations.poll_receive(key, cx)
    }

    /// See [`Operations::poll_arrival`].
    pub fn poll_arrival(&self, key: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.parts.borrow_mut().operations.poll_arrival(key, cx)
    }

    /// See [`Operations::poll_end`].
    pub fn poll_end(&self, key: usize, cx: &mut Context<'_>) -> Poll<()> {
        self.parts.borrow_mut().operations.poll_end(key, cx)
    }

    /// See [`Operations::has_bytes`].
    pub fn has_bytes(&self, key: usize) -> bool {
        self.parts.borrow_mut().operations.has_bytes(key)
    }

    /// Hands the bytes of a buffer to `take`, and the buffer back to the kernel.
    pub fn with_buffer(&self, index: u16, count: usize, take: impl FnOnce(&[u8])) {
        let buffers = &mut self.parts.borrow_mut().buffers;
        take(buffers.bytes(index, count));
        buffers.give(index);
    }

    /// Ends an operation soon, if it has not ended.
    pub fn cancel(&self, key: usize) {
        self.parts.borrow_mut().cancel(key as u64);
    }

    /// Nobody will take what an operation yields. Its socket is closed when it ends, which is
    /// soon.
    pub fn abandon(&self, key: usize, socket: Rc<OwnedFd>) {
        let parts = &mut *self.parts.borrow_mut();
        if parts.operations.abandon(key, socket, &mut parts.buffers) {
            parts.cancel(key as u64);
        }
    }

    /// Submits what the turn has asked for and takes what has arrived.
    fn turn(&self) -> io::Result<()> {
        let parts = &mut *self.parts.borrow_mut();
        let queue = parts.uring.submission();
        let must_enter = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if must_enter {
            parts.enter(0)?;
        }
        parts.take_completions();
        Ok(())
    }

    /// Takes what has arrived, if something has.
    fn take_deferred(&self) -> io::Result<()> {
        let parts = &mut *self.parts.borrow_mut();
        if parts.uring.submission().taskrun() {
            parts.enter(0)?;
        }
        parts.take_completions();
        Ok(())
    }

    /// Ends what is under way, and the ring.
    fn close(&self) {
        let parts = &mut *self.parts.borrow_mut();
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        let _ = parts.push(&cancel.user_data(NOBODY));
        let end = Instant::now() + CLOSE_TIME;
        while parts.enter(0).is_ok() && Instant::now() < end {
            parts.take_completions();
            if parts.operations.are_over() {
                // Else the kernel might still write to them.
                if parts.uring.submitter().unregister_buf_ring(GROUP).is_ok() {
                    parts.buffers.release();
                }
                return;
            }
        }
    }
}

impl Parts {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry refers to is valid until it ends: a socket is kept by its
        // owner or by `Operations::abandon`, buffers are those of the ring, and nothing else is
        // referred to.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.enter(0)?;
            self.take_completions();
        }
        Ok(())
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        let count = self.uring.submission().len() as u32;
        let flags = EnterFlags::GETEVENTS.bits();
        loop {
            // SAFETY: no argument is passed.
            let entered = unsafe {
                self.uring
                    .submitter()
                    .enter::<()>(count, wanted, flags, None)
            };
            match entered {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The completion queue is full: what is in it is taken first.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_completions(&mut self) {
        loop {
            let Some(entry) = self.uring.completion().next() else {
                return;
            };
            let completion = Completion {
                result: entry.result(),
                flags: entry.flags(),
            };
            let key = entry.user_data();
            if self.operations.complete(key, completion, &mut self.buffers) {
                self.cancel(key);
            }
        }
    }

    fn cancel(&mut self, key: u64) {
        let cancel = opcode::AsyncCancel::new(key).build();
        // Fails only with the ring, which ends the thread.
        let _ = self.push(&cancel.user_data(NOBODY));
    }
}
