//! Probes, metrics and the status page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::feed;
use super::sessions::Sessions;
use crate::clock;
use crate::config::settings::Setting;
use crate::http::local_reply::LocalReply;
use crate::limits::{OBSERVATION_COUNT_MAX, OBSERVATION_WAITING_MAX};
use crate::logging::recent::{Line, RecentLines};
use crate::metrics::route::RouteId;
use crate::shared::Shared;
use crate::shared::message::{Operation, OperationRequest};
use crate::status::exposition;
use crate::status::history::History;
use crate::status::observation::{HubFacts, Observation, ask_reactors};
use crate::status::openmetrics::Format;
use crate::status::page;

/// What is kept for those who operate the hub.
pub struct Operations {
    shared: Arc<Shared>,
    facts: Arc<HubFacts>,
    recent: RecentLines,
    /// When the last line was said that status pages know of.
    told_ms: u64,
    history: History,
    /// The processor's time at the last look.
    used: (Instant, f64),
    /// Who asks for what takes long.
    turns: Turns,
}

/// However many ask, only some wait, and fewer are served at a time.
struct Turns {
    waiting: Arc<Semaphore>,
    served: Arc<Semaphore>,
}

/// A turn of somebody's.
struct Turn {
    _waiting: OwnedSemaphorePermit,
    _served: OwnedSemaphorePermit,
}

impl Turns {
    fn new() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(OBSERVATION_WAITING_MAX)),
            served: Arc::new(Semaphore::new(OBSERVATION_COUNT_MAX)),
        }
    }

    /// `None`: too many wait.
    fn take(&self) -> Option<impl Future<Output = Option<Turn>> + use<>> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let served = Arc::clone(&self.served);
        Some(async move {
            // The semaphore is never closed.
            let served = served.acquire_owned().await.ok()?;
            Some(Turn {
                _waiting: waiting,
                _served: served,
            })
        })
    }
}

impl Operations {
    /// Nothing has happened yet.
    pub fn new(shared: Arc<Shared>, facts: Arc<HubFacts>, recent: RecentLines) -> Self {
        Self {
            shared,
            facts,
            recent,
            told_ms: 0,
            history: History::default(),
            used: (Instant::now(), cpu_seconds()),
            turns: Turns::new(),
        }
    }

    /// A second is over.
    pub fn tick(&mut self, sessions: &Sessions) {
        let ids = sessions.route_ids();
        let at = clock::unix_seconds();
        let second = self.history.look(at, ids, &self.shared.metrics);
        let (before, used_before) = self.used;
        self.used = (Instant::now(), cpu_seconds());
        let share = (self.used.1 - used_before) / (self.used.0 - before).as_secs_f64().max(0.001);
        let told_ms = std::mem::replace(&mut self.told_ms, self.recent.newest_ms());
        if feed::is_watched(&self.shared) {
            if told_ms != self.told_ms {
                feed::tell_changed(&self.shared);
            }
            feed::tell_second(&self.shared, at, second, 100.0 * share);
        }
    }

    /// Makes something of all that is known now, on a thread that nobody waits for. `None`: too
    /// many ask, or it panicked.
    pub fn observe<T, F>(
        &self,
        sessions: &Sessions,
        make: F,
    ) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(Observation) -> T + Send + 'static,
    {
        let (shared, facts) = (Arc::clone(&self.shared), Arc::clone(&self.facts));
        let turn = self.turns.take();
        let view = turn.is_some().then(|| sessions.view());
        async move {
            let _turn = turn?.await?;
            let loads = ask_reactors(&shared).await;
            let view = view?;
            let work = move || make(Observation::new(&shared, facts, view, &loads));
            tokio::task::spawn_blocking(work).await.ok()
        }
    }

    /// Responds, now or once the reactors have.
    pub fn serve(
        &self,
        sessions: &Sessions,
        request: &OperationRequest,
        reply: oneshot::Sender<LocalReply>,
    ) {
        let response = match request.operation {
            Operation::Live => LocalReply::text(200, "live\n"),
            Operation::Ready { is_detailed: false } => bare_readiness(sessions),
            Operation::Ready { is_detailed: true } => readiness(sessions, &request.query),
            Operation::History => self.history_of(&request.query),
            Operation::Metrics => return self.serve_metrics(sessions, &request.accept, reply),
            Operation::Page => return self.serve_page(sessions, reply, page::page),
            Operation::Tables => return self.serve_page(sessions, reply, page::tables),
        };
        // Nobody reads it if the client has left.
        let _ = reply.send(response);
    }

    fn serve_metrics(&self, sessions: &Sessions, accept: &str, reply: oneshot::Sender<LocalReply>) {
        let format = Format::accepted_by(accept);
        let encode = move |observation| {
            LocalReply::text(200, exposition::encode(observation, format))
                .with_type(format.content_type())
                .with("Cache-Control", "no-store")
        };
        respond_later(self.observe(sessions, encode), reply);
    }

    fn serve_page(
        &self,
        sessions: &Sessions,
        reply: oneshot::Sender<LocalReply>,
        render: fn(&Observation, &[Line], &[Setting]) -> LocalReply,
    ) {
        let (lines, shared) = (self.recent.newest_first(), Arc::clone(&self.shared));
        let render = move |observation| render(&observation, &lines, &shared.settings());
        respond_later(self.observe(sessions, render), reply);
    }

    fn history_of(&self, query: &str) -> LocalReply {
        let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let id = match query.get("route").map_or("all", |route| &**route) {
            "all" => None,
            index => match index.parse().ok().and_then(RouteId::from_index) {
                Some(id) => Some(id),
                None => return LocalReply::error(400, "route: expected all, or a route's number"),
            },
        };
        LocalReply::json(200, &self.history.of(id)).with("Cache-Control", "no-store")
    }
}

fn respond_later(
    made: impl Future<Output = Option<LocalReply>> + Send + 'static,
    reply: oneshot::Sender<LocalReply>,
) {
    tokio::spawn(async move {
        let too_many = || LocalReply::error(503, "too many ask for this").with("Retry-After", "1");
        // Nobody reads it if the client has left.
        let _ = reply.send(made.await.unwrap_or_else(too_many));
    });
}

/// Processor time of the hub so far.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn bare_readiness(sessions: &Sessions) -> LocalReply {
    let reply = match sessions.not_ready() {
        None => LocalReply::text(200, "ready\n"),
        Some(_) => LocalReply::text(503, "not ready\n"),
    };
    sessions.with_leaving(reply)
}

fn readiness(sessions: &Sessions, query: &str) -> LocalReply {
    let mut routes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "route");
    let unserved =
        |(_, route): (_, std::borrow::Cow<'_, str>)| match sessions.route_is_served(&route) {
            Some(true) => None,
            Some(false) => Some(format!("no worker of {route} is there now")),
            None => Some(format!("there is no route {route}")),
        };
    let why = sessions.not_ready().or_else(|| routes.find_map(unserved));
    let status = if why.is_none() { 200 } else { 503 };
    let reply = LocalReply::json(status, &json!({ "ready": why.is_none(), "why": why }));
    sessions.with_leaving(reply)
}
