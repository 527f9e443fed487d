//! Starting and stopping: the control thread and the reactors.
//!
//! The thread that calls [`Hub::start`] becomes the control thread: it runs
//! the tokio runtime that must be current there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::SocketType;
use rustix::process::Pid;
use slotway_net::{Chosen, Engine, Listener, Refusal, RunError, choose, run};
use tokio::sync::{mpsc, oneshot, watch};

use crate::access::Access;
use crate::bind::{BindError, listen};
use crate::config::{Config, ConfigError, ListenAddress};
use crate::control::attach::AttachSocket;
use crate::control::{self, ControlMessage};
use crate::handover::{Description, ExpectedWorker};
use crate::inspection::{self, Inspection};
use crate::lifecycle::blocking;
use crate::limits::{MOVE_TIME, STOP_GRACE};
use crate::listener;
use crate::ping;
use crate::reactor::Reactor;
use crate::shared::Shared;
use crate::shared::vital::vital;
use crate::unix_socket::{UnixSocket, UnixSocketError};
use crate::upgrade::{Predecessor, Program, Successor};

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Flags that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A Unix socket: of HTTP, or for workers.
    #[error(transparent)]
    UnixSocket(#[from] UnixSocketError),
    /// The I/O engine that was asked for by name.
    #[error("--io uring: {0}; --io epoll does without")]
    Refused(#[from] Refusal),
    /// The I/O engine of a reactor.
    #[error(transparent)]
    Engine(#[from] RunError),
    /// What another hub hands over.
    #[error("cannot take over from the other hub: {0}")]
    Handover(#[source] io::Error),
    /// Threads or the control runtime.
    #[error("cannot start the control runtime: {0}")]
    Runtime(#[source] io::Error),
}

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

/// A reactor, and what is done once its thread has come to its end.
struct ReactorThread {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
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
        let (description, fds) = from.take().map_err(StartError::Handover)?;
        let workers = description.workers.clone();
        let count = workers.len();
        let hub = Self::prepare(config, Some((description, fds)))?;
        let (reply, expecting) = oneshot::channel();
        hub.shared
            .tell_control(ControlMessage::Expect(workers, reply));
        let stopped = |error| StartError::Handover(io::Error::other(error));
        let are_all_here = expecting.await.map_err(stopped)?;
        let from = blocking::run("handover", move || from.prepared().map(|()| from)).await;
        let from = from.flatten().map_err(StartError::Handover)?;
        if tokio::time::timeout(MOVE_TIME, are_all_here).await.is_err() {
            tracing::warn!(
                expected = count,
                "upgrade: some workers did not come in time; they must register again"
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
        for unix in &self.listeners.unix {
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
        }
        result
    }

    async fn hand_over(&self, program: &Program, workers: Vec<ExpectedWorker>) -> io::Result<Pid> {
        let (description, fds) = self.describe(workers)?;
        let successor = Successor::start(program)?;
        let workers = description.workers.clone();
        let prepare = move || successor.prepare(&description, &fds).map(|()| successor);
        let successor = blocking::run("upgrade", prepare).await??;
        let (done, told) = oneshot::channel();
        self.shared
            .tell_control(ControlMessage::TellMoving(workers, done));
        told.await.map_err(io::Error::other)?;
        blocking::run("upgrade", move || successor.await_ready()).await?
    }

    fn describe(&self, workers: Vec<ExpectedWorker>) -> io::Result<(Description, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        for tcp in &self.listeners.tcp {
            for socket in &tcp.sockets {
                fds.push(socket.try_clone()?);
            }
        }
        for unix in &self.listeners.unix {
            fds.extend(unix.try_clone_all()?);
        }
        let (attach, private_folder) = self.attach.try_clone_all()?;
        fds.extend(attach);
        let tcp = self.listeners.tcp.iter();
        let description = Description {
            tcp: tcp.map(|tcp| (tcp.address, tcp.sockets.len())).collect(),
            unix: self.listeners.unix.iter().map(UnixSocket::path).collect(),
            attach: self.attach.path(),
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
        let access = Access::new(&config)?;
        let fd_limit = raise_fd_limit();
        let reactor_count = geometry.lane_count();
        let Chosen { engine, refusal } = choose(config.io)?;
        if let Some(refusal) = refusal {
            tracing::warn!("using epoll, since {refusal}");
        }
        let (mut listeners, attach) = if let Some((description, fds)) = inherited {
            inherit(&description, fds, reactor_count).map_err(StartError::Handover)?
        } else {
            let listeners = Listeners::bind(&config.listen_addresses(), reactor_count)?;
            let port = listeners.tcp.first().map_or(0, |tcp| tcp.address.port());
            let attach = AttachSocket::bind(config.socket.as_deref(), port)?;
            (listeners, attach)
        };
        let attach = Arc::new(attach);

        let (control, messages) = mpsc::unbounded_channel();
        let channels = (0..reactor_count).map(|_| mpsc::unbounded_channel());
        let (inspections, questions): (_, Vec<_>) = channels.unzip();
        let shared = Shared::new(
            config,
            geometry,
            control.clone(),
            fd_limit,
            access,
            inspections,
        );
        let shared = Arc::new(shared);
        let mut reactors = Vec::new();
        let sockets = listeners.of_reactors.drain(..);
        for (index, (sockets, questions)) in sockets.zip(questions).enumerate() {
            let shared = Arc::clone(&shared);
            let index = index as u32;
            reactors.push(start_reactor(engine, index, shared, sockets, questions)?);
        }
        let path_text = attach.path().display().to_string();
        let control_task = control::run(Arc::clone(&shared), path_text, messages);
        tokio::spawn(vital(Arc::clone(&shared), "the control task", control_task));
        let attach_open = watch::Sender::new(true);
        let listener = attach.listener().map_err(StartError::Runtime)?;
        let accept = control::attach::accept(listener, control, attach_open.subscribe());
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

    /// What moves its bytes.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where it listens, as URLs.
    pub fn urls(&self) -> Vec<String> {
        let tcp = self
            .listeners
            .tcp
            .iter()
            .map(|tcp| format!("http://{}", tcp.address));
        let unix = self.listeners.unix.iter();
        tcp.chain(unix.map(|socket| format!("unix:{}", socket.path().display())))
            .collect()
    }

    /// Where workers attach.
    pub fn attach_path(&self) -> PathBuf {
        self.attach.path()
    }

    /// Its reactor threads.
    pub fn reactor_count(&self) -> u32 {
        self.shared.geometry.lane_count()
    }

    /// Slots of each lane.
    pub fn slot_count(&self) -> u32 {
        self.shared.geometry.slot_count()
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
        let limit = Duration::from_secs(self.shared.config.drain_timeout) + STOP_GRACE;
        let mut has_ended = true;
        for reactor in std::mem::take(&mut self.reactors) {
            // An error is the end too: the thread has dropped its side.
            if tokio::time::timeout(limit, reactor.ended).await.is_err() {
                tracing::error!("a reactor does not end: the hub ends without it");
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
        let counters = &self.shared.counters;
        tracing::info!(
            queued = counters.queued.load(Ordering::Relaxed),
            queue_full = counters.queue_full.load(Ordering::Relaxed),
            queue_timed_out = counters.queue_timed_out.load(Ordering::Relaxed),
            client_left = counters.client_left.load(Ordering::Relaxed),
            handed_on = counters.handed_on.load(Ordering::Relaxed),
            timed_out = counters.timed_out.load(Ordering::Relaxed),
            worker_gone = counters.worker_gone.load(Ordering::Relaxed),
            bad_answer = counters.bad_answer.load(Ordering::Relaxed),
            slow_clients = counters.slow_clients.load(Ordering::Relaxed),
            streams_refused = counters.streams_refused.load(Ordering::Relaxed),
            events_lost = counters.events_lost.load(Ordering::Relaxed),
            violations = counters.violations.load(Ordering::Relaxed),
            lost_wakes = counters.lost_wakes.load(Ordering::Relaxed),
            "faults counted"
        );
        has_ended
    }
}

/// Everything that the hub listens on; files and locks go with it.
struct Listeners {
    tcp: Vec<TcpSockets>,
    unix: Vec<UnixSocket>,
    /// For each reactor, a socket of each.
    of_reactors: Vec<Vec<OwnedFd>>,
}

/// An address, with duplicates of its sockets for a hub that takes over.
struct TcpSockets {
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

impl Listeners {
    fn bind(addresses: &[ListenAddress], reactor_count: u32) -> Result<Self, StartError> {
        let mut this = Self {
            tcp: Vec::new(),
            unix: Vec::new(),
            of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
        };
        for address in addresses {
            match address {
                ListenAddress::Tcp(address) => {
                    let (address, sockets) = listen(*address, reactor_count)?;
                    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
                    this.add_tcp(address, sockets)
                        .map_err(StartError::Runtime)?;
                }
                ListenAddress::Unix(path) => {
                    let socket = UnixSocket::bind(path, SocketType::STREAM, None)?;
                    this.add_unix(socket).map_err(StartError::Runtime)?;
                }
            }
        }
        Ok(this)
    }

    /// Every reactor gets a socket, and every socket a reactor.
    fn add_tcp(&mut self, address: SocketAddr, sockets: Vec<OwnedFd>) -> io::Result<()> {
        let reactor_count = self.of_reactors.len();
        for index in 0..reactor_count.max(sockets.len()) {
            let socket = sockets[index % sockets.len()].try_clone()?;
            self.of_reactors[index % reactor_count].push(socket);
        }
        self.tcp.push(TcpSockets { address, sockets });
        Ok(())
    }

    fn add_unix(&mut self, socket: UnixSocket) -> io::Result<()> {
        for own in &mut self.of_reactors {
            own.push(socket.try_clone()?);
        }
        self.unix.push(socket);
        Ok(())
    }

    /// Closes what only this value holds: the reactors close their own.
    fn close(&mut self) {
        for tcp in &mut self.tcp {
            tcp.sockets.clear();
        }
    }
}

/// Makes of descriptors what the description says they are.
fn inherit(
    description: &Description,
    fds: Vec<OwnedFd>,
    reactor_count: u32,
) -> io::Result<(Listeners, AttachSocket)> {
    let mut fds = fds.into_iter();
    let mut next = || {
        let missing = || io::Error::other("a handover with too few descriptors");
        fds.next().ok_or_else(missing)
    };
    let mut listeners = Listeners {
        tcp: Vec::new(),
        unix: Vec::new(),
        of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
    };
    for (address, count) in &description.tcp {
        let sockets = (0..*count)
            .map(|_| next())
            .collect::<io::Result<Vec<_>>>()?;
        listeners.add_tcp(*address, sockets)?;
    }
    for path in &description.unix {
        let socket = UnixSocket::inherit(path.clone(), next()?, next()?);
        listeners.add_unix(socket)?;
    }
    let socket = UnixSocket::inherit(description.attach.clone(), next()?, next()?);
    let attach = AttachSocket::inherit(socket, description.private_folder.clone());
    Ok((listeners, attach))
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

/// Starts a reactor and waits until its engine runs.
fn start_reactor(
    engine: Engine,
    index: u32,
    shared: Arc<Shared>,
    sockets: Vec<OwnedFd>,
    questions: mpsc::UnboundedReceiver<Inspection>,
) -> Result<ReactorThread, StartError> {
    let (end, ended) = oneshot::channel();
    let (started, has_started) = std::sync::mpsc::channel();
    let whole = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name(format!("reactor-{index}"))
        .spawn(move || {
            // Told by being dropped, whatever way the thread ends.
            let _end: oneshot::Sender<()> = end;
            let report = started.clone();
            let result = run(engine, async move {
                let listeners: io::Result<Vec<_>> = sockets
                    .into_iter()
                    .map(|socket| Ok(Rc::new(Listener::new(engine, socket)?)))
                    .collect();
                let reactor = Reactor::new(index, shared);
                match listeners.and_then(|listeners| Ok((listeners, reactor?))) {
                    Ok((listeners, reactor)) => {
                        let _ = started.send(Ok(()));
                        serve(reactor, listeners, questions).await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(StartError::Runtime(error)));
                    }
                }
            });
            if let Err(error) = result {
                let why = format!("reactor {index}: {error}");
                if report.send(Err(StartError::Engine(error))).is_err() {
                    // It had started.
                    whole.fail(why);
                }
            }
        })
        .map_err(StartError::Runtime)?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(ReactorThread { thread, ended }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Runtime(io::Error::other(
            "a reactor thread ended at once",
        ))),
    }
}

/// A task of a reactor that the hub cannot be without.
fn spawn(
    shared: Arc<Shared>,
    what: &'static str,
    task: impl Future<Output = ()> + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(vital(shared, what, task))
}

async fn serve(
    reactor: Rc<Reactor>,
    listeners: Vec<Rc<Listener>>,
    questions: mpsc::UnboundedReceiver<Inspection>,
) {
    let shared = || Arc::clone(&reactor.shared);
    let mut tasks = vec![
        spawn(
            shared(),
            "ringing workers",
            Rc::clone(&reactor).ring_marked_lanes(),
        ),
        spawn(
            shared(),
            "looking after deadlines",
            Rc::clone(&reactor).sweep(),
        ),
        spawn(
            shared(),
            "watching connections",
            Rc::clone(&reactor).watch(),
        ),
        spawn(
            shared(),
            "noticing clients that leave",
            Rc::clone(&reactor).look_out(),
        ),
        spawn(
            shared(),
            "telling of slots",
            inspection::serve(Rc::clone(&reactor), questions),
        ),
    ];
    if reactor.shared.config.ping > 0 {
        let interval = Duration::from_secs(reactor.shared.config.ping);
        let task = ping::run(Rc::clone(&reactor), interval);
        tasks.push(spawn(shared(), "pinging workers", task));
    }
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let accept = listener::run(Rc::clone(&reactor), Rc::clone(listener));
            spawn(shared(), "accepting clients", accept)
        })
        .collect();
    let wake = &reactor.shared.reactor_wakes[reactor.index as usize];
    loop {
        wake.notified().await;
        reactor.reconcile();
        if reactor.shared.stopping.load(Ordering::Acquire) {
            break;
        }
    }
    let limit = Duration::from_secs(reactor.shared.config.drain_timeout);
    for listener in &listeners {
        listener.close();
    }
    reactor.shared.admission.wake();
    for task in accepting {
        // A panic there has been printed.
        let _ = task.await;
    }
    // From here on new connections are refused, not left to wait. Only now are clients
    // told to go: those that come back at once must find the door closed, not be
    // caught in it.
    drop(listeners);
    reactor.begin_stop();
    let finished = reactor.finish_stop(limit);
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => break,
            // Workers may go meanwhile, and then nobody must wait for them.
            () = wake.notified() => reactor.reconcile(),
        }
    }
    for task in tasks {
        task.abort();
    }
    reactor.close_all_lanes().await;
}
