//! The control thread: everything that is not a proxied request. It owns the
//! registrations and the sessions, and is the only one to change the routes.
//!
//! [`attach`] is the attach socket's side (workers wait for it in the [`attach_queue`]), [`register`] checks registrations (read by
//! [`document`]), [`sessions`] is the set of both, [`events`] is what is pushed to clients of
//! event streams, [`inspect`] says what every slot is in, and [`error`] why something is
//! refused. [`admin`] carries out the commands of those who operate the hub ([`who`] would answer a
//! request), [`operations`] answers their probes, metrics and status page, and [`feed`] keeps their status
//! pages up to date. [`agent_check`] tells balancers how the hub is.

pub mod admin;
pub mod agent_check;
pub mod attach;
pub mod attach_queue;
mod document;
mod error;
mod events;
mod feed;
mod inspect;
mod operations;
mod register;
mod sessions;
mod who;

use std::sync::Arc;

use serde_json::json;
use slotway_shm_proto::Method;
use slotway_shm_proto::message::Goodbye;
use tokio::sync::{mpsc, oneshot};

use crate::http::local_reply::LocalReply;
use crate::limits::{CONTROL_TICK, STATUS_INTERVAL};
use crate::logging::recent::RecentLines;
use crate::shared::counters::Counters;
use crate::shared::message::{ControlMessage, OwnRequest};
use crate::shared::{Shared, sabotage};
use crate::status::observation::HubFacts;
use admin::Admin;
use error::ControlError;
use operations::Operations;
use sessions::Sessions;

/// What the control thread knows when no worker has come yet. Its first table is there when this
/// returns, and so before any client is let in: a worker that is expected is known from the first
/// request on.
pub fn start(
    shared: Arc<Shared>,
    facts: Arc<HubFacts>,
    recent: RecentLines,
    messages: mpsc::UnboundedReceiver<ControlMessage>,
) -> impl Future<Output = ()> {
    let sessions = Sessions::new(Arc::clone(&shared), facts.attach.clone());
    run(shared, sessions, facts, recent, messages)
}

/// Serves until told to stop.
async fn run(
    shared: Arc<Shared>,
    mut sessions: Sessions,
    facts: Arc<HubFacts>,
    recent: RecentLines,
    mut messages: mpsc::UnboundedReceiver<ControlMessage>,
) {
    let mut operations = Operations::new(Arc::clone(&shared), facts, recent);
    let admin = Admin::new(Arc::clone(&shared));
    let mut seconds = tokio::time::interval(STATUS_INTERVAL);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut tick = tokio::time::interval(CONTROL_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            // Only while there is something that can expire: at idle the
            // thread sleeps.
            _ = tick.tick(), if sessions.has_timers() => {
                sessions.expire();
                continue;
            }
            _ = seconds.tick(), if shared.config.status.is_on() => {
                operations.tick(&sessions);
                continue;
            }
        };
        let Some(message) = message else { return };
        match message {
            ControlMessage::Request(request, reply) => {
                serve(&shared, &mut sessions, &request, reply);
            }
            ControlMessage::Command(command, socket) => {
                admin.serve(&mut sessions, &operations, &command, socket);
            }
            ControlMessage::Operation(request, reply) => {
                operations.serve(&sessions, &request, reply);
            }
            ControlMessage::Hello(greeting) => sessions.attach(greeting),
            ControlMessage::WorkerGone(id, how) => sessions.worker_gone(id, how),
            ControlMessage::WorkerLeaves(id) => sessions.leave(id),
            ControlMessage::Violation(id, violation) => {
                Counters::add(&shared.counters.violations);
                sessions.evict(id, Goodbye::Violation, &violation.to_string());
            }
            ControlMessage::TooManyUnanswered(id) => {
                sessions.evict(
                    id,
                    Goodbye::TooManyUnanswered,
                    "too many unanswered requests",
                );
            }
            ControlMessage::BeginHandover(reply) => {
                let _ = reply.send(sessions.begin_handover());
            }
            ControlMessage::TellMoving(workers, done) => {
                sessions.tell_moving(&workers);
                let _ = done.send(());
            }
            ControlMessage::Reloaded => sessions.reloaded(),
            ControlMessage::EndHandover => sessions.end_handover(),
            ControlMessage::Expect(workers, reply) => {
                let _ = reply.send(sessions.expect(workers));
            }
            ControlMessage::Unresponsive(id) => {
                sessions.evict(id, Goodbye::Unresponsive, "it does not answer pings");
            }
            ControlMessage::NoResources(id) => {
                let why = "the hub has no descriptors or memory left to listen to it";
                sessions.evict(id, Goodbye::NoResources, why);
            }
            ControlMessage::LanesClosed(id) => sessions.lanes_closed(id),
            ControlMessage::Stop(done) => {
                sessions.stop();
                let _ = done.send(());
                return;
            }
        }
    }
}

fn serve(
    shared: &Arc<Shared>,
    sessions: &mut Sessions,
    request: &OwnRequest,
    reply: oneshot::Sender<LocalReply>,
) {
    if request.path == "/internal/slots" && matches!(request.method, Method::Get | Method::Head) {
        return inspect(shared, sessions, reply);
    }
    // Nobody reads the reply if the client has left.
    let _ = reply.send(respond(shared, sessions, request));
}

/// The reactors need time to respond.
fn inspect(shared: &Arc<Shared>, sessions: &Sessions, reply: oneshot::Sender<LocalReply>) {
    let (shared, sessions) = (Arc::clone(shared), sessions.all());
    tokio::spawn(async move {
        let report = inspect::inspect(&shared, &sessions).await;
        let _ = reply.send(LocalReply::json(200, &report));
    });
}

fn respond(shared: &Shared, sessions: &mut Sessions, request: &OwnRequest) -> LocalReply {
    let (path, body) = (request.path.as_str(), request.body.as_slice());
    let or_error = |result: Result<LocalReply, ControlError>| match result {
        Ok(reply) => reply,
        Err(error) => error.to_reply(),
    };
    match (path, request.method) {
        ("/health", Method::Get | Method::Head) => {
            let health = sessions.health(&request.query);
            let reply = LocalReply::json(if health.ok { 200 } else { 503 }, &health);
            sessions.with_leaving(reply)
        }
        ("/internal/sabotage", _) => {
            sabotage::point("control");
            LocalReply::error(404, format!("no route for {path}"))
        }
        ("/internal/register", Method::Post) => {
            let registered = sessions.register(body);
            or_error(registered.map(|response| LocalReply::json(200, &response)))
        }
        ("/internal/emit", Method::Post) => {
            or_error(events::emit(shared, body).map(|()| LocalReply::json(200, &json!({}))))
        }
        ("/internal/sse-push", Method::Post) => {
            or_error(events::push(shared, body).map(|reached| {
                let (queued, lost) = (reached.queued, reached.lost);
                LocalReply::json(200, &json!({ "ok": true, "queued": queued, "lost": lost }))
            }))
        }
        ("/internal/register" | "/internal/emit" | "/internal/sse-push", _) => wrong_method("POST"),
        ("/health" | "/internal/slots", _) => wrong_method("GET, HEAD"),
        _ => LocalReply::error(404, format!("no route for {path}")),
    }
}

fn wrong_method(allow: &'static str) -> LocalReply {
    LocalReply::error(405, format!("allowed here: {allow}")).with("Allow", allow)
}
