//! How a hub comes up and goes down: [`Hub`] starts the control task and the reactors, and
//! stops them; the thread that calls [`Hub::start`] must have the tokio runtime that serves
//! the control tasks.
//!
//! `listeners` are what it listens on ([`bind`] for TCP, [`unix_socket`] with its
//! [`file_lock`], [`attach_socket`] for workers, or `activation` where the service manager has opened
//! them; [`systemd`] is what that is told, and `watchdog` that the hub lives), `reactor_thread` is the thread of one
//! reactor, [`upgrade`] replaces the hub by a new process over a [`handover`], [`stand_in`]
//! stays for a successor where the process is known, and [`error`] says why a hub does not start.

mod activation;
pub mod attach_socket;
pub mod bind;
pub mod error;
pub mod file_lock;
pub mod handover;
mod listeners;
mod reactor_thread;
pub mod stand_in;
pub mod systemd;
pub mod unix_socket;
pub mod upgrade;
mod watchdog;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Pid;
use slotway_net::{Chosen, Engine, choose};
use slotway_shm_proto::layout::LAYOUT_VERSION;
use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log::producer::AccessLog;
use crate::access_log::writer::{self, Writer};
use crate::blocking;
use crate::clock;
use crate::config::Config;
use crate::config::check::check;
use crate::control;
use crate::control::attach_queue::QueueLimits;
use crate::limits::{MOVE_TIME, STOP_GRACE};
use crate::metrics::route::{RouteLabels, group_labels};
use crate::routing::registration::ExpectedWorker;
use crate::shared::attach_policy::AttachPolicy;
use crate::shared::inspection::Inspection;
use crate::shared::message::ControlMessage;
use crate::shared::reload::reload_aside;
use crate::shared::vital::vital;
use crate::shared::{Shared, SocketFacts};
use crate::status::observation::HubFacts;
use attach_socket::AttachSocket;
use error::StartError;
use handover::Description;
use listeners::{Listeners, inherit};
use reactor_thread::{ReactorParts, ReactorThread, start_reactor};
use upgrade::{Predecessor, Program, Successor};

/// A running hub.
pub struct Hub {
    shared: Arc<Shared>,
    engine: Engine,
    listeners: Listeners,
    attach: Arc<AttachSocket>,
    /// Accepts workers.
    accepting: tokio::task::JoinHandle<()>,
    /// Whether it does.
    attach_open: watch::Sender<bool>,
    reactors: Vec<ReactorThread>,
}

