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
use tokio::sync::Notify;

use super::buffers::{Buffers, GROUP};
use super::operations::{Completion, NOBODY, Operations, Received};
use crate::readable::{Watched, registered};
use crate::uring::Refusal;

/// Submission queue; when it is full it is submitted early.
const SUBMISSION_QUEUE_ENTRIES: u32 = 1024;
/// The completion queue is larger, since every connection keeps an operation in flight.
const COMPLETION_QUEUE_ENTRIES: u32 = 16 * 1024;
/// For operations to end when their thread does. They are all cancelled, so it takes none.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Entering in one turn, as long as there is something to submit or to take.
const ROUNDS_MAX: u32 = 8;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of a thread.
pub struct Ring {
    parts: RefCell<Parts>,
    eventfd: OwnedFd,
    /// Something waits to be submitted.
    submitted: Notify,
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
    let worked = ring.try_out();
    ring.close();
    worked.map_err(Refusal::explain)
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
        .on_thread_park(|| with_current(Ring::end_turn))
        .on_thread_unpark(|| with_current(Ring::turn))
        .build_local(LocalOptions::default())
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let eventfd = ring.eventfd.try_clone();
        let eventfd = eventfd.and_then(|eventfd| registered(eventfd, Interest::READABLE));
        let eventfd = eventfd.map_err(Failure::Runtime)?;
        let turns = tokio::task::spawn_local(take_turns(Rc::clone(&ring), eventfd));
        let output = future.await;
        turns.abort();
        Ok(output)
    })
}

/// Enters the ring also in turns after which the thread does not sleep, since tasks yield: the
/// runtime calls its hooks only around a sleep. The eventfd ends a sleep, too.
async fn take_turns(ring: Rc<Ring>, eventfd: Watched) {
    loop {
        let submitted = ring.submitted.notified();
        tokio::select! {
            ready = eventfd.readable() => match ready {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime ends.
                Err(_) => return,
            },
            () = submitted => {}
        }
        must(ring.turn());
    }
}

fn must(entered: io::Result<()>) {
    entered.unwrap_or_else(|error| panic!("io_uring_enter: {error}"));
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
            must(work(ring));
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
            submitted: Notify::new(),
        })
    }

    /// Whether the ring can be entered and yields completions: a filter of system calls may allow
    /// to make one, and no more.
    fn try_out(&self) -> io::Result<()> {
        let parts = &mut *self.parts.borrow_mut();
        parts.push(&opcode::Nop::new().build().user_data(NOBODY))?;
        parts.enter(1)?;
        if parts.uring.completion().next().is_none() {
            return Err(io::Error::other("an operation does not complete"));
        }
        Ok(())
    }

    fn start(
        &self,
        begin: impl FnOnce(&mut Operations) -> usize,
        entry: squeue::Entry,
    ) -> io::Result<usize> {
        let parts = &mut *self.parts.borrow_mut();
        let key = begin(&mut parts.operations);
        if let Err(error) = parts.push(&entry.user_data(key as u64)) {
            parts.operations.forget(key);
            return Err(error);
        }
        self.submitted.notify_one();
        Ok(key)
    }

    /// Starts a receive at the end of this turn.
    pub fn start_receive(&self, entry: squeue::Entry) -> io::Result<usize> {
        self.start(Operations::begin_receive, entry)
    }

    /// Starts another operation at the end of this turn.
    pub fn start_single(&self, entry: squeue::Entry) -> io::Result<usize> {
        self.start(Operations::begin_single, entry)
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
    pub fn poll_arrival(&self, key: usize, cx: &mut Context<'_>) -> Poll<bool> {
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

    /// Buffers that the kernel does not have.
    #[cfg(test)]
    pub fn held_buffers(&self) -> usize {
        self.parts.borrow().operations.held_buffers()
    }

    /// Ends a receive soon, if it has not ended.
    pub fn cancel(&self, key: usize) {
        let parts = &mut *self.parts.borrow_mut();
        parts.operations.must_end(key);
        parts.cancel(key as u64);
        self.submitted.notify_one();
    }

    /// Nobody will take what an operation yields. Its socket is closed when it ends, which is
    /// soon.
    pub fn abandon(&self, key: usize, socket: Rc<OwnedFd>) {
        let parts = &mut *self.parts.borrow_mut();
        if parts.operations.abandon(key, socket, &mut parts.buffers) {
            parts.cancel(key as u64);
            self.submitted.notify_one();
        }
    }

    /// No task is left to run, and the thread will sleep unless something has arrived.
    fn end_turn(&self) -> io::Result<()> {
        let parts = &mut *self.parts.borrow_mut();
        parts.operations.reclaim(&mut parts.buffers);
        self.turn_of(parts)
    }

    /// Submits what was asked for and takes what has arrived.
    fn turn(&self) -> io::Result<()> {
        self.turn_of(&mut self.parts.borrow_mut())
    }

    fn turn_of(&self, parts: &mut Parts) -> io::Result<()> {
        for _ in 0..ROUNDS_MAX {
            if !parts.must_enter() {
                return Ok(());
            }
            parts.enter(0)?;
            parts.take_completions();
        }
        // There is more than belongs into one turn, or the system has no memory for it now.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
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
    fn must_enter(&mut self) -> bool {
        let queue = self.uring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

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
                // The completion queue is full, or there is no memory for an operation now: the
                // completions are taken first.
                Err(error)
                    if [Some(libc::EBUSY), Some(libc::EAGAIN)].contains(&error.raw_os_error()) =>
                {
                    return Ok(());
                }
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
