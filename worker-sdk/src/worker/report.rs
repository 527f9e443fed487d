//! What a worker says of itself: to tracing if somebody listens, to stderr if nobody does. A
//! line when it attaches, one for each new trouble, and none for a request.

use std::io::Write;

use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

/// What the supervisor has to say.
#[derive(Debug)]
pub(super) struct Report {
    worker: String,
    /// What is wrong just now.
    trouble: Option<String>,
    has_attached: bool,
}

impl Report {
    /// Of a worker.
    pub fn new(worker: &str) -> Self {
        Self {
            worker: worker.to_owned(),
            trouble: None,
            has_attached: false,
        }
    }

    /// Whether it has taken requests before.
    pub fn has_attached(&self) -> bool {
        self.has_attached
    }

    /// It takes requests now.
    pub fn attached(&mut self, hub: &str, socket: &std::path::Path, route_count: usize) {
        let routes = if route_count == 1 { "route" } else { "routes" };
        let socket = socket.display();
        self.trouble = None;
        self.has_attached = true;
        self.say(&format!(
            "attached to the hub at {hub} with {route_count} {routes} (over {socket})"
        ));
    }

    /// The hub answers some of the paths itself that the worker has a route for.
    pub fn paths_are_hidden(&self) {
        self.say(
            "the hub itself answers /health, /events and /internal/, so these paths do not reach \
             this worker's routes (slotway-hub --own-paths moves them)",
        );
    }

    /// It does not take requests, and tries again.
    pub fn trouble(&mut self, why: &impl std::fmt::Display) {
        let why = why.to_string();
        if self.trouble.as_ref() != Some(&why) {
            self.warn(&format!("{why}; trying again"));
            self.trouble = Some(why);
        }
    }

    /// It has ended, since a newer one serves its routes.
    pub fn replaced(&self) {
        self.say("replaced by a worker of the same name that started later; this one ends");
    }

    fn say(&self, text: &str) {
        let worker = &self.worker;
        if is_heard() {
            tracing::info!(worker, "{text}");
        } else {
            print(worker, text);
        }
    }

    fn warn(&self, text: &str) {
        let worker = &self.worker;
        if is_heard() {
            tracing::warn!(worker, "{text}");
        } else {
            print(worker, text);
        }
    }
}

fn is_heard() -> bool {
    dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}

fn print(worker: &str, text: &str) {
    // In vain only if stderr is closed.
    let _ = writeln!(std::io::stderr(), "slotway worker {worker:?}: {text}");
}
