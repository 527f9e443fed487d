//! The status page: one document, with all that it needs inside it.

use askama::Template;

use super::incidents::Incident;
use super::observation::{Observation, RouteView, WorkerView};
use crate::config::settings::Setting;
use crate::http::local_reply::LocalReply;
use crate::logging::recent::Line;
use crate::routing::session::SessionState;
use crate::shared::id::new_id;

/// The whole page.
#[derive(Template)]
#[template(path = "status.html")]
struct Page<'p> {
    title: &'p str,
    nonce: &'p str,
    style: &'static str,
    script: &'static str,
    version: &'static str,
    pid: u32,
    tables: Tables<'p>,
}

/// The parts that change when workers do.
#[derive(Template)]
#[template(path = "tables.html")]
struct Tables<'p> {
    observation: &'p Observation,
    routes: Vec<RouteRow<'p>>,
    lines: &'p [Line],
    settings: &'p [Setting],
}

struct RouteRow<'p> {
    view: &'p RouteView,
    /// Its pattern, or what the group's name stands for.
    name: String,
    workers: String,
}

impl<'p> RouteRow<'p> {
    fn new(view: &'p RouteView) -> Self {
        let name = match &*view.label.route {
            "none" => "(requests without a route)".to_owned(),
            "hub" => "(the hub's own paths)".to_owned(),
            "other" => "(further routes)".to_owned(),
            pattern if view.is_event_stream => format!("{pattern} (event stream)"),
            pattern => pattern.to_owned(),
        };
        let workers = match view.workers.as_slice() {
            [first, second, third, _, ..] => {
                format!(
                    "{first}, {second}, {third} and {} more",
                    view.workers.len() - 3
                )
            }
            few => few.join(", "),
        };
        Self {
            view,
            name,
            workers,
        }
    }
}

/// Methods of the template.
#[allow(clippy::unused_self)]
impl<'p> Tables<'p> {
    fn new(observation: &'p Observation, lines: &'p [Line], settings: &'p [Setting]) -> Self {
        Self {
            observation,
            routes: observation
                .shown_routes()
                .into_iter()
                .map(RouteRow::new)
                .collect(),
            lines,
            settings,
        }
    }

    fn route_count(&self) -> usize {
        let routes = self.routes.iter();
        routes.filter(|row| !row.view.id.is_of_a_group()).count()
    }

    fn state(&self) -> &str {
        self.observation
            .control
            .not_ready
            .as_deref()
            .unwrap_or("ready")
    }

    fn state_class(&self) -> &'static str {
        match self.observation.control.not_ready {
            None => "good",
            Some(_) => "warn",
        }
    }

    fn worker_state(&self, worker: &WorkerView) -> &'static str {
        match worker.state {
            SessionState::Live => "live",
            SessionState::Draining => "draining",
            SessionState::Ended => "ended",
        }
    }

    fn worker_class(&self, worker: &WorkerView) -> &'static str {
        match worker.state {
            SessionState::Live => "good",
            SessionState::Draining => "warn",
            SessionState::Ended => "bad",
        }
    }

    fn version_of<'w>(&self, worker: &'w WorkerView) -> &'w str {
        worker.session.version.as_deref().unwrap_or("–")
    }

    /// When the worker started, or else attached.
    fn since_of(&self, worker: &WorkerView) -> u64 {
        let session = &worker.session;
        session.started_ms.unwrap_or(session.attached_ms)
    }

    fn pid_of(&self, worker: &WorkerView) -> String {
        worker
            .pid()
            .map_or_else(|| "–".to_owned(), |pid| pid.to_string())
    }

    /// Slots that requests use.
    fn requests_of(&self, worker: &WorkerView) -> u32 {
        let slots = worker.slots;
        slots.used.saturating_sub(slots.open_streams)
    }

    fn map_label(&self, worker: &WorkerView) -> String {
        format!(
            "{} of {} slots in use{}",
            self.requests_of(worker),
            self.observation.slot_count,
            self.more_of(worker)
        )
    }

    fn more_of(&self, worker: &WorkerView) -> String {
        let count = |count: u32, what: &str| match count {
            0 => String::new(),
            count => format!(", {count} {what}"),
        };
        let slots = worker.slots;
        let held = worker.session.upgrades.count();
        count(slots.open_streams, "streaming")
            + &count(slots.quarantined, "quarantined")
            + &count(held, "upgraded connections")
    }

    fn incident_class(&self, incident: &Incident) -> &'static str {
        match incident.what {
            "attached" => "good",
            "left" | "replaced" | "stopping" | "draining" => "",
            _ => "bad",
        }
    }

    fn line_class(&self, line: &Line) -> &'static str {
        if line.level == "ERROR" { "bad" } else { "warn" }
    }
}

const STYLE: &str = include_str!("../../templates/status.css");
const SCRIPT: &str = include_str!("../../templates/status.js");

/// The page, as it is now.
pub fn page(observation: &Observation, lines: &[Line], settings: &[Setting]) -> LocalReply {
    // No other response has it, so nothing that a worker has named can be a script.
    let nonce = match new_id() {
        Ok(nonce) => nonce,
        Err(error) => return LocalReply::error(503, format!("no random number: {error}")),
    };
    let title = observation.facts.urls.first().map_or("hub", String::as_str);
    let page = Page {
        title,
        nonce: &nonce,
        style: STYLE,
        script: SCRIPT,
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        tables: Tables::new(observation, lines, settings),
    };
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    html(page.render()).with("Content-Security-Policy", policy)
}

/// The parts of the page that change when workers do.
pub fn tables(observation: &Observation, lines: &[Line], settings: &[Setting]) -> LocalReply {
    html(Tables::new(observation, lines, settings).render())
}

fn html(rendered: askama::Result<String>) -> LocalReply {
    match rendered {
        Ok(text) => LocalReply {
            status: 200,
            fields: vec![("Content-Type", "text/html; charset=utf-8".into())],
            body: text.into_bytes(),
        }
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff"),
        // No template has what can fail.
        Err(error) => LocalReply::error(500, format!("the page cannot be made: {error}")),
    }
}
