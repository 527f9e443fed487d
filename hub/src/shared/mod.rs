//! What all threads of the hub share.
//!
//! [`message`] is what the control thread is told, [`auth`] who must know the secret, [`reload`] takes a changed configuration, [`attach_policy`] whose workers may attach,
//! [`counters`] count failures, [`tap`] lets who operates the hub look at requests, [`admission`] bounds connections and [`fd_budget`] what may
//! use descriptors, [`inspection`] is the question what slots are in, [`vital`] runs tasks
//! without which the hub ends, [`id`] makes random ids, [`seldom_word`] is for what
//! is said once in a while, and [`sabotage`] makes tests fail on purpose.

pub mod admission;
pub mod attach_policy;
pub mod auth;
pub mod counters;
pub mod fd_budget;
pub mod id;
pub mod inspection;
pub mod message;
pub mod reload;
pub mod sabotage;
pub mod seldom_word;
pub mod tap;
pub mod vital;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slotway_shm_proto::geometry::Geometry;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::access_log::writer::Writer;
use crate::config::Config;
use crate::config::live::Live;
use crate::config::settings::Setting;
use crate::events::registry::Registry;
use crate::limits::{CONNECTIONS_FEW, OWN_FILES_DIVISOR};
use crate::metrics::recorder::ReactorMetrics;
use crate::metrics::route::RouteLabels;
use crate::routing::cell::RouteCell;
use crate::shared::admission::Admission;
use crate::shared::attach_policy::AttachPolicy;
use crate::shared::inspection::Inspection;
use crate::shared::message::ControlMessage;

use counters::Counters;
use fd_budget::{FdBudget, SessionLimits};
use seldom_word::SeldomWord;
use tap::Tap;

/// What is to be known of the hub's sockets.
#[derive(Debug, Default)]
pub struct SocketFacts {
    /// See [`Shared::public_address`].
    pub public_address: Option<SocketAddr>,
    /// See [`Shared::attach_file`].
    pub attach_file: Option<PathBuf>,
}

/// What every thread of the hub may look at.
#[derive(Debug)]
pub struct Shared {
    /// Flags.
    pub config: Config,
    /// Layout of every session.
    pub geometry: Geometry,
    /// The current routes.
    pub routes: RouteCell,
    /// One per reactor: told when the table has changed or the hub stops.
    pub reactor_wakes: Vec<Notify>,
    /// One per reactor: told when a request of a route whose number is bounded has ended, and others
    /// wait there.
    pub turn_wakes: Vec<Notify>,
    /// The hub will stop soon: it serves, and says that it is not healthy.
    pub unready: std::sync::atomic::AtomicBool,
    /// A new hub has taken over: it is the one to be asked how things are.
    pub has_successor: std::sync::atomic::AtomicBool,
    /// Set once, before the reactors are woken.
    pub stopping: std::sync::atomic::AtomicBool,
    /// Whether clients are accepted: not before a new hub has the old one's workers.
    pub open: watch::Sender<bool>,
    /// Client connections.
    pub admission: Admission,
    /// Workers.
    pub session_limits: SessionLimits,
    /// Places for files of workers.
    pub files: Arc<Semaphore>,
    /// How many of them one worker may have.
    pub own_file_count: usize,
    /// Faults counted.
    pub counters: Counters,
    /// When it was last said that connections are closed for their PROXY headers.
    pub proxy_refused: SeldomWord,
    /// Who looks at requests.
    pub tap: Tap,
    /// How the routes are called under which requests are counted.
    pub route_labels: RouteLabels,
    /// The access log's thread, if there is one.
    pub access_log: Option<Writer>,
    /// For each reactor, what it counts.
    pub metrics: Vec<Arc<ReactorMetrics>>,
    /// What can change while the hub serves.
    pub live: watch::Sender<Arc<Live>>,
    /// All flags and tables, for people to look at.
    settings: Mutex<Vec<Setting>>,
    /// Held while the configuration is read again.
    reloading: Mutex<()>,
    /// The attach socket's file, if it is the hub's.
    pub attach_file: Option<PathBuf>,
    /// Where clients of other hosts come in, if they do: they must send a secret.
    pub public_address: Option<SocketAddr>,
    /// Whose workers may attach.
    pub attach_policy: watch::Sender<AttachPolicy>,
    /// Where each reactor is asked for the state of its slots.
    pub inspections: Vec<mpsc::UnboundedSender<Inspection>>,
    /// Clients of event streams.
    pub streams: Registry,
    /// Why the hub cannot go on.
    failure: watch::Sender<Option<String>>,
    control: mpsc::UnboundedSender<ControlMessage>,
}

impl Shared {
    /// Before any thread runs.
    pub fn new(
        config: Config,
        geometry: Geometry,
        control: mpsc::UnboundedSender<ControlMessage>,
        fd_limit: u64,
        (attach_policy, sockets): (AttachPolicy, SocketFacts),
        inspections: Vec<mpsc::UnboundedSender<Inspection>>,
        (access_log, route_labels): (Option<Writer>, RouteLabels),
    ) -> Self {
        let reactor_wakes = (0..geometry.lane_count()).map(|_| Notify::new()).collect();
        let budget = FdBudget::new(fd_limit, geometry.lane_count());
        let count_max = config.connections_max.map_or(budget.connections, u64::from);
        if count_max > budget.connections || budget.connections < CONNECTIONS_FEW {
            tracing::warn!(
                "the limit of open files ({fd_limit}) allows {} client connections and {} \
                 workers; raise it (ulimit -n, LimitNOFILE=) if that is too few",
                budget.connections,
                budget.sessions.all
            );
        }
        Self {
            admission: Admission::new(count_max),
            session_limits: budget.sessions,
            files: Arc::new(Semaphore::new(budget.files as usize)),
            own_file_count: (budget.files / OWN_FILES_DIVISOR).max(1) as usize,
            geometry,
            routes: RouteCell::default(),
            reactor_wakes,
            turn_wakes: (0..geometry.lane_count()).map(|_| Notify::new()).collect(),
            unready: false.into(),
            has_successor: false.into(),
            stopping: false.into(),
            open: watch::Sender::new(false),
            counters: Counters::default(),
            proxy_refused: SeldomWord::default(),
            tap: Tap::default(),
            route_labels,
            access_log,
            metrics: (0..geometry.lane_count()).map(|_| Arc::default()).collect(),
            live: watch::Sender::new(Arc::new(Live::of(&config))),
            settings: Mutex::new(config.settings.clone()),
            reloading: Mutex::default(),
            public_address: sockets.public_address,
            attach_file: sockets.attach_file,
            attach_policy: watch::Sender::new(attach_policy),
            inspections,
            streams: Registry::default(),
            failure: watch::Sender::new(None),
            control,
            config,
        }
    }

    /// All flags and tables, for people to look at.
    pub fn settings(&self) -> MutexGuard<'_, Vec<Setting>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the hub stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Sends a message to the control thread; in vain only when the hub stops.
    pub fn tell_control(&self, message: ControlMessage) {
        let _ = self.control.send(message);
    }

    /// The hub cannot go on, and ends. The first reason counts.
    pub fn fail(&self, why: String) {
        tracing::error!("{why}: the hub ends");
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(why);
            is_first
        });
    }

    /// Waits until the hub cannot go on, and says why.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The sender lives as long as this value.
            Err(_) => std::future::pending().await,
        }
    }

    /// Makes every reactor look at the table and at `stopping`.
    pub fn wake_reactors(&self) {
        for wake in &self.reactor_wakes {
            wake.notify_one();
        }
    }
}
