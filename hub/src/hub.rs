//! Starting and stopping: the control thread and the reactors.
//!
//! The thread that calls [`Hub::start`] becomes the control thread: it runs
//! the tokio runtime that must be current there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::SocketType;
use slotway_net::{Chosen, Engine, Listener, Refusal, RunError, choose, run};
use tokio::sync::{mpsc, oneshot};

use crate::bind::{BindError, OwnerLock, listen};
use crate::config::{Config, ConfigError, ListenAddress};
use crate::control::attach::AttachSocket;
use crate::control::{self, ControlMessage};
use crate::listener;
use crate::ping;
use crate::reactor::Reactor;
use crate::shared::Shared;
use crate::unix_socket::{UnixSocket, UnixSocketError};

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
    /// Threads or the control runtime.
    #[error("cannot start the control runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// A running hub.
pub struct Hub {
    shared: Arc<Shared>,
    engine: Engine,
    listeners: Listeners,
    attach_path: PathBuf,
    reactors: Vec<JoinHandle<()>>,
}

impl Hub {
    /// Binds everything, starts every thread, and returns once all serve. Must
    /// be called in a tokio runtime, which serves the control tasks.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let geometry = config.geometry()?;
        let fd_limit = raise_fd_limit();
        let reactor_count = geometry.lane_count();
        let Chosen { engine, refusal } = choose(config.io)?;
        if let Some(refusal) = refusal {
            tracing::warn!("using epoll, since {refusal}");
        }
        let mut listeners = Listeners::bind(&config.listen_addresses(), reactor_count)?;
        let port = listeners.tcp.first().map_or(0, SocketAddr::port);
        let attach = Arc::new(AttachSocket::bind(config.socket.as_deref(), port)?);
        let attach_path = attach.path();
        let attach_listener = attach.listener().map_err(StartError::Runtime)?;

        let (control, messages) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(config, geometry, control.clone(), fd_limit));
        let mut reactors = Vec::new();
        for (index, sockets) in listeners.of_reactors.drain(..).enumerate() {
            let shared = Arc::clone(&shared);
            reactors.push(start_reactor(engine, index as u32, shared, sockets)?);
        }
        let path_text = attach_path.display().to_string();
        tokio::spawn(control::run(Arc::clone(&shared), path_text, messages));
        tokio::spawn(async move {
            if let Err(error) = control::attach::accept(attach, attach_listener, control).await {
                tracing::error!(%error, "workers cannot attach any more");
            }
        });
        Ok(Self {
            shared,
            engine,
            listeners,
            attach_path,
            reactors,
        })
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
            .map(|address| format!("http://{address}"));
        let unix = self.listeners.unix.iter();
        tcp.chain(unix.map(|socket| format!("unix:{}", socket.path().display())))
            .collect()
    }

    /// Where workers attach.
    pub fn attach_path(&self) -> &Path {
        &self.attach_path
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
    pub async fn stop(self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake_reactors();
        for reactor in self.reactors {
            // Joining blocks, and workers must be heard meanwhile.
            let joined = tokio::task::spawn_blocking(move || reactor.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("a reactor thread panicked");
            }
        }
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
            violations = counters.violations.load(Ordering::Relaxed),
            lost_wakes = counters.lost_wakes.load(Ordering::Relaxed),
            "faults counted"
        );
    }
}

/// Everything that the hub listens on; files and locks go with it.
struct Listeners {
    tcp: Vec<SocketAddr>,
    unix: Vec<UnixSocket>,
    /// For each reactor, a socket of each.
    of_reactors: Vec<Vec<OwnedFd>>,
    locks: Vec<OwnerLock>,
}

impl Listeners {
    fn bind(addresses: &[ListenAddress], reactor_count: u32) -> Result<Self, StartError> {
        let mut this = Self {
            tcp: Vec::new(),
            unix: Vec::new(),
            of_reactors: (0..reactor_count).map(|_| Vec::new()).collect(),
            locks: Vec::new(),
        };
        for address in addresses {
            match address {
                ListenAddress::Tcp(address) => {
                    let (address, sockets, lock) = listen(*address, reactor_count)?;
                    this.tcp.push(address);
                    this.locks.push(lock);
                    for (own, socket) in this.of_reactors.iter_mut().zip(sockets) {
                        own.push(socket.into());
                    }
                }
                ListenAddress::Unix(path) => {
                    let socket = UnixSocket::bind(path, SocketType::STREAM, None)?;
                    for own in &mut this.of_reactors {
                        own.push(socket.try_clone().map_err(StartError::Runtime)?);
                    }
                    this.unix.push(socket);
                }
            }
        }
        Ok(this)
    }
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
) -> Result<JoinHandle<()>, StartError> {
    let (started, has_started) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("reactor-{index}"))
        .spawn(move || {
            let report = started.clone();
            let result = run(engine, async move {
                let listeners: io::Result<Vec<_>> = sockets
                    .into_iter()
                    .map(|socket| Ok(Rc::new(Listener::new(engine, socket)?)))
                    .collect();
                match listeners {
                    Ok(listeners) => {
                        let _ = started.send(Ok(()));
                        serve(Reactor::new(index, shared), listeners).await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(StartError::Runtime(error)));
                    }
                }
            });
            if let Err(error) = result {
                let _ = report.send(Err(StartError::Engine(error)));
            }
        })
        .map_err(StartError::Runtime)?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Runtime(io::Error::other(
            "a reactor thread ended at once",
        ))),
    }
}

async fn serve(reactor: Rc<Reactor>, listeners: Vec<Rc<Listener>>) {
    let mut tasks = vec![
        tokio::task::spawn_local(Rc::clone(&reactor).ring_marked_lanes()),
        tokio::task::spawn_local(Rc::clone(&reactor).sweep()),
        tokio::task::spawn_local(Rc::clone(&reactor).watch()),
        tokio::task::spawn_local(Rc::clone(&reactor).look_out()),
    ];
    if reactor.shared.config.ping > 0 {
        let interval = Duration::from_secs(reactor.shared.config.ping);
        let task = ping::run(Rc::clone(&reactor), interval);
        tasks.push(tokio::task::spawn_local(task));
    }
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener| {
            tokio::task::spawn_local(listener::run(Rc::clone(&reactor), Rc::clone(listener)))
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
    reactor.begin_stop();
    for listener in &listeners {
        listener.close();
    }
    for task in accepting {
        // A panic there has been printed.
        let _ = task.await;
    }
    // From here on new connections are refused, not left to wait.
    drop(listeners);
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
