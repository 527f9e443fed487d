//! A connection that serves one client of an event stream, until either side ends.

use std::cell::Cell;
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_user_timeout;
use slotway_net::Hangup;
use slotway_shm_proto::Method;
use tokio::task::JoinHandle;

use crate::events::feed::Feed;
use crate::events::frame::KEEP_ALIVE;
use crate::events::registry::{Params, Topic};
use crate::front::connection::{Connection, Progress, Then};
use crate::front::request::{Instead, stream_takes_no_body};
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::local_reply::LocalReply;
use crate::http::target::percent_decode;
use crate::limits::EVENT_NAME_BYTES_MAX;
use crate::routing::registration::RouteSpec;
use crate::routing::table::Lookup;
use crate::shared::id::new_id;
use crate::sse::notify::{Client, Owner, Told, Untold, head_for_worker};

/// What a client may say that it has seen last.
const LAST_EVENT_ID: &[u8] = b"last-event-id";

/// Why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ClientLeft,
    /// The hub stops, or the route's new worker does not want the client.
    HubEnds,
}

/// A client of an SSE route with what changes while it is served.
struct Served {
    client: Rc<Client>,
    owner: Owner,
    /// The last event that it has, as far as is known.
    last_event_id: Option<Arc<str>>,
    /// A new worker is being told of it.
    telling: Option<JoinHandle<Result<Told, Untold>>>,
}

impl Connection {
    /// `GET /events` and `GET /events/{channel}`.
    pub(crate) async fn serve_events(&mut self, method: Method) -> Result<Then, Instead> {
        let path = self.text(self.head.path);
        let topic = match path.strip_prefix("/events/") {
            Some(raw) if !raw.is_empty() && !raw.contains('/') => Topic::Channel(decode(raw)?),
            Some(_) => return Err(LocalReply::error(404, format!("no route for {path}")).into()),
            None => Topic::All,
        };
        match method {
            Method::Get => {}
            Method::Head => return Err(head_alone().into()),
            _ => {
                let answer = LocalReply::error(405, "allowed here: GET, HEAD");
                return Err(answer.with("Allow", "GET, HEAD").into());
            }
        }
        self.refuse_body()?;
        if self.reactor.is_stopping() {
            return self.begin_and_end().await;
        }
        let shared = Arc::clone(&self.reactor.shared);
        let count_max = shared.config.sse_buffer as usize;
        let listening = shared.streams.enter(vec![topic], Params::new(), count_max);
        self.use_input(self.head.bytes, Progress::Used);
        let end = self.stream_events(&listening.feed, None).await;
        drop(listening);
        self.end_stream(end).await
    }

    /// A route that its worker has registered as an event stream.
    pub(crate) async fn serve_sse_route(&mut self, route: RouteSpec) -> Result<Then, Instead> {
        if self.head.method == Some(Method::Head) {
            return Err(head_alone().into());
        }
        self.refuse_body()?;
        if self.reactor.is_stopping() {
            return self.begin_and_end().await;
        }
        let client = Rc::new(self.sse_client(route)?);
        let last_event_id = self.last_event_id();
        self.use_input(self.head.bytes, Progress::Used);
        if !client.fits() {
            let why = "the request's head is too large for this route's worker to be told of it";
            return Err(LocalReply::error(431, why).into());
        }
        let shared = Arc::clone(&self.reactor.shared);
        let topics = vec![
            Topic::Path(client.path().to_owned()),
            Topic::Pattern(client.route.path.as_str().to_owned()),
            Topic::Connection(client.connection.clone()),
        ];
        // What the worker pushes while it is told of the client must not be missed.
        let count_max = shared.config.sse_buffer as usize;
        let listening = shared
            .streams
            .enter(topics, client.params.clone(), count_max);
        let owner = match self.connect(&client, last_event_id.as_deref()).await? {
            Told::Accepted(owner) => owner,
            Told::Refused(exchange, answer) => {
                drop(listening);
                return self.send_answer(exchange, &answer).await;
            }
        };
        let mut served = Served {
            client: Rc::clone(&client),
            owner,
            last_event_id,
            telling: None,
        };
        let end = self.stream_events(&listening.feed, Some(&mut served)).await;
        listening.feed.close();
        drop(listening);
        let telling = served.telling.take();
        let telling = telling.filter(|telling| {
            // No worker has begun with it.
            let is_needed = client.is_submitted.get() || telling.is_finished();
            if !is_needed {
                telling.abort();
            }
            is_needed
        });
        // The client need not wait until its worker knows.
        let then = self.end_stream(end).await;
        self.stream.shutdown(Shutdown::Write);
        if let Some(telling) = telling
            && let Ok(Ok(Told::Accepted(owner)) | Err(Untold::Unknown(owner))) = telling.await
        {
            served.owner = owner;
        }
        let last_event_id = served.last_event_id.as_deref();
        client.tell_disconnect(&served.owner, last_event_id).await;
        then
    }

