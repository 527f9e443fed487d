//! The worker: routes, state, and the loop that keeps it attached to its hub.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use slotway_shm_proto::doorbell::nudge_futex;
use slotway_shm_proto::message::{Goodbye, Leaving, WORKER_ID_BYTES};
use slotway_shm_proto::packet;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::attach::{self, Attachment, News};
use crate::error::RunError;
use crate::handler::Route;
use crate::handler_response::HandlerResponse;
use crate::limits::{
    RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN, THREAD_COUNT_BOUND, THREAD_COUNT_DEFAULT,
};
use crate::register::{self, RegisterRequest, Reservation, RouteRegistration};
use crate::request::Request;
use crate::request_body::RequestBody;
use crate::response::Response;
use crate::serve::Receiver;
use crate::session::Session;

/// A worker of a hub: answers the routes it registers.
///
/// ```no_run
/// use slotway_worker_sdk::{HubWorker, RunError};
///
/// #[tokio::main]
/// async fn main() -> Result<(), RunError> {
///     HubWorker::new("http://127.0.0.1:3200", "hello", ())
///         .handle("GET", "/hello/{name}", |(), request| {
///             let name = request.param("name").unwrap_or("stranger");
///             request.response(200).text(format_args!("hello {name}\n"))
///         })
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
}

impl<S: Send + Sync + 'static> HubWorker<S> {
    /// A worker that will register as `name` with the hub at `hub_url`. A
    /// worker that is there under the same name is replaced: it finishes what
    /// it has.
    pub fn new(hub_url: &str, name: &str, state: S) -> Self {
        Self {
            hub_url: hub_url.trim_end_matches('/').to_owned(),
            name: name.to_owned(),
            state: Arc::new(state),
            routes: Vec::new(),
            thread_count: THREAD_COUNT_DEFAULT,
            follows_hub: true,
            is_instance: false,
        }
    }

    /// Adds a route whose handler gets owned copies: state, parameters, query
    /// and body. [`HubWorker::handle`] and [`HubWorker::handle_async`] copy
    /// nothing.
    pub fn route<F, Fut>(mut self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, HashMap<String, String>, Option<String>, Vec<u8>) -> Fut
            + Send
            + Sync
            + 'static,
        Fut: Future<Output = HandlerResponse> + Send + 'static,
    {
        self.routes.push(Route::owned(method, path, handler));
        self
    }

    /// Adds a route with a plain function, which runs on the thread that
    /// received the request: no task, no allocation. Requests behind it wait
    /// until it returns, so it should not block for long unless there are
    /// enough [`HubWorker::threads`].
    pub fn handle<F>(mut self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(&S, &Request) -> Response + Send + Sync + 'static,
    {
        self.routes.push(Route::plain(method, path, handler));
        self
    }

    /// Adds a route with an async function. It is polled once on the thread
    /// that received the request and goes to the tokio runtime only if it is
    /// not ready then.
    pub fn handle_async<F, Fut>(mut self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.routes.push(Route::asynchronous(method, path, handler));
        self
    }

    /// Adds a route with an async function that reads the request's body while it
    /// arrives, however long it is. [`Request::body`] is empty there. Read the body,
    /// or as much of it as is wanted, before the answer is begun: what has not been
    /// read then is dropped.
    ///
    /// ```
    /// use slotway_worker_sdk::HubWorker;
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "sums", ()).handle_stream(
    ///     "POST",
    ///     "/sum",
    ///     |_, request, mut body| async move {
    ///         let mut sum = 0_u64;
    ///         while let Ok(Some(piece)) = body.next().await {
    ///             sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    ///         }
    ///         request.response(200).text(sum)
    ///     },
    /// );
    /// ```
    pub fn handle_stream<F, Fut>(mut self, method: &str, path: &str, handler: F) -> Self
    where
        F: Fn(Arc<S>, Request, RequestBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.routes.push(Route::streaming(method, path, handler));
        self
    }

    /// Lets requests of the route that was added last run again on another instance
    /// when this worker dies with them, if their method is safe (GET, HEAD, OPTIONS).
    /// A request that its handler had not begun goes to another instance anyway.
    ///
    /// # Panics
    /// If no route has been added.
    pub fn retry(mut self) -> Self {
        let last = self.routes.last_mut();
        last.expect("retry() is about the route before it")
            .may_repeat = true;
        self
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
    /// goes to the one that has the fewest. Workers of different names may share
    /// routes as well.
    pub fn instance(mut self) -> Self {
        self.is_instance = true;
        self
    }

    /// The shared state.
    pub fn state(&self) -> Arc<S> {
        Arc::clone(&self.state)
    }

    /// Registers, attaches and serves. When the hub goes away the worker
    /// connects again, at once first and then with growing pauses; routes and
    /// state stay.
    ///
    /// Returns only with an error that trying again cannot mend: a refused
    /// registration, or another worker that took over the name. Dropping the
    /// future ends the session, and with it the requests that the worker has;
    /// [`HubWorker::run_until`] finishes them.
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
    ///     .handle("GET", "/hello", |(), request| request.response(200).text("hello"))
    ///     .run_until(async { tokio::signal::ctrl_c().await.expect("a handler of SIGINT") })
    ///     .await
    /// # }
    /// ```
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut stop = pin!(stop);
        register::check_url(&self.hub_url)?;
        let registration = Arc::new(RegisterRequest {
            name: self.name.clone(),
            routes: self
                .routes
                .iter()
                .map(|route| RouteRegistration {
                    method: route.method.clone(),
                    path: route.pattern.path().to_owned(),
                    retry: route.may_repeat,
                })
                .collect(),
            instance: self.is_instance,
        });
        let routes = Arc::new(self.routes);
        let mut pause = Duration::ZERO;
        loop {
            let (hub_url, document) = (self.hub_url.clone(), Arc::clone(&registration));
            let thread_count = self.thread_count;
            let connecting = tokio::task::spawn_blocking(move || {
                let reservation = register::register(&hub_url, &document)?;
                attach::attach(&reservation, thread_count)
            });
            // An attachment that comes too late is dropped, which ends it.
            let connected = tokio::select! {
                connected = connecting => connected.expect("connecting does not panic"),
                () = &mut stop => return Ok(()),
            };
            let error = match connected {
                Ok(attachment) => {
                    tracing::info!(worker = self.name, hub = self.hub_url, "attached");
                    pause = Duration::ZERO;
                    let (news, inbox) = mpsc::unbounded_channel();
                    let serving = Serving {
                        routes: Arc::clone(&routes),
                        state: Arc::clone(&self.state),
                        thread_count,
                        follows_hub: self.follows_hub,
                        news,
                    };
                    serve(attachment, serving, inbox, &mut stop).await
                }
                Err(error) => error,
            };
            if matches!(error, RunError::Ended(Goodbye::Left)) {
                return Ok(());
            }
            if !error.is_transient() {
                return Err(error);
            }
            tracing::warn!(worker = self.name, "{error}; connecting again in {pause:?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => return Ok(()),
            }
            pause = next_pause(pause);
        }
    }
}

