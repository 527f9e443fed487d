//! A response's body from a file of the worker's: by splice(2), from the file into a pipe and from that
//! to the client. What touches the file is done by threads that may hang with its file system, and never
//! by the reactor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::sync::OwnedSemaphorePermit;

use super::outcome;
use crate::blocking;
use crate::foreign_fd::ForeignFd;
use crate::lanes::exchange::Exchange;
use crate::limits::{FILE_ARRIVAL_TIME, FILE_PIPE_BYTES, READ_STEP_BYTES};
use crate::routing::handed_files::{HandedFile, NoFile};
use crate::routing::session::Session;
use crate::wire::{Call, EarlyEnd, Wire};

/// A body that is ready to be sent.
pub struct FileBody {
    session: Arc<Session>,
    file: Arc<ForeignFd>,
    /// Where the next byte is read from.
    offset: u64,
    /// Bytes that the client has yet to get.
    left: u64,
    pipe: Pipe,
    timeout: Duration,
    _places: [OwnedSemaphorePermit; 2],
}

struct Pipe {
    output: OwnedFd,
    input: Arc<OwnedFd>,
    /// What is in it.
    bytes: usize,
}

/// Why a file's bytes do not come.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("what it sent is no regular file")]
    NoFile,
    #[error("the file has fewer bytes than its response")]
    TooShort,
    #[error("the file was not read in time (--timeout)")]
    Hangs,
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Gets the file that a worker answers with, and reads the beginning. The error is what the client gets
/// instead.
pub async fn open(
    wire: &Wire,
    call: &Call,
    exchange: &Exchange,
    bytes: u64,
) -> Result<FileBody, EarlyEnd> {
    let session = Arc::clone(&exchange.lane().session);
    let slot = exchange.slot_use();
    let refused = |why: &dyn std::fmt::Display| {
        let worker = &session.name;
        tracing::warn!(worker, "502: the worker's file cannot be sent: {why}");
        Err(outcome::bad_response(&wire.reactor.lanes).into())
    };
    let handed = match session.files.wait(slot, FILE_ARRIVAL_TIME).await {
        Ok(handed) => handed,
        Err(NoFile::Absent) => return refused(&"it did not come"),
        Err(NoFile::NoRoom) => {
            let worker = &session.name;
            tracing::warn!(
                worker,
                "503: as many of its files are being sent as the limit of open files allows"
            );
            return Err(
                outcome::overloaded("as many files of workers are being sent as may").into(),
            );
        }
    };
    let timeout = Duration::from_millis(call.timeout_ms.into());
    let HandedFile {
        file,
        offset,
        places,
    } = handed;
    let mut body = FileBody {
        file: Arc::new(file),
        offset,
        left: bytes,
        pipe: match Pipe::new() {
            Ok(pipe) => pipe,
            Err(error) => return refused(&error),
        },
        timeout,
        _places: places,
        session: Arc::clone(&session),
    };
    match body.begin(bytes).await {
        Ok(()) => Ok(body),
        Err(fault) => refused(&fault),
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one does as well: the system bounds what a user has of them.
        let _ = fcntl_setpipe_size(&input, FILE_PIPE_BYTES);
        Ok(Self {
            output,
            input: Arc::new(input),
            bytes: 0,
        })
    }
}

impl FileBody {
    /// Looks at the file, and reads what fits the pipe.
    async fn begin(&mut self, bytes: u64) -> Result<(), FileFault> {
        let end = self.offset.checked_add(bytes).ok_or(FileFault::TooShort)?;
        let check = move |file: &ForeignFd| {
            let status = fstat(file).map_err(io::Error::from)?;
            if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
                return Err(FileFault::NoFile);
            }
            if u64::try_from(status.st_size).unwrap_or(0) < end {
                return Err(FileFault::TooShort);
            }
            Ok(())
        };
        self.fill(check).await
    }

    /// Fills the empty pipe from the file, on a thread.
    async fn fill(
        &mut self,
        before: impl FnOnce(&ForeignFd) -> Result<(), FileFault> + Send + 'static,
    ) -> Result<(), FileFault> {
        let (file, pipe) = (Arc::clone(&self.file), Arc::clone(&self.pipe.input));
        let (mut offset, left) = (self.offset, self.left);
        let reading = Arc::clone(&self.session.files.reading).acquire_owned();
        let read = async {
            let place = reading.await.map_err(io::Error::other)?;
            let read = move || {
                let _place = place;
                before(&file)?;
                let mut moved = 0;
                while moved < left {
                    let most = usize::try_from(left - moved).unwrap_or(usize::MAX);
                    let most = most.min(FILE_PIPE_BYTES);
                    let flags = SpliceFlags::NONBLOCK;
                    match splice(&*file, Some(&mut offset), &pipe, None, most, flags) {
                        Ok(0) => return Err(FileFault::TooShort),
                        Ok(count) => moved += count as u64,
                        // It is full.
                        Err(Errno::AGAIN) => break,
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(io::Error::from(error).into()),
                    }
                }
                Ok(moved)
            };
            blocking::run("slotway-file", read).await?
        };
        let moved = tokio::time::timeout(self.timeout, read)
            .await
            .map_err(|_| FileFault::Hangs)??;
        self.offset += moved;
        self.pipe.bytes = moved as usize;
        Ok(())
    }
}

/// Sends the head that is in the output, and the file behind it. False: it did not come whole, and the
/// connection must be reset.
pub async fn send(wire: &mut Wire, mut body: FileBody) -> Result<bool, EarlyEnd> {
    loop {
        if !wire.output.is_empty() {
            wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
        }
        if body.left == 0 {
            return Ok(true);
        }
        if body.pipe.bytes == 0
            && let Err(fault) = body.fill(|_| Ok(())).await
        {
            let worker = &body.session.name;
            tracing::warn!(
                worker,
                missing = body.left,
                "a response from a file was cut off: {fault}"
            );
            return Ok(false);
        }
        let more = body.left > body.pipe.bytes as u64;
        let moved = send_piece(wire, &mut body.pipe, more)?;
        body.left -= moved as u64;
        // Others have their turn.
        tokio::task::yield_now().await;
    }
}

/// Moves what the client's socket takes at once; if that is nothing, a piece goes into the output, which
/// waits for the client as all responses do.
fn send_piece(wire: &mut Wire, pipe: &mut Pipe, more: bool) -> Result<usize, EarlyEnd> {
    let stream = wire.state.stream();
    let moved = match stream.splice_now(pipe.output.as_fd(), pipe.bytes, more) {
        Ok(moved @ 1..) => {
            wire.recorder().sent(moved);
            moved
        }
        Err(Errno::AGAIN | Errno::INTR) => {
            let start = wire.output.len();
            wire.output
                .resize(start + pipe.bytes.min(READ_STEP_BYTES), 0);
            let read = rustix::io::read(&pipe.output, &mut wire.output[start..]);
            wire.output.truncate(start + read.unwrap_or(0));
            match read {
                Ok(count @ 1..) => count,
                // There are bytes in it.
                Ok(0) | Err(_) => return Err(EarlyEnd::ClientGone),
            }
        }
        Ok(0) | Err(_) => return Err(EarlyEnd::ClientGone),
    };
    pipe.bytes -= moved;
    Ok(moved)
}
