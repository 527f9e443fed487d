//! Probes, metrics and the status page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::sync::oneshot;

use super::feed;
use super::sessions::Sessions;
use crate::clock;
use crate::config::settings::Setting;
use crate::http::local_reply::LocalReply;
use crate::logging::recent::{Line, RecentLines};
use crate::metrics::route::RouteId;
use crate::shared::Shared;
use crate::shared::message::{Operation, OperationRequest};
use crate::status::exposition;
use crate::status::history::History;
use crate::status::observation::{HubFacts, Observation};
use crate::status::openmetrics::Format;
use crate::status::page;

/// What is kept for those who operate the hub.
pub struct Operations {
    shared: Arc<Shared>,
    facts: Arc<HubFacts>,
    recent: RecentLines,
    history: History,
    /// The processor's time at the last look.
    used: (Instant, f64),
}

impl Operations {
    /// Nothing has happened yet.
    pub fn new(shared: Arc<Shared>, facts: Arc<HubFacts>, recent: RecentLines) -> Self {
        Self {
            shared,
            facts,
            recent,
            history: History::default(),
            used: (Instant::now(), cpu_seconds()),
        }
    }

    /// A second is over.
    pub fn tick(&mut self, sessions: &Sessions) {
        let ids = sessions.route_ids();
        let second = self
            .history
            .look(clock::unix_seconds(), ids, &self.shared.metrics);
        let (before, used_before) = self.used;
        self.used = (Instant::now(), cpu_seconds());
        let share = (self.used.1 - used_before) / (self.used.0 - before).as_secs_f64().max(0.001);
        if feed::is_watched(&self.shared) {
            feed::tell_second(&self.shared, second, 100.0 * share);
        }
    }

    /// All that is known now.
    pub fn observe(&self, sessions: &Sessions) -> impl Future<Output = Observation> + use<> {
        let (shared, facts) = (Arc::clone(&self.shared), Arc::clone(&self.facts));
        let view = sessions.view();
        async move { Observation::gather(&shared, facts, view).await }
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
        let observation = self.observe(sessions);
        tokio::spawn(async move {
            let observation = observation.await;
            // Thousands of routes take milliseconds, and others wait for this thread.
            let encode = move || exposition::encode(observation, format);
            let _ = reply.send(match tokio::task::spawn_blocking(encode).await {
                Ok(text) => LocalReply::text(200, text)
                    .with_type(format.content_type())
                    .with("Cache-Control", "no-store"),
                Err(_) => LocalReply::error(500, "encoding the metrics panicked"),
            });
        });
    }

    fn serve_page(
        &self,
        sessions: &Sessions,
        reply: oneshot::Sender<LocalReply>,
        render: fn(&Observation, &[Line], &[Setting]) -> LocalReply,
    ) {
        let (observation, shared) = (self.observe(sessions), Arc::clone(&self.shared));
        let lines = self.recent.newest_first();
        tokio::spawn(async move {
            let observation = observation.await;
            let render = move || render(&observation, &lines, &shared.config.settings);
            let _ = reply.send(match tokio::task::spawn_blocking(render).await {
                Ok(page) => page,
                Err(_) => LocalReply::error(500, "making the page panicked"),
            });
        });
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

/// Processor time of the hub so far.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn bare_readiness(sessions: &Sessions) -> LocalReply {
    match sessions.not_ready() {
        None => LocalReply::text(200, "ready\n"),
        Some(_) => LocalReply::text(503, "not ready\n"),
    }
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
    LocalReply::json(status, &json!({ "ready": why.is_none(), "why": why }))
}