/// Doubles up to the bound; jitter keeps many workers of one hub apart.
fn next_pause(pause: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without random bytes there is no jitter, which is all that is lost.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK);
    let jitter = f64::from(random[0]) / 1024.0;
    (pause * 2)
        .clamp(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX)
        .mul_f64(1.0 - jitter)
}

/// What the sessions of one attachment share.
struct Serving<S> {
    routes: Arc<Vec<Route<S>>>,
    state: Arc<S>,
    thread_count: u32,
    follows_hub: bool,
    /// News of sessions, by their ids.
    news: mpsc::UnboundedSender<(u64, News)>,
}

/// Serves a session to its end, or until `stop`, and says why it ended. If a new hub
/// takes over meanwhile, the session with that one goes on.
async fn serve<S: Send + Sync + 'static>(
    attachment: Attachment,
    serving: Serving<S>,
    mut inbox: mpsc::UnboundedReceiver<(u64, News)>,
    stop: &mut Pin<&mut impl Future<Output = ()>>,
) -> RunError {
    let path = attachment.path.clone();
    let mut sessions = match start(attachment, &serving) {
        Ok(connection) => vec![connection],
        Err(error) => return error,
    };
    let mut is_stopping = false;
    // What ends the worker, though another session may still be finishing.
    let mut last_word = None;
    loop {
        tokio::select! {
            Some((id, news)) = inbox.recv() => match news {
                News::Moving(worker_id) => match move_to(&path, worker_id, &serving).await {
                    Ok(connection) => {
                        tracing::info!("attached to the new hub; the older session goes on to its end");
                        if is_stopping {
                            connection.leave();
                        }
                        sessions.push(connection);
                    }
                    Err(error) => tracing::warn!("cannot attach to the new hub: {error}"),
                },
                News::Ended(goodbye) => {
                    sessions.retain(|connection| connection.0.id != id);
                    let end = goodbye.map_or(RunError::Disconnected, RunError::Ended);
                    if !end.is_transient() && last_word.is_none() {
                        last_word = Some(end);
                        // Who has been replaced, or put out, is so everywhere.
                        sessions.iter().for_each(Connection::leave);
                    } else if sessions.is_empty() && last_word.is_none() {
                        // A worker that is to stop does not come back.
                        return if is_stopping {
                            RunError::Ended(Goodbye::Left)
                        } else {
                            end
                        };
                    }
                    if sessions.is_empty()
                        && let Some(end) = last_word.take()
                    {
                        return end;
                    }
                }
            },
            () = &mut *stop, if !is_stopping => {
                is_stopping = true;
                sessions.iter().for_each(Connection::leave);
            }
        }
    }
}

