//! A worker that serves.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use super::message::Message;
use crate::error::RunError;
use crate::serve::serving::Serving;
use crate::session::live::LiveSessions;
use crate::session::meter::{Meter, WorkerMetrics};

/// A worker that serves on its own threads, begun with
/// [`HubWorker::start`](crate::HubWorker::start). Dropped without
/// [`RunningWorker::stop`], it ends at once, and what it has is lost.
///
/// ```no_run
/// # use slotway_worker_sdk::{HubWorker, RunError};
/// # fn example() -> Result<(), RunError> {
/// let worker = HubWorker::from_env("hello", ())
///     .get("/hello", || "hello")
///     .start()?;
/// std::thread::sleep(std::time::Duration::from_secs(3600));
/// worker.stop();
/// worker.wait()
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the worker"]
pub struct RunningWorker {
    sender: Sender<Message>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    metrics: MetricsReader,
}

/// Reads what a worker counts; see [`HubWorker::metrics`](crate::HubWorker::metrics). Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct MetricsReader {
    pub(super) meter: Arc<Meter>,
    pub(super) sessions: LiveSessions,
}

impl MetricsReader {
    pub(super) fn new<S>(serving: &Serving<S>) -> Self {
        Self {
            meter: Arc::clone(&serving.meter),
            sessions: serving.sessions.clone(),
        }
    }

    /// The numbers as they are now; costs a few loads and a lock that is hardly ever held.
    pub fn read(&self) -> WorkerMetrics {
        self.meter.read(self.sessions.count())
    }
}

/// Stops a worker from another thread.
///
/// ```no_run
/// # use slotway_worker_sdk::{HubWorker, RunError};
/// # fn example(worker: HubWorker<()>) -> Result<(), RunError> {
/// let worker = worker.start()?;
/// let stopper = worker.stopper();
/// std::thread::spawn(move || {
///     let mut line = String::new();
///     let _ = std::io::stdin().read_line(&mut line);
///     stopper.stop();
/// });
/// worker.wait()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Message>);

impl Stopper {
    /// See [`RunningWorker::stop`].
    pub fn stop(&self) {
        // In vain if it has ended.
        let _ = self.0.send(Message::Stop);
    }
}

impl RunningWorker {
    pub(crate) fn new(
        sender: Sender<Message>,
        thread: JoinHandle<Result<(), RunError>>,
        metrics: MetricsReader,
    ) -> Self {
        Self {
            metrics,
            sender,
            thread: Some(thread),
        }
    }

    /// Lets the worker finish what it has and end: the hub sends it no further request.
    /// Returns at once; [`RunningWorker::wait`] waits for the end.
    pub fn stop(&self) {
        self.stopper().stop();
    }

    /// To stop it while another thread waits.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// What it has counted so far.
    pub fn metrics(&self) -> WorkerMetrics {
        self.metrics.read()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Blocks until the worker has ended: after [`RunningWorker::stop`], or with an
    /// error that trying again cannot mend.
    pub fn wait(mut self) -> Result<(), RunError> {
        let thread = self.thread.take().expect("waited for once");
        thread.join().expect("the supervisor does not panic")
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        // In vain if it has ended.
        let _ = self.sender.send(Message::Abort);
    }
}