    /// Lets a worker decide about a new client. One that leaves meanwhile is told of as
    /// any other, if a worker has begun with it.
    async fn connect(
        &mut self,
        client: &Rc<Client>,
        last_event_id: Option<&str>,
    ) -> Result<Told, Instead> {
        let reactor = Rc::clone(&self.reactor);
        reactor.lookout.begin(&self.state);
        reactor.lookout.watch_now(&self.state);
        let mut telling = pin!(client.tell_connect(last_event_id));
        // What a hangup means for a client that is in is seen to once it is.
        let mut seen = None;
        let told = loop {
            tokio::select! {
                told = &mut telling => break told,
                hangup = self.state.hangup() => {
                    seen = Some(hangup);
                    // A worker that has begun must get to its end.
                    if hangup == Hangup::Half || !client.is_submitted.get() {
                        self.after_hangup(hangup)?;
                    }
                    client.has_left.set(hangup == Hangup::Gone);
                }
            }
        };
        if let Some(hangup) = seen {
            self.state.hung_up(hangup);
        }
        match told {
            Ok(told) => Ok(told),
            Err(Untold::Answer(answer)) => Err(answer.into()),
            Err(Untold::NoStream) => {
                let why = "the route is no event stream any more";
                Err(LocalReply::error(503, why).with("Retry-After", "1").into())
            }
            Err(Untold::Unknown(owner)) => {
                let client = Rc::clone(client);
                tokio::task::spawn_local(async move {
                    client.tell_disconnect(&owner, None).await;
                });
                Err(LocalReply::error(504, "the worker did not answer in time").into())
            }
        }
    }

    fn refuse_body(&self) -> Result<(), Instead> {
        if self.head.has_body() {
            return Err(stream_takes_no_body().into());
        }
        Ok(())
    }

    /// The hub stops, and this is a last request on an old connection. A browser would
    /// take any error for final; after an empty stream it comes back, over a new
    /// connection, to the hub that is there then.
    async fn begin_and_end(&mut self) -> Result<Then, Instead> {
        self.use_input(self.head.bytes, Progress::Used);
        let begun = self.send_stream_head().await;
        begun.map_err(|_| Instead::ClientGone)?;
        self.end_stream(End::HubEnds).await
    }

    fn sse_client(&self, route: RouteSpec) -> Result<Client, LocalReply> {
        let path = self.text(self.head.path);
        let params = self.reactor.with_routes(|table| {
            let Lookup::Found { params, .. } = table.lookup(Method::Get, path) else {
                return Ok(Params::new());
            };
            let names = route.path.param_names();
            names
                .zip(params.iter())
                .map(|(name, raw)| Ok((name.to_owned(), decode(raw)?)))
                .collect()
        })?;
        Ok(Client {
            reactor: Rc::clone(&self.reactor),
            connection: new_id().map_err(|error| {
                LocalReply::error(503, format!("no id can be made: {error}"))
                    .with("Retry-After", "1")
            })?,
            route,
            params,
            head: head_for_worker(&self.head, &self.input),
            head_bytes: self.input[..self.head.bytes].to_vec(),
            peer: self.client,
            is_submitted: Cell::new(false),
            has_left: Cell::new(false),
        })
    }

    /// One that is longer than any event's is none of ours.
    fn last_event_id(&self) -> Option<Arc<str>> {
        let id = std::str::from_utf8(self.field_value(LAST_EVENT_ID)?).ok()?;
        (1..=EVENT_NAME_BYTES_MAX)
            .contains(&id.len())
            .then(|| id.into())
    }

