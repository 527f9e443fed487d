//! Commands of those who operate the hub. They come over the attach socket, which lets in the
//! hub's own user and root alone.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slotway_shm_proto::admin::{Part, Reply};
use slotway_shm_proto::limits::REPLY_PIECE_BYTES_MAX;
use slotway_shm_proto::packet;
use tokio::sync::Semaphore;

use super::operations::Operations;
use super::sessions::Sessions;
use super::{document, inspect, who};
use crate::limits::{COMMAND_COUNT_MAX, COMMAND_TIME};
use crate::metrics::recorder::Phase;
use crate::metrics::route::{RouteId, RouteLabels};
use crate::shared::Shared;
use crate::shared::reload::reload_aside;
use crate::shared::tap::EndedRequest;
use crate::status::observation::Observation;
use crate::status::report;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminCommand {
    /// The hub as a whole.
    Status,
    /// Its workers.
    Workers,
    /// Its routes.
    Routes,
    /// Who would answer a request.
    Who {
        /// The path, as it would be sent.
        path: String,
        /// The method.
        method: String,
        /// The value of the Host field.
        host: Option<String>,
    },
    /// What has changed in the configuration is taken.
    Reload,
    /// What every slot is in.
    Slots,
    /// Workers finish what they have, and end.
    Drain {
        /// By name, process or worker id.
        worker: String,
    },
    /// Workers are put out at once.
    Evict {
        /// By name, process or worker id.
        worker: String,
    },
    /// The requests of a route as they end.
    Trace {
        /// A pattern; all routes without one.
        route: Option<String>,
    },
}

/// Carries commands out.
pub struct Admin {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

/// A connection that gets its reply; it has a place among the others.
struct Client {
    socket: OwnedFd,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Admin {
    /// Nobody has asked yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            places: Arc::new(Semaphore::new(COMMAND_COUNT_MAX)),
        }
    }

    /// Carries one out. The reply is sent by a thread of its own, as quickly as it is read.
    pub fn serve(
        &self,
        sessions: &mut Sessions,
        operations: &Operations,
        command: &[u8],
        socket: OwnedFd,
    ) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!("too many commands are being answered; another was closed");
            return;
        };
        let client = Client {
            socket,
            _place: place,
        };
        let command = match document::read("a command", command) {
            Ok(command) => command,
            Err(error) => return client.reply(Err(error.to_string())),
        };
        match command {
            AdminCommand::Status => reported(sessions, operations, client, report::status),
            AdminCommand::Workers => reported(sessions, operations, client, report::workers),
            AdminCommand::Routes => reported(sessions, operations, client, report::routes),
            AdminCommand::Who { path, method, host } => {
                client.reply(Ok(who::find(&self.shared, &path, &method, host.as_deref())));
            }
            AdminCommand::Reload => self.reload(client),
            AdminCommand::Slots => {
                let (shared, sessions) = (Arc::clone(&self.shared), sessions.all());
                tokio::spawn(async move {
                    client.reply(Ok(inspect::inspect(&shared, &sessions).await));
                });
            }
            AdminCommand::Drain { worker } => {
                let count = sessions.drain_by_operator(&worker);
                client.reply(done("draining", count, &worker));
            }
            AdminCommand::Evict { worker } => {
                let count = sessions.evict_by_operator(&worker);
                client.reply(done("evicted", count, &worker));
            }
            AdminCommand::Trace { route } => self.trace(sessions, client, route.as_deref()),
        }
    }

    fn reload(&self, client: Client) {
        reload_aside(Arc::clone(&self.shared), move |result| {
            client.reply(match result {
                Ok(changes) => Ok(json!({ "taken": changes.taken, "left": changes.left })),
                Err(problems) => {
                    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    Err(format!("nothing changes:\n  {}", lines.join("\n  ")))
                }
            });
        });
    }

    fn trace(&self, sessions: &Sessions, client: Client, route: Option<&str>) {
        let ids = match route {
            None => Vec::new(),
            Some(route) => sessions.route_ids_of(route),
        };
        if let Some(route) = route.filter(|_| ids.is_empty()) {
            let why = format!(
                "there is no route {route}; `slotway-hub routes` lists them, and patterns are \
                 written as they are registered"
            );
            return client.reply(Err(why));
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("trace".to_owned());
        let _ = thread.spawn(move || client.follow(&shared, ids));
    }
}

