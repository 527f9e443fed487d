//! The control thread: everything that is not a proxied request. It owns the
//! registrations and the sessions, and is the only one to change the routes.
//!
//! `register` reads registrations, `events` what is pushed to clients of event streams,
//! `attach` is the Unix socket's side, `sessions` the set of both, and `sessions::opening`
//! how one begins.

pub mod attach;
mod document;
mod events;
mod register;
mod sessions;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::Method;
use slotway_shm_proto::message::Goodbye;
use tokio::sync::{mpsc, oneshot};

use crate::handover::ExpectedWorker;
use crate::inspection;
use crate::lane::Violation;
use crate::local_answer::LocalAnswer;
use crate::shared::{Counters, Shared, sabotage};
pub use register::Registration;
use sessions::Sessions;

/// What the other threads, and the control thread's own tasks, tell it.
#[derive(Debug)]
pub enum ControlMessage {
    /// A request for one of the hub's own paths.
    Request {
        /// Its method.
        method: Method,
        /// Its path.
        path: String,
        /// Its body.
        body: Vec<u8>,
        /// Where the answer goes.
        reply: oneshot::Sender<LocalAnswer>,
    },
    /// A worker has said hello on the attach socket.
    Hello(attach::Greeting),
    /// A worker wants to finish what it has and go.
    WorkerLeaves(u64),
    /// A worker's connection has closed or its process has ended.
    WorkerGone(u64, &'static str),
    /// A worker broke the protocol.
    Violation(u64, Violation),
    /// A worker left too many requests unanswered.
    TooManyUnanswered(u64),
    /// An upgrade begins: no worker attaches here any more. Answers what workers there
    /// are, with ids for the new hub.
    BeginHandover(oneshot::Sender<io::Result<Vec<ExpectedWorker>>>),
    /// The new hub expects these workers: they are told.
    TellMoving(Vec<ExpectedWorker>, oneshot::Sender<()>),
    /// The upgrade failed: workers attach here again.
    EndHandover,
    /// Workers that another hub hands over; answers, once they are expected, what will
    /// tell that all have attached.
    Expect(Vec<ExpectedWorker>, oneshot::Sender<oneshot::Receiver<()>>),
    /// A worker does not answer pings.
    Unresponsive(u64),
    /// The hub has no descriptors or memory for a worker any more.
    NoResources(u64),
    /// Every reactor has let go of a session.
    LanesClosed(u64),
    /// Finish: say goodbye to every worker.
    Stop(oneshot::Sender<()>),
}

/// Whether the hub answers a path itself.
pub fn is_control_path(path: &str) -> bool {
    path == "/health" || path == "/internal" || path.starts_with("/internal/")
}

/// Whether a path is an event stream of the hub's own.
pub fn is_event_path(path: &str) -> bool {
    path == "/events" || path.starts_with("/events/")
}

/// Serves until told to stop.
pub async fn run(
    shared: Arc<Shared>,
    attach_path: String,
    mut messages: mpsc::UnboundedReceiver<ControlMessage>,
) {
    let mut sessions = Sessions::new(Arc::clone(&shared), attach_path);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
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
        };
        let Some(message) = message else { return };
        match message {
            ControlMessage::Request {
                method,
                path,
                body,
                reply,
            } => {
                if path == "/internal/slots" && matches!(method, Method::Get | Method::Head) {
                    inspect(&shared, &sessions, reply);
                } else {
                    let answer = answer(&shared, &mut sessions, method, &path, &body);
                    // Nobody reads the reply if the client has left.
                    let _ = reply.send(answer);
                }
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

/// The reactors need time to answer.
fn inspect(shared: &Arc<Shared>, sessions: &Sessions, reply: oneshot::Sender<LocalAnswer>) {
    let (shared, sessions) = (Arc::clone(shared), sessions.all());
    tokio::spawn(async move {
        let report = inspection::inspect(&shared, &sessions).await;
        let _ = reply.send(LocalAnswer::json(200, &report));
    });
}

fn answer(
    shared: &Shared,
    sessions: &mut Sessions,
    method: Method,
    path: &str,
    body: &[u8],
) -> LocalAnswer {
    match (path, method) {
        ("/health", Method::Get | Method::Head) => sessions.health(),
        ("/internal/sabotage", _) => {
            sabotage::point("control");
            LocalAnswer::error(404, format!("no route for {path}"))
        }
        ("/internal/register", Method::Post) => sessions.register(body),
        ("/internal/emit", Method::Post) => events::emit(shared, body),
        ("/internal/sse-push", Method::Post) => events::push(shared, body),
        ("/internal/register" | "/internal/emit" | "/internal/sse-push", _) => wrong_method("POST"),
        ("/health" | "/internal/slots", _) => wrong_method("GET, HEAD"),
        _ => LocalAnswer::error(404, format!("no route for {path}")),
    }
}

fn wrong_method(allow: &'static str) -> LocalAnswer {
    LocalAnswer::error(405, format!("allowed here: {allow}")).with("Allow", allow)
}
