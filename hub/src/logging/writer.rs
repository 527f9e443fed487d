//! Writes lines to standard error on a thread of its own. Who logs never waits and never
//! fails: where lines cannot be written, or come quicker than they can be, they are
//! counted, and that is said as soon as something can be.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tracing_subscriber::fmt::MakeWriter;

use super::limit::RateLimit;
use crate::limits::{LOG_FLUSH_TIME, LOG_LINE_BYTES_MAX, LOG_QUEUE_COUNT_MAX, LOG_WRITE_TIME};

enum Entry {
    Line(Vec<u8>),
    /// All lines before it have been written; the thread ends.
    End(SyncSender<()>),
}

/// Where the log's lines go. Clones share the thread.
#[derive(Clone)]
pub struct LogWriter {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// Waits a little for the last lines when it is dropped.
pub struct Flush(SyncSender<Entry>);

impl LogWriter {
    /// Starts the thread. If there can be none, all lines are lost.
    pub fn start(limit: RateLimit) -> (Self, Flush) {
        let (entries, inbox) = sync_channel(LOG_QUEUE_COUNT_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("log".to_owned());
        let _ = thread.spawn(move || write_all(&inbox, &counter, &limit));
        let flush = Flush(entries.clone());
        (Self { entries, lost }, flush)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.0.try_send(Entry::End(done)).is_ok() {
            // In vain if nobody reads what is written.
            let _ = written.recv_timeout(LOG_FLUSH_TIME);
        }
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl io::Write for &LogWriter {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line[..line.len().min(LOG_LINE_BYTES_MAX)].to_vec();
        if kept.len() < line.len() {
            kept.extend_from_slice("…\n".as_bytes());
        }
        if self.entries.try_send(Entry::Line(kept)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(inbox: &Receiver<Entry>, lost: &AtomicU64, limit: &RateLimit) {
    loop {
        match inbox.recv_timeout(Duration::from_secs(1)) {
            Ok(Entry::Line(line)) => write_line(&line, lost),
            Ok(Entry::End(done)) => {
                tell_left_out(limit, true, lost);
                // Who waited may have given up.
                let _ = done.try_send(());
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        tell_left_out(limit, false, lost);
    }
}

fn tell_left_out(limit: &RateLimit, all: bool, lost: &AtomicU64) {
    for left_out in limit.take_left_out(Instant::now(), all) {
        let (count, time) = (left_out.count, left_out.time.as_secs_f64());
        let example = left_out.example;
        let line =
            format!("        {count} lines like this were left out in {time:.1} s: {example}\n");
        write_line(line.as_bytes(), lost);
    }
}

fn write_line(line: &[u8], lost: &AtomicU64) {
    let before = lost.swap(0, Ordering::Relaxed);
    if before > 0 {
        let told = format!("        {before} log lines could not be written\n");
        if write(told.as_bytes()).is_err() {
            lost.fetch_add(before, Ordering::Relaxed);
        }
    }
    if write(line).is_err() {
        lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// A part of a line may have been written when this fails.
fn write(mut bytes: &[u8]) -> Result<(), Errno> {
    let start = Instant::now();
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Whoever else has this file description made it non-blocking.
            Err(Errno::AGAIN) if start.elapsed() < LOG_WRITE_TIME => wait_for_room(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for_room() {
    let stderr = rustix::stdio::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    // Whether there is room is seen by the next write.
    let _ = rustix::event::poll(&mut fds, Some(&time));
}
