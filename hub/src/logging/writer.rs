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

use super::format::LogFormat;
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
    format: LogFormat,
}

/// Waits a little for the last lines when it is dropped.
pub struct Flush(SyncSender<Entry>);

impl LogWriter {
    /// Starts the thread. If there can be none, all lines are lost.
    pub fn start(limit: RateLimit, format: LogFormat) -> (Self, Flush) {
        let (entries, inbox) = sync_channel(LOG_QUEUE_COUNT_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("log".to_owned());
        let said = Said {
            lost: counter,
            format,
        };
        let _ = thread.spawn(move || write_all(&inbox, &said, &limit));
        let flush = Flush(entries.clone());
        let writer = Self {
            entries,
            lost,
            format,
        };
        (writer, flush)
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
            kept =
                own_line(self.format, &format!("{}…", String::from_utf8_lossy(&kept))).into_bytes();
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

fn write_all(inbox: &Receiver<Entry>, said: &Said, limit: &RateLimit) {
    loop {
        match inbox.recv_timeout(Duration::from_secs(1)) {
            Ok(Entry::Line(line)) => said.write_line(&line),
            Ok(Entry::End(done)) => {
                said.tell_left_out(limit, true);
                // Who waited may have given up.
                let _ = done.try_send(());
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        said.tell_left_out(limit, false);
    }
}

/// A line that nobody has logged, or that is not what was.
fn own_line(format: LogFormat, text: &str) -> String {
    match format {
        LogFormat::Text => format!("        {text}\n"),
        LogFormat::Json => {
            let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
            let line = serde_json::json!({
                "timestamp": now.to_string(), "level": "WARN", "message": text,
            });
            format!("{line}\n")
        }
    }
}

/// What has yet to be said of lines that are missing, and how.
struct Said {
    lost: Arc<AtomicU64>,
    format: LogFormat,
}

impl Said {
    fn tell_left_out(&self, limit: &RateLimit, all: bool) {
        for left_out in limit.take_left_out(Instant::now(), all) {
            let (count, time) = (left_out.count, left_out.time.as_secs_f64());
            let example = left_out.example;
            let text = format!("{count} lines like this were left out in {time:.1} s: {example}");
            self.write_line(own_line(self.format, &text).as_bytes());
        }
    }

    fn write_line(&self, line: &[u8]) {
        let before = self.lost.swap(0, Ordering::Relaxed);
        if before > 0 {
            let text = format!("{before} log lines could not be written");
            let text = own_line(self.format, &text);
            if write(text.as_bytes()).is_err() {
                self.lost.fetch_add(before, Ordering::Relaxed);
            }
        }
        if write(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
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