impl Hub {
    /// Binds everything, starts every thread, and returns once all serve. Must
    /// be called in a tokio runtime, which serves the control tasks.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let hub = Self::prepare(config, None)?;
        hub.open();
        Ok(hub)
    }

    /// Like [`Hub::start`], with what another hub hands over; returns once the workers
    /// of that hub are here, or have been waited for long enough.
    pub async fn take_over(config: Config, from: Predecessor) -> Result<Self, StartError> {
        let from = Arc::new(from);
        let taken = Self::try_take_over(config, &from).await;
        if let Err(error) = &taken {
            from.failed(error);
        }
        taken
    }

    async fn try_take_over(config: Config, from: &Arc<Predecessor>) -> Result<Self, StartError> {
        let (description, fds) = from.take().map_err(StartError::Handover)?;
        let workers = description.workers.clone();
        let count = workers.len();
        if description.layout_version != LAYOUT_VERSION && count > 0 {
            return Err(StartError::OtherLayout {
                theirs: description.layout_version,
                workers: count,
            });
        }
        let hub = Self::prepare(config, Some((description, fds)))?;
        let (reply, expecting) = oneshot::channel();
        hub.shared
            .tell_control(ControlMessage::Expect(workers, reply));
        let stopped = |error| StartError::Handover(io::Error::other(error));
        let are_all_here = expecting.await.map_err(stopped)?;
        let other = Arc::clone(from);
        let prepared = blocking::run("handover", move || other.prepared()).await;
        prepared
            .and_then(|prepared| prepared)
            .map_err(StartError::Handover)?;
        if tokio::time::timeout(MOVE_TIME, are_all_here).await.is_err() {
            // One that hangs, or does not want to, must not stop the others' upgrade: it may
            // come when the old hub has drained. If most do not come, it is this hub's fault.
            let attached = hub.shared.routes.current().sessions.len();
            if attached * 2 < count {
                let expected = count;
                return Err(StartError::WorkersMissing { attached, expected });
            }
            tracing::warn!(
                "upgrade: {} of {count} workers have not attached in {MOVE_TIME:?}; they are with the old \
                 hub until it has drained, and their routes are 503 until they attach",
                count - attached
            );
        }
        hub.open();
        from.ready().map_err(StartError::Handover)?;
        hub.own_files(true);
        Ok(hub)
    }

    /// Whether the sockets' files go with this hub, or are another's.
    fn own_files(&self, owns: bool) {
        self.attach.own_files(owns);
        for unix in self.listeners.all().iter().flat_map(|set| &set.unix) {
            unix.own_file(owns);
        }
    }

    /// Lets clients in.
    fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// Starts the program again and hands everything over to it. After that this hub
    /// has only to be stopped. If it fails, this hub goes on. Returns the new process.
    pub async fn upgrade(&mut self, program: &Program) -> io::Result<Pid> {
        let (reply, workers) = oneshot::channel();
        self.shared
            .tell_control(ControlMessage::BeginHandover(reply));
        let workers = workers.await.map_err(io::Error::other)?;
        // Workers that attach from now on are for the new hub.
        self.attach_open.send_replace(false);
        let result = match workers {
            Ok(workers) => self.hand_over(program, workers).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.shared.tell_control(ControlMessage::EndHandover);
            self.attach_open.send_replace(true);
        } else {
            self.own_files(false);
            self.shared.has_successor.store(true, Ordering::Release);
        }
        result
    }

    async fn hand_over(&self, program: &Program, workers: Vec<ExpectedWorker>) -> io::Result<Pid> {
        let (description, fds) = self.describe(workers)?;
        let workers = description.workers.clone();
        let program = program.clone();
        let prepare = move || {
            let successor = Successor::start(&program)?;
            successor.prepare(&description, &fds).map(|()| successor)
        };
        let successor = blocking::run("upgrade", prepare).await??;
        let (done, told) = oneshot::channel();
        self.shared
            .tell_control(ControlMessage::TellMoving(workers, done));
        told.await.map_err(io::Error::other)?;
        blocking::run("upgrade", move || successor.await_ready()).await?
    }

    fn describe(&self, workers: Vec<ExpectedWorker>) -> io::Result<(Description, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        let clients = self.listeners.clients.try_clone_to(&mut fds)?;
        let operations = self.listeners.operations.try_clone_to(&mut fds)?;
        let agents = self.listeners.agents.try_clone_to(&mut fds)?;
        let (attach, private_folder) = self.attach.try_clone_all()?;
        fds.extend(attach);
        let description = Description {
            layout_version: LAYOUT_VERSION,
            clients,
            operations,
            agents,
            attach: self.attach.path(),
            attach_is_service_managers: self.attach.is_service_managers(),
            private_folder,
            workers,
        };
        Ok((description, fds))
    }

    fn prepare(
        config: Config,
        inherited: Option<(Description, Vec<OwnedFd>)>,
    ) -> Result<Self, StartError> {
        let geometry = config.geometry()?;
        if let Some(error) = check(&config).into_iter().next() {
            return Err(error.into());
        }
        let attach_policy = AttachPolicy::new(config.attach.rules()?);
        let fd_limit = raise_fd_limit();
        let reactor_count = geometry.lane_count();
        let Chosen { engine, refusal } = choose(config.io)?;
        if let Some(refusal) = refusal {
            tracing::warn!("using {engine}: {refusal}");
        }
        let (mut listeners, attach) = if let Some((description, fds)) = inherited {
            inherit(&description, fds, reactor_count).map_err(StartError::Handover)?
        } else {
            Listeners::open(&config, reactor_count)?
        };
        listeners.check(&config)?;
        let sockets = SocketFacts {
            public_address: listeners.clients.public_address(),
            attach_file: (!attach.is_service_managers()).then(|| attach.path()),
        };
        let attach = Arc::new(attach);

        let (control, messages) = mpsc::unbounded_channel();
        let channels = (0..reactor_count).map(|_| mpsc::unbounded_channel());
        let (inspections, questions): (_, Vec<_>) = channels.unzip();
        let route_labels = group_labels();
        let (access_log, access_logs) = start_access_log(&config, reactor_count, &route_labels)?;
        let shared = Shared::new(
            config,
            geometry,
            control.clone(),
            fd_limit,
            (attach_policy, sockets),
            inspections,
            (access_log, route_labels),
        );
        let shared = Arc::new(shared);
        let reactors = start_reactors(&shared, engine, &mut listeners, questions, access_logs)?;
        let facts = HubFacts {
            attach: attach.path().display().to_string(),
            engine: engine.to_string(),
            urls: listeners.clients.urls().collect(),
            operations_urls: listeners.operations.urls().collect(),
            started_ms: clock::unix_ms(),
        };
        let recent = shared.config.recent_lines.clone();
        let control_task = control::start(Arc::clone(&shared), Arc::new(facts), recent, messages);
        tokio::spawn(vital(Arc::clone(&shared), "the control task", control_task));
        let agents = std::mem::take(&mut listeners.agents.of_reactors);
        let agents =
            control::agent_check::run(Arc::clone(&shared), agents.into_iter().flatten().collect());
        tokio::spawn(agents);
        let attach_open = watch::Sender::new(true);
        let listener = attach.listener().map_err(StartError::Runtime)?;
        let accept = control::attach::accept(
            listener,
            // However many workers come at once, those that may attach are not turned away.
            QueueLimits::of(shared.session_limits),
            control,
            attach_open.subscribe(),
            shared.attach_policy.subscribe(),
        );
        let accepting = tokio::spawn(vital(Arc::clone(&shared), "accepting workers", accept));
        Ok(Self {
            shared,
            engine,
            listeners,
            attach,
            accepting,
            attach_open,
            reactors,
        })
    }

    /// Waits until the hub cannot go on, and says why. It is to be stopped then.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.failed().await }
    }

    /// How it is, in a line.
    pub fn summary(&self) -> String {
        watchdog::summary(&self.shared, None)
    }

    /// Tells the service manager that it lives, if that wants to know; never ends then, and is to be
    /// run beside everything else.
    pub fn watchdog(&self) -> Option<impl Future<Output = ()> + use<>> {
        let time = systemd::watchdog_time()?;
        Some(watchdog::run(Arc::clone(&self.shared), time))
    }

    /// What moves its bytes.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where it listens, as URLs.
    pub fn urls(&self) -> Vec<String> {
        self.listeners.clients.urls().collect()
    }

    /// Where it is operated, as URLs; none if that is where it listens.
    pub fn operations_urls(&self) -> Vec<String> {
        self.listeners.operations.urls().collect()
    }

    /// Where workers attach.
    pub fn attach_path(&self) -> PathBuf {
        self.attach.path()
    }

    /// Its reactor threads.
    pub fn reactor_count(&self) -> u32 {
        self.shared.geometry.lane_count()
    }

    /// Requests that each lane may have in flight, responses without a known length apart.
    pub fn slot_count(&self) -> u32 {
        self.shared.config.slots
    }

    /// What takes a changed configuration, and opens the access log's file anew.
    pub fn refresher(&self) -> impl Fn() + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            let own = Arc::clone(&shared);
            systemd::reloading();
            // What is wrong with it has been logged.
            reload_aside(Arc::clone(&shared), move |_| {
                systemd::ready(&watchdog::summary(&own, None));
            });
            if let Some(log) = &shared.access_log {
                log.reopen();
            }
        }
    }

    /// Makes `/health` say that the hub will stop soon. Returns for how long it is to serve
    /// on, so that balancers notice.
    pub fn say_unready(&self) -> Duration {
        self.shared.unready.store(true, Ordering::Release);
        self.shared.live.borrow().shutdown_delay
    }

    /// How long a stop may take.
    pub fn stop_limit(&self) -> Duration {
        self.shared.live.borrow().drain_time + STOP_GRACE
    }

    /// Stops gracefully: no new connection, every request in flight answered
    /// (for as long as a worker may take), then goodbye to the workers.
    /// False: that has not come to its end in time, and is cut short.
    pub async fn stop(mut self) -> bool {
        self.shared.stopping.store(true, Ordering::Release);
        // Who has not begun to accept ends as well.
        self.open();
        self.listeners.close();
        self.shared.wake_reactors();
        let limit = self.stop_limit();
        let mut has_ended = true;
        for reactor in std::mem::take(&mut self.reactors) {
            // An error is the end too: the thread has dropped its side.
            if tokio::time::timeout(limit, reactor.ended).await.is_err() {
                tracing::error!("a reactor does not stop: the hub ends without it");
                has_ended = false;
            } else if reactor.thread.join().is_err() {
                tracing::error!("a reactor thread panicked");
            }
        }
        self.accepting.abort();
        let (done, stopped) = oneshot::channel();
        self.shared.tell_control(ControlMessage::Stop(done));
        // An error means that the control task is gone, and so are its workers.
        let _ = stopped.await;
        if let Some(log) = &self.shared.access_log {
            log.finish();
        }
        let counts = self.shared.counters.all();
        let counts =
            counts.map(|(name, _, count)| format!("{name}={}", count.load(Ordering::Relaxed)));
        let counts: Vec<_> = counts.collect();
        tracing::info!("faults counted: {}", counts.join(" "));
        has_ended
    }
}

