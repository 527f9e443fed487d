//! The access log's thread: takes records out of the rings, and writes lines.

use std::io;
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
pub use super::sink::Place;
use super::sink::Sink;
use crate::limits::{
    ACCESS_LOG_BATCH_TIME, ACCESS_LOG_FLUSH_TIME, ACCESS_LOG_PIPE_TIME, ACCESS_LOG_RING_BYTES,
    ACCESS_LOG_WORD_INTERVAL,
};
use crate::metrics::route::RouteLabels;

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
        sink,
        rings,
        labels,
        routes: Vec::new(),
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
        while !thread.is_finished() {
            if start.elapsed() >= ACCESS_LOG_FLUSH_TIME {
                tracing::warn!(
                    "the last lines of the access log are missing: it cannot be written quickly \
                     enough"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Records that have no line, since the writer was too slow or could not write.
    pub fn lost(&self) -> u64 {
        self.ends.lost.load(Ordering::Relaxed) + self.orders.unwritten.load(Ordering::Relaxed)
    }
}

/// Copies the labels that have come.
fn learn(routes: &mut Vec<String>, labels: &RouteLabels) {
    let labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
    let new = labels.iter().skip(routes.len());
    routes.extend(new.map(|label| label.route.clone()));
}

/// What has been said of lines that are missing.
#[derive(Default)]
struct Trouble {
    is_failing: bool,
    /// A part of a line has been written, and no end.
    is_within_line: bool,
    told_lost: u64,
    told_at: Option<Instant>,
}

struct Task {
    options: Options,
    sink: Sink,
    rings: Vec<Consumer<u8>>,
    labels: RouteLabels,
    /// Those that have been needed, without a lock.
    routes: Vec<String>,
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
            let is_last = ends && !took;
            self.tell_lost(is_last);
            if is_last {
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
                let index = record.route_index as usize;
                if index >= self.routes.len() {
                    learn(&mut self.routes, &self.labels);
                }
                let route = self.routes.get(index).map_or("", String::as_str);
                self.formatter.line(&mut self.out, &record, route);
                self.lines += 1;
            }
        }
        let took = self.lines > 0;
        if took {
            self.write();
        }
        took
    }

    fn write(&mut self) {
        let mut written_bytes = 0;
        // The rest of a line that could not be written whole never comes.
        let ends_cut_line = self.trouble.is_within_line;
        if ends_cut_line {
            self.out.insert(0, b'\n');
        }
        // Whoever has not read for long is not waited for again.
        let wait = if self.trouble.is_failing {
            Duration::ZERO
        } else {
            ACCESS_LOG_PIPE_TIME
        };
        let written = self.sink.write(&self.out, &mut written_bytes, wait);
        if let Err(error) = written {
            let (done, missing) = self.out.split_at(written_bytes);
            let ends = memchr::memchr_iter(b'\n', missing).count();
            // The end of the line that was cut before is none of these.
            let lines = ends - usize::from(ends_cut_line && done.is_empty());
            self.orders
                .unwritten
                .fetch_add(lines as u64, Ordering::Relaxed);
            if let Some(last) = done.last() {
                self.trouble.is_within_line = *last != b'\n';
            }
            if !self.trouble.is_failing {
                self.trouble.is_failing = true;
                tracing::error!(
                    "the access log cannot be written ({error}); the hub serves on, and counts \
                     the lines that are missing (slotway_access_log_lost_total)"
                );
            }
        } else {
            self.trouble.is_within_line = false;
            if std::mem::take(&mut self.trouble.is_failing) {
                let lost = self.ends.lost.load(Ordering::Relaxed);
                let count = lost + self.orders.unwritten.load(Ordering::Relaxed);
                self.trouble.told_lost = lost;
                tracing::info!(
                    "the access log can be written again; since the hub's start, {count} lines \
                     are missing"
                );
            }
        }
        self.out.clear();
        self.out.shrink_to(1024 * 1024);
        self.lines = 0;
    }

    fn reopen(&mut self) {
        match Sink::open(&self.options.place) {
            Ok(sink) => {
                self.sink = sink;
                self.trouble.is_within_line = false;
            }
            // Better the old file than none.
            Err(error) => tracing::error!("the access log was not opened anew: {error}"),
        }
    }

    /// Says how many records found no room, now and then.
    fn tell_lost(&mut self, is_last: bool) {
        let lost = self.ends.lost.load(Ordering::Relaxed);
        let is_due = self
            .trouble
            .told_at
            .is_none_or(|at| at.elapsed() >= ACCESS_LOG_WORD_INTERVAL);
        // While it cannot be written at all, that is what has been told.
        if is_last && self.trouble.is_failing {
            let count = lost + self.orders.unwritten.load(Ordering::Relaxed);
            tracing::warn!(
                "the access log could not be written to its end: {count} lines are missing since \
                 the hub's start"
            );
        }
        if lost > self.trouble.told_lost && (is_due || is_last) && !self.trouble.is_failing {
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