/// Sends a report once the reactors have said what it needs.
fn reported(
    sessions: &Sessions,
    operations: &Operations,
    client: Client,
    report: fn(&Observation) -> Value,
) {
    let made = operations.observe(sessions, move |observation| report(&observation));
    tokio::spawn(async move {
        let too_many = || "too many ask for this; try again".to_owned();
        client.reply(made.await.ok_or_else(too_many));
    });
}

fn done(what: &str, count: usize, worker: &str) -> Result<Value, String> {
    if count == 0 {
        return Err(format!(
            "no worker {worker} is attached; `slotway-hub workers` lists names, processes and \
             worker ids"
        ));
    }
    Ok(json!({ what: count }))
}

impl Client {
    /// Sends a whole reply, on a thread of its own.
    fn reply(self, result: Result<Value, String>) {
        let thread = std::thread::Builder::new().name("admin".to_owned());
        // Without a thread, the client sees its connection closed.
        let _ = thread.spawn(move || self.send(result));
    }

    fn send(&self, result: Result<Value, String>) {
        if self.begin().is_err() {
            return;
        }
        // In vain if the client has left, or does not read.
        let _ = match result {
            Ok(document) => {
                let text = document.to_string();
                Reply::pieces(text.as_bytes()).try_for_each(|piece| self.send_piece(piece))
            }
            Err(why) => self.send_piece(Reply {
                part: Part::Failed,
                piece: &why.as_bytes()[..why.len().min(REPLY_PIECE_BYTES_MAX)],
            }),
        };
    }

    fn begin(&self) -> std::io::Result<()> {
        rustix::io::ioctl_fionbio(&self.socket, false)?;
        packet::set_timeout(&self.socket, COMMAND_TIME)
    }

    fn send_piece(&self, reply: Reply<'_>) -> std::io::Result<()> {
        packet::send(&self.socket, &reply.to_packet(), &[])
    }

    fn has_left(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let found = rustix::event::poll(&mut fds, Some(&now));
        found.is_ok() && !fds[0].revents().is_empty()
    }

    /// Sends requests as they end, until the client leaves.
    fn follow(&self, shared: &Shared, ids: Vec<RouteId>) {
        if self.begin().is_err() {
            return;
        }
        let watching = shared.tap.watch(ids);
        while !shared.is_stopping() {
            let document = match watching.requests.recv_timeout(Duration::from_millis(500)) {
                Ok(request) => {
                    let lost = watching.lost.swap(0, Ordering::Relaxed);
                    line(&request, &shared.route_labels, lost)
                }
                Err(RecvTimeoutError::Timeout) if self.has_left() => return,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let piece = document.to_string();
            let reply = Reply {
                part: Part::More,
                piece: piece.as_bytes(),
            };
            if self.send_piece(reply).is_err() {
                if !self.has_left() {
                    tracing::warn!(
                        "somebody who follows requests (`slotway-hub trace`) was too slow, and was \
                         put out"
                    );
                }
                return;
            }
        }
        // In vain if the client has left.
        let _ = self.send_piece(Reply {
            part: Part::Last,
            piece: &[],
        });
    }
}

fn line(request: &EndedRequest, labels: &RouteLabels, lost: u64) -> Value {
    let labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
    let label = labels.get(request.route_id.index());
    let microseconds = |ns: u64| ns as f64 / 1000.0;
    let phases = request.phases_ns.map(|phases| {
        let phases = Phase::ALL.into_iter().zip(phases);
        phases
            .map(|(phase, ns)| (phase.label().to_owned(), json!(microseconds(ns))))
            .collect::<serde_json::Map<_, _>>()
    });
    json!({
        "at_ms": request.at_ms,
        "method": request.method,
        "route": label.map(|label| &label.route),
        "status": request.status,
        "aborted": request.is_aborted,
        "took_us": microseconds(request.took_ns),
        "phases_us": phases,
        "worker": request.session.as_ref().map(|session| &session.name),
        "pid": request.session.as_ref().and_then(|s| s.peer.pid).map(rustix::process::Pid::as_raw_pid),
        "lost": lost,
    })
}