/// Starts a thread for each reactor, with its listeners and its end of the access log.
fn start_reactors(
    shared: &Arc<Shared>,
    engine: Engine,
    listeners: &mut Listeners,
    questions: Vec<mpsc::UnboundedReceiver<Inspection>>,
    access_logs: Vec<AccessLog>,
) -> Result<Vec<ReactorThread>, StartError> {
    let mut access_logs = access_logs.into_iter();
    let mut operations = std::mem::take(&mut listeners.operations.of_reactors).into_iter();
    let clients = listeners.clients.of_reactors.drain(..);
    let reactors = clients.zip(questions).zip(0..);
    reactors
        .map(|((clients, questions), index)| {
            let parts = ReactorParts {
                clients,
                operations: operations.next().unwrap_or_default(),
                access_log: access_logs.next(),
            };
            start_reactor(engine, index, Arc::clone(shared), parts, questions)
        })
        .collect()
}

/// The thread of the access log and the reactors' ends of it, if there is to be one.
fn start_access_log(
    config: &Config,
    reactor_count: u32,
    labels: &RouteLabels,
) -> Result<(Option<Writer>, Vec<AccessLog>), StartError> {
    let Some(options) = config.logs.access_log() else {
        return Ok((None, Vec::new()));
    };
    let started = writer::start(options, reactor_count as usize, Arc::clone(labels));
    let (writer, ends) = started.map_err(StartError::AccessLog)?;
    Ok((Some(writer), ends))
}

/// Raises the soft limit of open files to the hard one, and returns it.
fn raise_fd_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    let limit = if is_raised {
        limit.maximum
    } else {
        limit.current
    };
    limit.unwrap_or(u64::MAX)
}