async fn move_to<S: Send + Sync + 'static>(
    path: &Path,
    worker_id: [u8; WORKER_ID_BYTES],
    serving: &Serving<S>,
) -> Result<Connection, RunError> {
    let reservation = Reservation {
        worker_id,
        attach: path.to_owned(),
    };
    let thread_count = serving.thread_count;
    let attaching = tokio::task::spawn_blocking(move || attach::attach(&reservation, thread_count));
    let attachment = attaching.await.expect("attaching does not panic")?;
    start(attachment, serving)
}

/// Starts the threads of a session.
fn start<S: Send + Sync + 'static>(
    attachment: Attachment,
    serving: &Serving<S>,
) -> Result<Connection, RunError> {
    let Attachment {
        geometry,
        regions,
        eventfds,
        socket,
        path: _,
    } = attachment;
    let session = Arc::new(Session::new(geometry, regions, eventfds, socket));
    let connection = Connection(Arc::clone(&session));
    let mut threads = Vec::new();
    for thread_index in 0..serving.thread_count {
        let receiver = Receiver {
            session: Arc::clone(&session),
            routes: Arc::clone(&serving.routes),
            state: Arc::clone(&serving.state),
            thread_index,
            thread_count: serving.thread_count,
            follows_hub: serving.follows_hub,
            runtime: Handle::current(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("slotway-{thread_index}"))
            .spawn(move || receiver.run());
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                end(&session, threads);
                return Err(RunError::Threads(error));
            }
        }
    }
    let (shared, news) = (Arc::clone(&session), serving.news.clone());
    let watcher = std::thread::Builder::new()
        .name("slotway-session".to_owned())
        .spawn(move || watch(&shared, threads, &news));
    if let Err(error) = watcher {
        // Threads that cannot be watched are ended by the flag alone.
        session.ended.store(true, Ordering::Release);
        return Err(RunError::Threads(error));
    }
    Ok(connection)
}

/// Ends the session when it goes, also when `run` is dropped half-way.
struct Connection(Arc<Session>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.disconnect();
    }
}

impl Connection {
    /// Tells the hub that this worker wants to finish what it has and go.
    fn leave(&self) {
        // In vain only if the session has ended, which is told in its own way.
        let _ = packet::send(&self.0.connection, &Leaving.to_packet(), &[]);
    }
}

fn watch(
    session: &Session,
    threads: Vec<JoinHandle<()>>,
    news: &mpsc::UnboundedSender<(u64, News)>,
) {
    loop {
        let heard = attach::wait_for_news(&session.connection);
        if let News::Ended(_) = heard {
            session.ended.store(true, Ordering::Release);
        }
        // Nobody listens when `run` was dropped.
        let _ = news.send((session.id, heard));
        if let News::Ended(_) = heard {
            return end(session, threads);
        }
    }
}

/// Ends the receiving threads: those that sleep are woken, those in a handler
/// end after it.
fn end(session: &Session, threads: Vec<JoinHandle<()>>) {
    session.ended.store(true, Ordering::Release);
    session.wake_all_handlers();
    for (thread_index, thread) in threads.into_iter().enumerate() {
        let line = session.geometry.thread_line(thread_index as u32);
        while !thread.is_finished() {
            // Again and again, for a thread may be just about to sleep.
            nudge_futex(session.regions.requests.u32_at(line));
            std::thread::sleep(Duration::from_millis(1));
        }
        // A handler's panic is caught; another has been printed by its thread.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_no_further() {
        let mut pause = next_pause(Duration::ZERO);
        assert!(pause <= RECONNECT_PAUSE_MIN && pause >= RECONNECT_PAUSE_MIN / 2);
        for _ in 0..20 {
            pause = next_pause(pause);
            assert!(pause <= RECONNECT_PAUSE_MAX);
        }
        assert!(pause > RECONNECT_PAUSE_MAX / 2);
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_an_error_at_once() {
        let result = HubWorker::new("nonsense", "w", ()).run().await;
        assert!(matches!(result, Err(RunError::Url { .. })));
    }

    #[test]
    fn state_is_shared_not_copied() {
        let worker = HubWorker::new("http://h", "w", 7);
        assert!(Arc::ptr_eq(&worker.state(), &worker.state()));
    }
}
