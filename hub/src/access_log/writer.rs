//! The access log's thread: takes records out of the rings, and writes lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::Consumer;

use super::fields::Fields;
pub use super::format::Format;
use super::format::Formatter;
use super::producer::{AccessLog, Ends};
use super::record::Record;
use crate::limits::{
    ACCESS_LOG_BATCH_TIME, ACCESS_LOG_FLUSH_TIME, ACCESS_LOG_RING_BYTES, ACCESS_LOG_WORD_INTERVAL,
};
use crate::metrics::route::RouteLabels;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output.
    Stdout,
    /// Behind the end of a file.
    File(PathBuf),
}

/// Everything about an access log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where lines go.
    pub place: Place,
    /// How they are written.
    pub format: Format,
    /// What they have.
    pub fields: Fields,
    /// One request of so many has one; those that failed always do.
    pub sample: u32,
}

/// The thread.
#[derive(Debug)]
pub struct Writer {
    ends: Arc<Ends>,
    orders: Arc<Orders>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Orders {
    reopens: AtomicBool,
    ends: AtomicBool,
    /// Lines that could not be written.
    unwritten: AtomicU64,
}

/// Opens the log and starts its thread. Returns the reactors' ends too.
pub fn start(
    options: Options,
    reactor_count: usize,
    labels: RouteLabels,
) -> io::Result<(Writer, Vec<AccessLog>)> {
    let sink = Sink::open(&options.place)?;
    let ends = Arc::new(Ends::default());
    let orders = Arc::new(Orders::default());
    let (mut producers, mut rings) = (Vec::new(), Vec::new());
    for _ in 0..reactor_count {
        let (producer, consumer) = rtrb::RingBuffer::new(ACCESS_LOG_RING_BYTES);
        let ends = Arc::clone(&ends);
        producers.push(AccessLog::new(
            producer,
            ends,
            options.fields,
            options.sample,
        ));
        rings.push(consumer);
    }
    let formatter = Formatter::new(options.format, options.fields);
    let task = Task {
        options,
        sink: Some(sink),
        rings,
        labels,
        ends: Arc::clone(&ends),
        orders: Arc::clone(&orders),
        formatter,
        out: Vec::new(),
        lines: 0,
        trouble: Trouble::default(),
    };
    let thread = std::thread::Builder::new().name("access-log".to_owned());
    let thread = thread.spawn(move || task.run())?;
    let _ = ends.writer.set(thread.thread().clone());
    let writer = Writer {
        ends,
        orders,
        thread: Mutex::new(Some(thread)),
    };
    Ok((writer, producers))
}

impl Writer {
    /// Opens the file anew: the old one has been moved away.
    pub fn reopen(&self) {
        self.orders.reopens.store(true, Ordering::Release);
        self.ends.wake();
    }

