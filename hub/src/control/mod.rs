//! The control thread: everything that is not a proxied request. It owns the
//! registrations and the sessions, and is the only one to change the routes.
//!
//! `register` reads registrations, `attach` is the Unix socket's side,
//! `sessions` the set of both.

pub mod attach;
mod register;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use slotway_net::Peer;
use slotway_shm_proto::Method;
use slotway_shm_proto::message::Goodbye;
use tokio::sync::{mpsc, oneshot};

use crate::handover::ExpectedWorker;
use crate::lane::Violation;
use crate::local_answer::LocalAnswer;
use crate::shared::{Counters, Shared};
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
    BeginHandover(oneshot::Sender<Vec<ExpectedWorker>>),
    /// The new hub expects these workers: they are told.
    TellMoving(Vec<ExpectedWorker>, oneshot::Sender<()>),
    /// The upgrade failed: workers attach here again.
    EndHandover,
    /// Workers that another hub hands over; answers, once they are expected, what will
    /// tell that all have attached.
    Expect(Vec<ExpectedWorker>, oneshot::Sender<oneshot::Receiver<()>>),
    /// A worker does not answer pings.
    Unresponsive(u64),
    /// Every reactor has let go of a session.
    LanesClosed(u64),
    /// Finish: say goodbye to every worker.
    Stop(oneshot::Sender<()>),
}

/// Whether the hub answers a path itself.
pub fn is_control_path(path: &str) -> bool {
    path == "/health" || path.starts_with("/internal/")
}

/// Whether a peer may ask for a path of the hub's own. Registering takes over
/// routes, so it is for this host alone.
pub fn may_ask(path: &str, peer: Peer) -> bool {
    path == "/health"
        || match peer {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix => true,
        }
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
                // Nobody reads the reply if the client has left.
                let _ = reply.send(answer(&mut sessions, method, &path, &body));
            }
            ControlMessage::Hello(greeting) => sessions.attach(&greeting),
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
            ControlMessage::LanesClosed(id) => sessions.lanes_closed(id),
            ControlMessage::Stop(done) => {
                sessions.stop();
                let _ = done.send(());
                return;
            }
        }
    }
}

fn answer(sessions: &mut Sessions, method: Method, path: &str, body: &[u8]) -> LocalAnswer {
    match (path, method) {
        ("/health", Method::Get | Method::Head) => sessions.health(),
        ("/health", _) => wrong_method("GET, HEAD"),
        ("/internal/register", Method::Post) => sessions.register(body),
        ("/internal/register", _) => wrong_method("POST"),
        _ => LocalAnswer::error(404, format!("no route for {path}")),
    }
}

fn wrong_method(allow: &'static str) -> LocalAnswer {
    LocalAnswer::error(405, format!("allowed here: {allow}")).with("Allow", allow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_may_register() {
        let peer = |text: &str| Peer::Tcp(std::net::SocketAddr::new(text.parse().unwrap(), 1));
        assert!(may_ask("/internal/register", peer("127.0.0.1")));
        assert!(may_ask("/internal/register", peer("::1")));
        assert!(may_ask("/internal/register", peer("::ffff:127.0.0.1")));
        assert!(may_ask("/internal/register", Peer::Unix));
        assert!(!may_ask("/internal/register", peer("192.0.2.1")));
        assert!(may_ask("/health", peer("192.0.2.1")));
    }
}
