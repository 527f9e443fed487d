//! The worker: routes, state and how it is run.
//!
//! [`HubWorker`] collects options and [`routes`], [`service`] serves a service of tower, [`supervisor`] is the thread that keeps it
//! attached to its hub (what it owes next is [`lifetime`], what it says of itself is [`report`]; it is told by [`message`]s), [`running`] the handle of a worker that serves, and [`emitter`]
//! sends events to the clients of its event streams.

pub(crate) mod emitter;
mod lifetime;
mod message;
mod report;
mod routes;
pub(crate) mod running;
#[cfg(feature = "tower")]
pub(crate) mod service;
mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slotway_shm_proto::api::{RegisterRequest, RouteRegistration};

use crate::error::RunError;
use crate::handler::route::Route;
use crate::handler::runtime::Spawner;
use crate::hub::attach::AttachSocket;
use crate::hub::client::HubClient;

use crate::hub::trusted_users;
use crate::hub::url::HubUrl;
use crate::limits::{
    COLLECTED_BYTES_MAX_DEFAULT, CONNECT_TIME_DEFAULT, EMITTER_CONNECTION_COUNT, HUB_URL_DEFAULT,
    THREAD_COUNT_BOUND, THREAD_COUNT_DEFAULT,
};
use crate::serve::serving::Serving;
use crate::session::live::LiveSessions;
use crate::session::meter::Meter;
#[cfg(feature = "tracing")]
use crate::tower::span::SpanMaker;
use emitter::HubEmitter;
use running::{MetricsReader, RunningWorker};
use supervisor::Supervisor;

/// A worker of a hub: answers the routes it registers.
///
/// ```no_run
/// use slotway_worker_sdk::extract::Path;
/// use slotway_worker_sdk::{HubWorker, RunError};
///
/// #[tokio::main]
/// async fn main() -> Result<(), RunError> {
///     HubWorker::new("http://127.0.0.1:3200", "hello", ())
///         .get("/hello/{name}", |Path(name): Path<String>| format!("hello {name}\n"))
///         .run()
///         .await
/// }
/// ```
pub struct HubWorker<S: Send + Sync + 'static> {
    hub_url: String,
    name: String,
    state: Arc<S>,
    routes: Vec<Route<S>>,
    thread_count: u32,
    follows_hub: bool,
    is_instance: bool,
    shares_routes: bool,
    hosts: Vec<String>,
    spin: Duration,
    connect_timeout: Duration,
    collected_bytes_max: usize,
    hub_socket: Option<PathBuf>,
    trusted_users: Vec<u32>,
    version: Option<String>,
    sessions: LiveSessions,
    meter: Arc<Meter>,
    #[cfg(feature = "tracing")]
    spans: SpanMaker,
}