    /// Ends the thread once all is written. No record may come any more.
    pub fn finish(&self) {
        self.orders.ends.store(true, Ordering::Release);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return };
        thread.thread().unpark();
        let start = Instant::now();
        // In vain if nobody reads what is written.
        while !thread.is_finished() && start.elapsed() < ACCESS_LOG_FLUSH_TIME {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Records that have no line, since the writer was too slow or could not write.
    pub fn lost(&self) -> u64 {
        self.ends.lost.load(Ordering::Relaxed) + self.orders.unwritten.load(Ordering::Relaxed)
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(File),
}

impl Sink {
    fn open(place: &Place) -> io::Result<Self> {
        match place {
            Place::Stdout => Ok(Self::Stdout(io::stdout())),
            Place::File(path) => {
                let mut options = OpenOptions::new();
                // Who may read it is the operator's to widen.
                let options = options.append(true).create(true).mode(0o640);
                let open = |error| {
                    io::Error::new(
                        io::Error::kind(&error),
                        format!("cannot open {}: {error}", path.display()),
                    )
                };
                options.open(path).map(Self::File).map_err(open)
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(lines),
        }
    }
}

/// What has been said of lines that are missing.
#[derive(Default)]
struct Trouble {
    is_failing: bool,
    told_lost: u64,
    told_at: Option<Instant>,
}

struct Task {
    options: Options,
    sink: Option<Sink>,
    rings: Vec<Consumer<u8>>,
    labels: RouteLabels,
    ends: Arc<Ends>,
    orders: Arc<Orders>,
    formatter: Formatter,
    out: Vec<u8>,
    lines: u64,
    trouble: Trouble,
}

impl Task {
    fn run(mut self) {
        loop {
            let ends = self.orders.ends.load(Ordering::Acquire);
            if self.orders.reopens.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let took = self.take();
            self.tell_lost();
            if ends && !took {
                return;
            }
            if took || ends {
                // Some more come meanwhile, and are written with them.
                if !ends {
                    std::thread::sleep(ACCESS_LOG_BATCH_TIME);
                }
                continue;
            }
            self.ends.is_asleep.store(true, Ordering::Release);
            fence(Ordering::SeqCst);
            if self.rings.iter().all(Consumer::is_empty) {
                // A record that comes just now waits a second at most.
                std::thread::park_timeout(Duration::from_secs(1));
            }
            self.ends.is_asleep.store(false, Ordering::Release);
        }
    }

    /// Takes what there is, and writes it. Says whether there was something.
    fn take(&mut self) -> bool {
        let labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        for ring in &mut self.rings {
            let mut length = [0; 4];
            // A record and its length are pushed in one step. As much as the ring holds:
            // others have their turn then.
            let mut left = ACCESS_LOG_RING_BYTES;
            while left > 0 && ring.pop_entire_slice(&mut length).is_ok() {
                let count = u32::from_ne_bytes(length) as usize;
                bytes.resize(count, 0);
                if ring.pop_entire_slice(&mut bytes).is_err() {
                    break;
                }
                left = left.saturating_sub(count + length.len());
                let record = Record::read(&bytes);
                let route = labels.get(record.route_index as usize);
                let route = route.map_or("", |label| label.route.as_str());
                self.formatter.line(&mut self.out, &record, route);
                self.lines += 1;
            }
        }
        drop(labels);
        let took = self.lines > 0;
        if took {
            self.write();
        }
        took
    }

    fn write(&mut self) {
        let written = match &mut self.sink {
            Some(sink) => sink.write(&self.out),
            None => Err(io::Error::other("it could not be opened again")),
        };
        match written {
            Ok(()) if self.trouble.is_failing => {
                self.trouble.is_failing = false;
                tracing::info!("the access log can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.orders
                    .unwritten
                    .fetch_add(self.lines, Ordering::Relaxed);
                if !self.trouble.is_failing {
                    self.trouble.is_failing = true;
                    tracing::error!(
                        "the access log cannot be written ({error}); the hub serves on, and counts \
                         the lines that are missing (slotway_access_log_lost_total)"
                    );
                }
            }
        }
        self.out.clear();
        self.out.shrink_to(1024 * 1024);
        self.lines = 0;
    }

    fn reopen(&mut self) {
        match Sink::open(&self.options.place) {
            Ok(sink) => self.sink = Some(sink),
            // Better the old file than none.
            Err(error) => tracing::error!("the access log was not opened anew: {error}"),
        }
    }

    /// Says how many records found no room, now and then.
    fn tell_lost(&mut self) {
        let lost = self.ends.lost.load(Ordering::Relaxed);
        let is_due = self
            .trouble
            .told_at
            .is_none_or(|at| at.elapsed() >= ACCESS_LOG_WORD_INTERVAL);
        if lost > self.trouble.told_lost && is_due {
            let count = lost - self.trouble.told_lost;
            tracing::warn!(
                "{count} requests have no line in the access log: they came quicker than it can be \
                 written (--access-log-sample N writes one of N)"
            );
            self.trouble.told_lost = lost;
            self.trouble.told_at = Some(Instant::now());
        }
    }
}
