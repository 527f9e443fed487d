//! Where the lines of the access log go.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use rustix::pipe::PIPE_BUF;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output.
    Stdout,
    /// Behind the end of a file.
    File(PathBuf),
}

/// What is written to.
pub struct Sink {
    /// None: standard output.
    file: Option<File>,
    /// A write to a pipe, a terminal or a socket waits for whoever reads it.
    waits: bool,
}

impl Sink {
    /// Opens it. A named pipe must have a reader.
    pub fn open(place: &Place) -> io::Result<Self> {
        let file = match place {
            Place::Stdout => None,
            Place::File(path) => {
                let mut options = OpenOptions::new();
                // Who may read it is the operator's to widen. Not to wait for a pipe's reader.
                let flags = OFlags::NONBLOCK.bits().cast_signed();
                let options = options.append(true).create(true).mode(0o640);
                let opened = options.custom_flags(flags).open(path);
                Some(opened.map_err(|error| {
                    let is_pipe = path.metadata().is_ok_and(|it| it.file_type().is_fifo());
                    let why = if is_pipe && error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
                    {
                        "nobody reads this pipe".to_owned()
                    } else {
                        error.to_string()
                    };
                    let text = format!("cannot open {}: {why}", path.display());
                    io::Error::new(error.kind(), text)
                })?)
            }
        };
        let mut sink = Self { file, waits: false };
        sink.waits = fstat(sink.fd())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile);
        Ok(sink)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // Past std's buffer, which would keep what could not be written.
        let stdout = rustix::stdio::stdout();
        self.file.as_ref().map_or(stdout, AsFd::as_fd)
    }

    /// Writes lines; says too how much has been written when it fails. Waits at most so long
    /// until more can be.
    pub fn write(&self, lines: &[u8], written: &mut usize, wait: Duration) -> io::Result<()> {
        while *written < lines.len() {
            let mut rest = &lines[*written..];
            if self.waits {
                self.wait_for_room(wait)?;
                // A pipe has room for this much if it has any.
                rest = &rest[..rest.len().min(PIPE_BUF)];
            }
            match rustix::io::write(self.fd(), rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => *written += bytes,
                // Another writer had the room.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self, wait: Duration) -> io::Result<()> {
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&wait)) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody reads what is written",
            )),
            // What is wrong with it, the write says.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
