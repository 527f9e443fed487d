//! Telling an SSE route's worker that a client has come or gone: a request through a
//! slot, as POST to the route, with the client's own head and a JSON document as body.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use slotway_shm_proto::Method;

use crate::answer::{self, Answer};
use crate::clock;
use crate::connection::Connection;
use crate::dispatch::{self, Dispatch, DispatchBody};
use crate::exchange::{Exchange, Outcome};
use crate::limits::SSE_SLOT_RETRY;
use crate::local_answer::LocalAnswer;
use crate::request::{Instead, least_loaded, text_of};
use crate::route::Lookup;
use crate::session::{RouteSpec, Session, SessionState};
use crate::slot::Event;
use crate::sse::registry::Params;

/// A client of an SSE route, as its worker is told of it.
pub(super) struct Client {
    /// By which it can be pushed to.
    pub connection: String,
    pub route: RouteSpec,
    pub path: String,
    pub params: Params,
    /// The last event that it has, as far as is known.
    pub last_event_id: Option<Arc<str>>,
    /// The worker that knows of it.
    pub owner: Option<Arc<Session>>,
}

/// What has happened to a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    Connect,
    Disconnect,
}

#[derive(Serialize)]
struct Document<'d> {
    sse_lifecycle: &'static str,
    params: BTreeMap<&'d str, &'d str>,
    path: &'d str,
    connection: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event_id: Option<&'d str>,
}

impl Client {
    fn document(&self, happened: Happened) -> Vec<u8> {
        let pairs = self.params.iter();
        let document = Document {
            sse_lifecycle: match happened {
                Happened::Connect => "connect",
                Happened::Disconnect => "disconnect",
            },
            params: pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            path: &self.path,
            connection: &self.connection,
            last_event_id: self.last_event_id.as_deref(),
        };
        serde_json::to_vec(&document).expect("strings serialise")
    }
}

impl Connection {
    /// Tells a live worker of the route that the client is there, and makes it the
    /// client's owner if it agrees. Returns the answer of one that does not.
    pub(super) async fn tell_connect(
        &mut self,
        client: &mut Client,
    ) -> Result<Option<(Exchange, Answer)>, Instead> {
        client.owner = None;
        let (exchange, answer) = self.tell(client, Happened::Connect, None).await?;
        if !answer
            .status
            .is_some_and(|status| (200..300).contains(&status))
        {
            return Ok(Some((exchange, answer)));
        }
        client.owner = Some(Arc::clone(&exchange.lane().session));
        self.end_telling(exchange);
        Ok(None)
    }

    /// Tells the client's owner that it has left. Nobody else knew of it.
    pub(super) async fn tell_disconnect(&mut self, client: &mut Client) {
        let Some(owner) = client.owner.take() else {
            return;
        };
        let told = self.tell(client, Happened::Disconnect, Some(&owner)).await;
        if let Ok((exchange, _)) = told {
            self.end_telling(exchange);
        } else {
            tracing::debug!(worker = owner.name, "not told that a client left");
        }
    }

    fn end_telling(&self, exchange: Exchange) {
        if exchange.is_streaming() {
            // Dropping it tells the worker that nobody reads on.
            drop(exchange);
        } else {
            self.after_answer(exchange);
        }
    }

    async fn tell(
        &mut self,
        client: &Client,
        happened: Happened,
        only: Option<&Arc<Session>>,
    ) -> Result<(Exchange, Answer), Instead> {
        let body = client.document(happened);
        let deadline_ms = clock::coarse_ms() + self.reactor.shared.config.timeout_ms();
        loop {
            let exchange = loop {
                if let Some(exchange) = self.try_tell(client, &body, only, deadline_ms)? {
                    break exchange;
                }
                if clock::coarse_ms() > deadline_ms {
                    return Err(self.timed_out().into());
                }
                tokio::time::sleep(SSE_SLOT_RETRY).await;
            };
            let streams = loop {
                if exchange.is_streaming() {
                    break true;
                }
                match poll_fn(|cx| exchange.poll_outcome(cx)).await {
                    Outcome::Event(Event::Answered) => break false,
                    Outcome::Event(Event::TimedOut) => return Err(self.timed_out().into()),
                    Outcome::WorkerGone if only.is_none() => break false,
                    Outcome::WorkerGone => return Err(self.worker_gone().into()),
                    Outcome::Event(Event::Changed) | Outcome::ClientLeft(_) => {}
                }
            };
            if exchange.lane().is_over() {
                // One that went takes what it was told with it: the next is told.
                continue;
            }
            let head = exchange.copy_head();
            let (generation, arena_bytes) = (exchange.generation(), exchange.arena_bytes());
            return match answer::check(&head, generation, arena_bytes, streams) {
                Ok(answer) => Ok((exchange, answer)),
                Err(violation) => Err(self.violated(&exchange, violation).into()),
            };
        }
    }

    /// `None`: there is a worker, but no slot of it is free.
    fn try_tell(
        &mut self,
        client: &Client,
        body: &[u8],
        only: Option<&Arc<Session>>,
        deadline_ms: u64,
    ) -> Result<Option<Exchange>, Instead> {
        let reactor = Rc::clone(&self.reactor);
        self.head.method = Some(Method::Post);
        reactor.with_routes(|table| {
            let gone = || LocalAnswer::error(503, "no worker for this event stream");
            // In the input, since the slot's parameters point into the head there.
            let path = text_of(&self.input, self.head.path);
            let Lookup::Found { targets, params } = table.lookup(Method::Get, path) else {
                return Err(gone().into());
            };
            let is_it = |session: &Session| {
                session.state() == SessionState::Live
                    && only.is_none_or(|only| only.id == session.id)
            };
            let found = least_loaded(targets, |target| {
                let route = &target.session.routes[target.route_index as usize];
                let is_eligible = is_it(&target.session) && *route == client.route;
                is_eligible.then(|| reactor.lane(&target.session)).flatten()
            });
            let (lane, route_index) = found.ok_or_else(gone)?;
            let Some(exchange) = lane.reserve() else {
                return Ok(None);
            };
            let dispatch = Dispatch {
                head: &self.head,
                head_bytes: &self.input[..self.head.bytes],
                params: &params,
                route_index,
                body: DispatchBody::Whole {
                    here: body,
                    waiting_bytes: 0,
                },
                client: self.client,
                deadline_ns: deadline_ms * 1_000_000,
                wants_times: false,
            };
            dispatch::write(&dispatch, &exchange, &mut self.scratch)
                .map_err(|error| LocalAnswer::error(error.status(), error.to_string()))?;
            exchange.submit(deadline_ms);
            reactor.mark(&lane);
            Ok(Some(exchange))
        })
    }

    /// Whether the client's owner is there no longer.
    pub(super) fn has_lost_owner(&self, client: &Client) -> bool {
        !client.owner.as_ref().is_some_and(|owner| {
            owner.state() == SessionState::Live && self.reactor.lane(owner).is_some()
        })
    }

    /// Whether a worker is there that could be told.
    pub(super) fn has_worker(&self, client: &Client) -> bool {
        let reactor = Rc::clone(&self.reactor);
        reactor.with_routes(|table| {
            let mut targets = table.targets_of(&client.route).iter();
            targets.any(|target| reactor.lane(&target.session).is_some())
        })
    }
}

const _: () = assert!(SSE_SLOT_RETRY.as_millis() < Duration::from_secs(1).as_millis());
