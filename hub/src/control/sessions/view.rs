//! What those see who operate the hub.

use std::sync::Arc;

use slotway_shm_proto::api::{HealthResponse, WorkerInfo};

use super::Sessions;
use crate::http::local_reply::LocalReply;
use crate::metrics::route::RouteId;
use crate::routing::session::Session;
use crate::status::observation::ControlView;

impl Sessions {
    /// The workers that take requests, and whether the hub does, with all workers that it
    /// must have and those that the query asks for: `worker=NAME`.
    pub fn health(&self, query: &str) -> HealthResponse {
        let live = self.attached.iter().filter(|attached| attached.is_live());
        let workers = live.map(|attached| WorkerInfo {
            name: attached.session.name.clone(),
            worker_id: attached.session.worker_id.clone(),
            route_count: attached.session.routes.len(),
            transport: "shm".to_owned(),
        });
        let workers: Vec<_> = workers.collect();
        let asked = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "worker")
            .map(|(_, worker)| worker.into_owned());
        let expected = self.shared.config.expect_worker.iter().cloned();
        let mut missing: Vec<_> = expected.chain(asked).collect();
        missing.retain(|name| workers.iter().all(|worker| worker.name != *name));
        HealthResponse {
            ok: missing.is_empty() && !self.is_stopping() && !self.is_unready(),
            workers,
            missing,
        }
    }

    /// The sessions of all workers that are here.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.attached.iter().map(|attached| &attached.session);
        sessions.cloned().collect()
    }

    /// A reply to a health check, with what makes Envoy send nobody here any more where the hub is about to
    /// stop.
    pub fn with_leaving(&self, reply: LocalReply) -> LocalReply {
        if self.is_stopping() || self.is_unready() {
            reply.with("X-Envoy-Immediate-Health-Check-Fail", "true")
        } else {
            reply
        }
    }

    /// Why the hub does not take requests, if it does not.
    pub fn not_ready(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("draining".to_owned());
        }
        if self.is_unready() {
            return Some("about to stop".to_owned());
        }
        let expected = self.shared.config.expect_worker.iter();
        let mut missing = expected.filter(|name| !self.has_live(name));
        let first = missing.next()?;
        Some(match missing.count() {
            0 => format!("starting: worker {first} has not attached"),
            more => format!("starting: worker {first} and {more} more have not attached"),
        })
    }

    fn has_live(&self, name: &str) -> bool {
        let mut attached = self.attached.iter();
        attached.any(|attached| attached.is_live() && attached.session.name == name)
    }

    /// Whether a worker takes requests for a route, which is named by its pattern or by a
    /// path that it answers. `None`: there is no such route.
    pub fn route_is_served(&self, route: &str) -> Option<bool> {
        let ids = self.route_ids.of_pattern(route);
        if ids.is_empty() {
            return self.shared.routes.current().is_served(route);
        }
        let serves = |id: RouteId| {
            let live = self.attached.iter().filter(|attached| attached.is_live());
            live.flat_map(|attached| &attached.session.route_ids)
                .any(|own| *own == id)
        };
        Some(ids.into_iter().any(serves))
    }

    /// Where requests of a route's pattern are counted, for each of its methods.
    pub fn route_ids_of(&self, route: &str) -> Vec<RouteId> {
        self.route_ids.of_pattern(route)
    }

    /// Every place where requests are counted.
    pub fn route_ids(&self) -> impl Iterator<Item = RouteId> + use<> {
        self.route_ids.all()
    }

    /// What this thread knows.
    pub fn view(&self) -> ControlView {
        let sessions = self.attached.iter();
        ControlView {
            not_ready: self.not_ready(),
            sessions: sessions
                .map(|attached| (Arc::clone(&attached.session), attached.state))
                .collect(),
            labels: self.route_ids.labels(),
            incidents: self.incidents.newest_first(),
            ends: self.incidents.counts(),
        }
    }
}