impl<S: Send + Sync + 'static> HubWorker<S> {
    /// A worker that will register as `name` with the hub at `hub_url`:
    /// `http://host:port`, or `unix:/path` for a hub that listens on a Unix socket. A
    /// worker that is there under the same name is replaced: it finishes what
    /// it has.
    pub fn new(hub_url: &str, name: &str, state: S) -> Self {
        Self {
            hub_url: hub_url.to_owned(),
            name: name.to_owned(),
            state: Arc::new(state),
            routes: Vec::new(),
            thread_count: THREAD_COUNT_DEFAULT,
            follows_hub: true,
            is_instance: false,
            shares_routes: false,
            hosts: Vec::new(),
            spin: Duration::ZERO,
            connect_timeout: CONNECT_TIME_DEFAULT,
            collected_bytes_max: COLLECTED_BYTES_MAX_DEFAULT,
            hub_socket: None,
            trusted_users: Vec::new(),
            version: None,
            sessions: LiveSessions::default(),
            meter: Arc::default(),
            #[cfg(feature = "tracing")]
            spans: SpanMaker::default(),
        }
    }

    /// Like [`HubWorker::new`], with the hub that the environment's `HUB_URL` names, or
    /// the one at `http://127.0.0.1:3200`.
    pub fn from_env(name: &str, state: S) -> Self {
        let url = std::env::var("HUB_URL").ok();
        Self::new(url.as_deref().unwrap_or(HUB_URL_DEFAULT), name, state)
    }

    /// How many threads receive requests, 1 to 64; 1 unless this says
    /// otherwise.
    pub fn threads(mut self, count: u32) -> Self {
        self.thread_count = count.clamp(1, THREAD_COUNT_BOUND);
        self
    }

    /// Whether receiving threads keep to the core of the hub's reactor while
    /// they run plain handlers that are quick (some 20 µs); they do unless this
    /// says otherwise. Waking a thread on the same core costs a few
    /// microseconds, on another one several times that.
    ///
    /// A thread that such a handler starts inherits that core. Say `false` if a
    /// plain handler starts threads that do work.
    pub fn follow_hub(mut self, follow: bool) -> Self {
        self.follows_hub = follow;
        self
    }

    /// Joins the workers of the same name rather than replace them: each request
    /// goes to the one that has the fewest. Replicas of one service are instances.
    pub fn instance(mut self) -> Self {
        self.is_instance = true;
        self
    }

    /// What reads the worker's numbers while it runs, for workers that are awaited
    /// ([`HubWorker::run`], `serve`); [`RunningWorker::metrics`] is for those that are started.
    ///
    /// ```no_run
    /// # use slotway_worker_sdk::{HubWorker, RunError};
    /// # async fn example(worker: HubWorker<()>) -> Result<(), RunError> {
    /// let metrics = worker.metrics();
    /// std::thread::spawn(move || loop {
    ///     std::thread::sleep(std::time::Duration::from_secs(10));
    ///     let now = metrics.read();
    ///     println!("{} requests, {} in flight", now.requests, now.in_flight);
    /// });
    /// worker.run().await
    /// # }
    /// ```
    pub fn metrics(&self) -> MetricsReader {
        MetricsReader {
            meter: Arc::clone(&self.meter),
            sessions: self.sessions.clone(),
        }
    }

    /// The version of this program, which the hub shows to who operates it: at most 64 bytes
    /// of visible ASCII, usually `env!("CARGO_PKG_VERSION")`.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Workers of other names that say the same may serve the same routes, as instances of
    /// one name do. Without it the hub refuses a route that another worker has.
    pub fn share_routes(mut self) -> Self {
        self.shares_routes = true;
        self
    }

    /// Serves requests for this host alone, by its name without a port; may be called again
    /// for further names. One hub so serves several sites:
    ///
    /// ```
    /// use slotway_worker_sdk::HubWorker;
    ///
    /// let shop = HubWorker::from_env("shop", ()).host("shop.example").get("/", || "the shop");
    /// let blog = HubWorker::from_env("blog", ()).host("blog.example").get("/", || "the blog");
    /// ```
    ///
    /// A worker without a host serves what is left: the hosts without a worker of their own,
    /// and of the others the paths that those have no route for.
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_owned());
        self
    }

    /// How long a receiving thread looks for the next request before it sleeps; it
    /// sleeps at once unless this says otherwise. A thread that looks answers some tens
    /// of microseconds earlier and keeps a core busy: only for machines with cores to
    /// spare.
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// How long registering may take, and attaching after it, before the worker tries
    /// again; 5 s unless this says otherwise.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How much memory the bodies of requests may take, in bytes, that are collected for
    /// their handlers since they do not fit their slots; 256 MiB unless this says
    /// otherwise. A request beyond that is answered with 503. Bodies that handlers read
    /// themselves ([`RequestBody`](crate::RequestBody)) take none of it.
    pub fn collected_bytes_max(mut self, bytes: usize) -> Self {
        self.collected_bytes_max = bytes;
        self
    }

    /// Where the hub's attach socket is (its start line says so). The worker registers
    /// there, where the system says who is at the other end. Unless this says otherwise it
    /// is what the environment's `HUB_SOCKET` names, else the hub's default for the port of
    /// its URL; where there is none the worker registers over HTTP.
    pub fn hub_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.hub_socket = Some(path.into());
        self
    }

    /// The hub runs as this user (a number), or as one whom the environment's `HUB_USER` names (a
    /// name or number). Without this, a hub that is neither the
    /// worker's own user's nor root's is not trusted with its routes: anybody could be
    /// listening in the place of one that is gone.
    pub fn trust_hub_user(mut self, uid: u32) -> Self {
        self.trusted_users.push(uid);
        self
    }

    /// Pushes events to clients that listen. To be taken after
    /// [`HubWorker::connect_timeout`], which bounds its requests as well, and
    /// [`HubWorker::host`], whose clients it reaches.
    pub fn emitter(&self) -> HubEmitter {
        // A wrong URL is told when the worker runs.
        let url = HubUrl::parse(&self.hub_url).ok();
        let client = |url| HubClient::new(url, self.connect_timeout, EMITTER_CONNECTION_COUNT);
        let hub = url.map(client);
        HubEmitter::new(hub, &self.name, &self.hosts, self.sessions.clone())
    }

    /// The shared state.
    pub fn state(&self) -> Arc<S> {
        Arc::clone(&self.state)
    }

    /// Starts the worker on threads of its own, and returns at once: it registers,
    /// attaches and serves. When the hub goes away the worker connects again, at once
    /// first and then with growing pauses; routes and state stay.
    ///
    /// Async handlers run in the tokio runtime that is current here.
    pub fn start(self) -> Result<RunningWorker, RunError> {
        self.spawn(|outcome| outcome)
    }

    /// Like [`HubWorker::start`], and waits for the end: an error that trying again
    /// cannot mend, like a refused registration, or `Ok` once a newer worker of the same name
    /// has taken over. Blocks.
    pub fn run_blocking(self) -> Result<(), RunError> {
        self.start()?.wait()
    }

    /// `ended` is called with the outcome before the thread ends.
    fn spawn(
        self,
        ended: impl FnOnce(Result<(), RunError>) -> Result<(), RunError> + Send + 'static,
    ) -> Result<RunningWorker, RunError> {
        let url = HubUrl::parse(&self.hub_url)?;
        let told = self.hub_socket.or_else(|| {
            std::env::var_os("HUB_SOCKET")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let mut trusted = self.trusted_users;
        trusted.extend(trusted_users::parse(
            &std::env::var("HUB_USER").unwrap_or_default(),
        )?);
        let attach = AttachSocket {
            told,
            usual: url.usual_attach_sockets(),
            trusted,
        };
        let hub = HubClient::new(url, self.connect_timeout, 0);
        let spawner = Spawner::current();
        #[cfg(feature = "tokio")]
        if !spawner.is_there() && self.routes.iter().any(Route::is_async) {
            return Err(RunError::NoRuntime);
        }
        let registration = RegisterRequest {
            name: self.name.clone(),
            routes: registrations(&self.routes, &self.hosts),
            instance: self.is_instance,
            shares_routes: self.shares_routes,
            started_ms: unix_ms(),
            version: self.version,
            upgrades: true,
            returns: false,
        };
        let serving = Serving {
            name: self.name,
            hub,
            attach,
            registration: Arc::new(registration),
            routes: Arc::new(self.routes),
            state: self.state,
            thread_count: self.thread_count,
            follows_hub: self.follows_hub,
            spin: self.spin,
            connect_timeout: self.connect_timeout,
            collected_bytes_max: self.collected_bytes_max,
            spawner,
            sessions: self.sessions,
            meter: self.meter,
        };
        let metrics = MetricsReader::new(&serving);
        let (supervisor, sender) = Supervisor::new(serving);
        let thread = std::thread::Builder::new().name("slotway-supervisor".to_owned());
        let thread = thread.spawn(move || ended(supervisor.run()));
        let thread = thread.map_err(RunError::Threads)?;
        Ok(RunningWorker::new(sender, thread, metrics))
    }
}

/// All routes, for each host in turn: an index there is one of the routes, modulo their
/// number.
fn registrations<S: Send + Sync + 'static>(
    routes: &[Route<S>],
    hosts: &[String],
) -> Vec<RouteRegistration> {
    if hosts.is_empty() {
        return routes.iter().map(Route::registration).collect();
    }
    let for_host = |host: &String| {
        let host = host.clone();
        routes.iter().map(move |route| RouteRegistration {
            host: Some(host.clone()),
            ..route.registration()
        })
    };
    hosts.iter().flat_map(for_host).collect()
}