    /// Sends events until the stream ends. Whoever lost its worker is told to the next.
    async fn stream_events(&mut self, feed: &Feed, mut served: Option<&mut Served>) -> End {
        let reactor = Rc::clone(&self.reactor);
        let write_ms = reactor.deadlines.write_ms;
        // A client that is silently gone is so for the system, too, after that time.
        // Fails for Unix sockets, which know at once.
        let _ = set_tcp_user_timeout(&*self.stream, write_ms.try_into().unwrap_or(u32::MAX));
        reactor.lookout.begin(&self.state);
        reactor.lookout.watch_now(&self.state);
        if self.send_stream_head().await.is_err() {
            return End::ClientLeft;
        }
        let interval = Duration::from_millis(reactor.shared.config.sse_sweep_interval_ms);
        // Telling has failed: again when the routes change, or after the time of a sweep.
        let mut again_at = None;
        let watched = match &served {
            Some(served) => {
                let route = &served.client.route;
                let workers = reactor.with_routes(|table| reactor.live_workers(table, route));
                reactor.route_changes.watch(route, workers)
            }
            None => Rc::default(),
        };
        loop {
            let mut stops = pin!(reactor.stops.notified());
            let mut changed = pin!(watched.changed.notified());
            // From here on neither is missed.
            stops.as_mut().enable();
            changed.as_mut().enable();
            if reactor.is_stopping() {
                return End::HubEnds;
            }
            if let Some(served) = &mut served
                && served.telling.is_none()
                && again_at.is_none_or(|at| Instant::now() >= at)
                && served.client.live_owner(&served.owner).is_none()
                && served.client.has_worker()
            {
                // What it holds of one that has gone is let go of.
                served.owner = Weak::new();
                // On its own: a client that takes its time must not hold a slot.
                let (client, id) = (Rc::clone(&served.client), served.last_event_id.clone());
                let telling = async move { client.tell_connect(id.as_deref()).await };
                served.telling = Some(tokio::task::spawn_local(telling));
            }
            match self.send_events(feed).await {
                Ok(None) => {}
                Ok(last_id @ Some(_)) => {
                    if let Some(served) = &mut served {
                        served.last_event_id = last_id;
                    }
                }
                Err(_) => return End::ClientLeft,
            }
            let told = async {
                let telling = served.as_mut().and_then(|served| served.telling.as_mut());
                match telling {
                    Some(telling) => telling.await,
                    None => std::future::pending().await,
                }
            };
            let must_probe = tokio::select! {
                biased;
                hangup = self.state.hangup() => match hangup {
                    Hangup::Gone => return End::ClientLeft,
                    // Whether it has left altogether shows when something is sent.
                    Hangup::Half => true,
                },
                () = feed.news() => false,
                told = told => {
                    let Some(served) = &mut served else { continue };
                    served.telling = None;
                    match told {
                        Ok(Ok(Told::Accepted(owner)) | Err(Untold::Unknown(owner))) => {
                            served.owner = owner;
                        }
                        Ok(Ok(Told::Refused(..)) | Err(Untold::NoStream)) => return End::HubEnds,
                        // The second is a panic, which has been printed.
                        Ok(Err(Untold::Answer(_))) | Err(_) => {
                            again_at = Some(Instant::now() + interval);
                        }
                    }
                    continue;
                }
                () = stops => return End::HubEnds,
                () = changed => {
                    again_at = None;
                    false
                }
                () = tokio::time::sleep(interval) => true,
            };
            // Within an event, what is sent next is its rest, and tells as much.
            if must_probe
                && !feed.is_within_event()
                && self
                    .send_piece(|out| out.extend_from_slice(KEEP_ALIVE))
                    .await
                    .is_err()
            {
                return End::ClientLeft;
            }
        }
    }

    /// Sends what is there, and returns the last id of it.
    async fn send_events(&mut self, feed: &Feed) -> std::io::Result<Option<Arc<str>>> {
        if feed.is_empty() {
            return Ok(None);
        }
        let mut last_id = None;
        self.send_piece(|out| last_id = feed.take(out)).await?;
        Ok(last_id)
    }

    async fn send_stream_head(&mut self) -> std::io::Result<()> {
        let framing = if self.head.http_1_0 {
            BodyFraming::UntilClose
        } else {
            BodyFraming::Chunked
        };
        encode::start(
            &mut self.output,
            200,
            framing,
            Persistence::Closes,
            self.reactor.date.borrow_mut().now(),
        );
        for (name, value) in STREAM_FIELDS {
            encode::field(&mut self.output, name, value);
        }
        self.append_cors_fields(self.output.len());
        encode::end_fields(&mut self.output);
        self.flush().await?;
        self.give_buffer_back();
        Ok(())
    }

    /// Sends a piece of the stream, as a chunk where there are chunks.
    async fn send_piece(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        self.output = self.reactor.take_buffer();
        if self.head.http_1_0 {
            write(&mut self.output);
        } else {
            encode::chunk(&mut self.output, write);
        }
        let sent = self.flush().await;
        self.give_buffer_back();
        sent
    }

    /// A client that waits for events needs none.
    fn give_buffer_back(&mut self) {
        self.reactor.keep_buffer(std::mem::take(&mut self.output));
    }

    async fn end_stream(&mut self, end: End) -> Result<Then, Instead> {
        if end == End::ClientLeft {
            return Err(Instead::ClientGone);
        }
        if !self.head.http_1_0 {
            self.output.extend_from_slice(encode::LAST_CHUNK);
            self.flush().await.map_err(|_| Instead::ClientGone)?;
        }
        Ok(Then::Close)
    }
}

/// The fields of every event stream's head. nginx as a proxy in front would hold
/// events back but for the last one.
const STREAM_FIELDS: [(&str, &str); 3] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
];

fn head_alone() -> LocalReply {
    LocalReply::empty(200).with("Content-Type", "text/event-stream")
}

fn decode(raw: &str) -> Result<String, LocalReply> {
    let mut bytes = Vec::new();
    let is_decoded = percent_decode(raw.as_bytes(), &mut bytes)
        .map_err(|error| LocalReply::error(error.status(), error.to_string()))?;
    if !is_decoded {
        return Ok(raw.to_owned());
    }
    String::from_utf8(bytes).map_err(|_| LocalReply::error(400, "the path is not UTF-8"))
}