/// `None` where the clock stands before 1970.
fn unix_ms() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(now.as_millis()).ok()
}

#[cfg(feature = "tokio")]
impl<S: Send + Sync + 'static> HubWorker<S> {
    /// Like [`HubWorker::run_blocking`], without blocking.
    ///
    /// Dropping the future ends the session, and with it the requests that the worker
    /// has; [`HubWorker::run_until`] finishes them.
    pub async fn run(self) -> Result<(), RunError> {
        self.run_until(std::future::pending()).await
    }

    /// Like [`HubWorker::run`], until `stop` is done. Then the hub sends no further
    /// request, those that the worker has are finished (for as long as the hub lets a
    /// worker take), and this returns.
    ///
    /// ```no_run
    /// # use slotway_worker_sdk::{HubWorker, RunError};
    /// # async fn example() -> Result<(), RunError> {
    /// HubWorker::new("http://127.0.0.1:3200", "hello", ())
    ///     .get("/hello", || "hello")
    ///     .run_until(async { tokio::signal::ctrl_c().await.expect("a handler of SIGINT") })
    ///     .await
    /// # }
    /// ```
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let (done, mut outcome) = tokio::sync::oneshot::channel();
        // Ends the worker if this future is dropped.
        let running = self.spawn(move |result| {
            // Nobody listens in that case.
            let _ = done.send(result);
            Ok(())
        })?;
        let ended = |result: Result<_, _>| result.expect("the supervisor does not panic");
        tokio::select! {
            result = &mut outcome => return ended(result),
            () = stop => running.stop(),
        }
        ended(outcome.await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_an_error_at_once() {
        let result = HubWorker::new("nonsense", "w", ()).run_blocking();
        assert!(matches!(result, Err(RunError::Url { .. })));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn async_handlers_without_a_runtime_are_an_error_at_once() {
        let worker = HubWorker::new("http://127.0.0.1:9", "w", ());
        let worker = worker.get("/", async || ());
        assert!(matches!(worker.start(), Err(RunError::NoRuntime)));
    }

    #[test]
    fn a_worker_without_a_hub_can_be_stopped() {
        // Port 9 is discard; nobody listens there.
        let worker = HubWorker::new("http://127.0.0.1:9", "w", ())
            .start()
            .unwrap();
        worker.stop();
        assert!(worker.wait().is_ok());
    }

    #[test]
    fn state_is_shared_not_copied() {
        let worker = HubWorker::new("http://h", "w", 7);
        assert!(Arc::ptr_eq(&worker.state(), &worker.state()));
    }
}
