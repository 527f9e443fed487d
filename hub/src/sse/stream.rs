//! A connection that serves one client of an event stream, until either side ends.

use std::cell::RefCell;
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_user_timeout;
use slotway_net::Hangup;
use slotway_shm_proto::Method;
use tokio::task::{JoinError, JoinHandle};

use super::notice::{AfterHangup, Notice};
use super::notify::{self, NotNotified, Notified};
use super::ownership::{Next, NotifyEnd, Ownership};
use super::send::{send_events, send_piece, send_stream_head};
use super::subscriber::{Owner, Subscriber, head_for_worker};
use crate::events::feed::Feed;
use crate::events::frame::KEEP_ALIVE;
use crate::events::registry::{Client, Topic};
use crate::http::encode;
use crate::http::local_reply::LocalReply;
use crate::http::target::percent_decode;
use crate::lanes::response_head::ResponseBody;
use crate::limits::{EVENT_NAME_BYTES_MAX, SSE_RETRY_TIME, STATUS_PAGE_COUNT_MAX};
use crate::proxy::dispatch::stream_takes_no_body;
use crate::proxy::{outcome, reply, wait};
use crate::routing::registration::RouteSpec;
use crate::shared::id::new_id;
use crate::wire::call::Progress;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// What a client may say that it has seen last.
const LAST_EVENT_ID: &[u8] = b"last-event-id";

/// Why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ClientLeft,
    /// The hub stops, or the route's new worker does not want the client.
    HubEnds,
}

/// What a stream waits for.
enum News {
    Hangup(Hangup),
    /// There are events, or the client was too slow for them.
    Feed,
    Notified(NotifyEnd<Owner>),
    HubStops,
    RoutesChanged,
    /// A worker that could not be notified is to be tried again.
    RetryDue,
    /// Nothing has been sent for a while.
    Silence,
}

/// A subscriber with what changes while it is served.
struct Served {
    subscriber: Rc<Subscriber>,
    ownership: Ownership<Owner, JoinHandle<Result<Notified, NotNotified>>>,
    /// The last event that it has, as far as is known.
    last_event_id: Option<Arc<str>>,
}

/// `GET /events` and `GET /events/{channel}`; `path` is without the prefix of the hub's own
/// paths.
pub async fn serve_own(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    path: String,
) -> Result<AfterRequest, EarlyEnd> {
    let topic = match path.strip_prefix("/events/") {
        Some(raw) if !raw.is_empty() && !raw.contains('/') => Topic::Channel(decode(raw)?),
        Some(_) => return Err(LocalReply::error(404, format!("no route for {path}")).into()),
        None => Topic::All,
    };
    serve_topic(wire, call, method, topic).await
}

async fn serve_topic(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    topic: Topic,
) -> Result<AfterRequest, EarlyEnd> {
    match method {
        Method::Get => {}
        Method::Head => return Err(head_alone().into()),
        _ => {
            let reply = LocalReply::error(405, "allowed here: GET, HEAD");
            return Err(reply.with("Allow", "GET, HEAD").into());
        }
    }
    refuse_body(call)?;
    if wire.reactor.is_stopping() {
        return begin_and_end(wire, call).await;
    }
    let shared = Arc::clone(&wire.reactor.shared);
    let count_max = shared.config.sse_buffer as usize;
    if topic != Topic::Status {
        wire.recorder().began_event_stream();
    }
    let listening = shared
        .streams
        .enter(vec![topic], Client::default(), count_max);
    call.take(wire, call.head.bytes, Progress::Done);
    let end = stream_events(wire, call, &listening.feed, None).await;
    drop(listening);
    end_stream(wire, call, end).await
}

/// What the status page is told as it happens.
pub async fn serve_status(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
) -> Result<AfterRequest, EarlyEnd> {
    if wire.reactor.shared.streams.count(&Topic::Status) >= STATUS_PAGE_COUNT_MAX {
        return Err(outcome::overloaded("too many status pages are open").into());
    }
    serve_topic(wire, call, method, Topic::Status).await
}

/// A route that its worker has registered as an event stream.
pub async fn serve_route(
    wire: &mut Wire,
    call: &mut Call,
    route: RouteSpec,
) -> Result<AfterRequest, EarlyEnd> {
    if call.head.method == Some(Method::Head) {
        return Err(head_alone().into());
    }
    refuse_body(call)?;
    if wire.reactor.is_stopping() {
        return begin_and_end(wire, call).await;
    }
    let subscriber = Rc::new(subscriber(wire, call, route)?);
    let last_event_id = last_event_id(wire, call);
    call.take(wire, call.head.bytes, Progress::Done);
    if !subscriber.fits() {
        let why = "the request head is too large to notify this route's worker";
        return Err(LocalReply::error(431, why).into());
    }
    let shared = Arc::clone(&wire.reactor.shared);
    let topics = vec![
        Topic::Path(subscriber.path().to_owned()),
        Topic::Pattern(subscriber.route.path.as_str().to_owned()),
        Topic::Connection(subscriber.connection.clone()),
    ];
    // What the worker pushes while it is notified of the client must not be missed.
    let count_max = shared.config.sse_buffer as usize;
    let client = Client {
        params: subscriber.params.clone(),
        host: subscriber.route.host.clone(),
    };
    let listening = shared.streams.enter(topics, client, count_max);
    let owner = match connect(wire, call, &subscriber, last_event_id.as_deref()).await? {
        Notified::Accepted(owner) => owner,
        Notified::Refused(mut exchange, response) => {
            drop(listening);
            if let ResponseBody::Stream { bytes, .. } = response.body {
                reply::begin_stream(wire, &mut exchange, bytes.is_none())?;
            }
            return reply::send(wire, call, exchange, &response, None).await;
        }
    };
    wire.recorder().began_event_stream();
    let mut served = Served {
        subscriber,
        ownership: Ownership::Known(owner),
        last_event_id,
    };
    let end = stream_events(wire, call, &listening.feed, Some(&mut served)).await;
    listening.feed.close();
    drop(listening);
    if let Some(task) = served.ownership.task()
        && !served.subscriber.notice.borrow().is_submitted()
        && !task.is_finished()
    {
        // No worker has begun with it.
        task.abort();
    }
    // The client need not wait until its worker knows.
    let after = end_stream(wire, call, end).await;
    wire.state.stream().shutdown(Shutdown::Write);
    let owner = match served.ownership {
        Ownership::Known(owner) => Some(owner),
        Ownership::Notifying(task) => match end_of(task.await) {
            NotifyEnd::Known(owner) => Some(owner),
            NotifyEnd::Unwanted | NotifyEnd::Failed => None,
        },
        Ownership::Nobody { .. } => None,
    };
    if let Some(owner) = owner {
        let last_event_id = served.last_event_id.as_deref();
        notify::disconnect(&served.subscriber, &owner, last_event_id).await;
    }
    after
}

/// What came of the task that notified a worker.
fn end_of(joined: Result<Result<Notified, NotNotified>, JoinError>) -> NotifyEnd<Owner> {
    match joined {
        Ok(Ok(Notified::Accepted(owner)) | Err(NotNotified::Unknown(owner))) => {
            NotifyEnd::Known(owner)
        }
        Ok(Ok(Notified::Refused(..)) | Err(NotNotified::NoStream)) => NotifyEnd::Unwanted,
        // The second is a panic, which has been printed, or an end before its beginning.
        Ok(Err(NotNotified::Reply(_))) | Err(_) => NotifyEnd::Failed,
    }
}

/// Lets a worker decide about a new client. One that leaves meanwhile is told of as
/// any other, if a worker has begun with it.
async fn connect(
    wire: &Wire,
    call: &mut Call,
    subscriber: &Rc<Subscriber>,
    last_event_id: Option<&str>,
) -> Result<Notified, EarlyEnd> {
    let reactor = &wire.reactor;
    reactor.hangups.begin(&wire.state);
    reactor.hangups.watch_now(&wire.state);
    let mut notifying = pin!(notify::connect(subscriber, last_event_id));
    // What a hangup means for a client that is in is seen to once it is.
    let mut seen = None;
    let notified = loop {
        tokio::select! {
            notified = &mut notifying => break notified,
            hangup = wire.state.hangup() => {
                seen = Some(hangup);
                let is_gone = hangup == Hangup::Gone || wire.is_client_gone() == Some(true);
                let next = subscriber.notice.borrow_mut().hung_up(is_gone);
                match next {
                    AfterHangup::MayEnd => wait::after_hangup(wire, call, hangup)?,
                    AfterHangup::GoOn => {}
                }
            }
        }
    };
    if let Some(hangup) = seen {
        wire.state.hung_up(hangup);
    }
    match notified {
        Ok(notified) => Ok(notified),
        Err(NotNotified::Reply(reply)) => Err(reply.into()),
        Err(NotNotified::NoStream) => {
            let why = "the route is no longer an event stream";
            Err(outcome::overloaded(why).into())
        }
        Err(NotNotified::Unknown(owner)) => {
            let subscriber = Rc::clone(subscriber);
            tokio::task::spawn_local(async move {
                notify::disconnect(&subscriber, &owner, None).await;
            });
            Err(LocalReply::error(504, "the worker did not respond in time").into())
        }
    }
}

fn refuse_body(call: &Call) -> Result<(), EarlyEnd> {
    if call.head.has_body() {
        return Err(stream_takes_no_body().into());
    }
    Ok(())
}

/// The hub stops, and this is a last request on an old connection. A browser would
/// take any error for final; after an empty stream it comes back, over a new
/// connection, to the hub that is there then.
async fn begin_and_end(wire: &mut Wire, call: &mut Call) -> Result<AfterRequest, EarlyEnd> {
    call.take(wire, call.head.bytes, Progress::Done);
    let begun = send_stream_head(wire, call).await;
    begun.map_err(|_| EarlyEnd::ClientGone)?;
    end_stream(wire, call, End::HubEnds).await
}

fn subscriber(wire: &Wire, call: &Call, route: RouteSpec) -> Result<Subscriber, LocalReply> {
    let names = route.path.param_names();
    let params = names
        .zip(call.params.values(call.path(wire)))
        .map(|(name, raw)| Ok((name.to_owned(), decode(raw)?)))
        .collect::<Result<_, LocalReply>>()?;
    let connection =
        new_id().map_err(|error| outcome::overloaded(&format!("cannot create an id: {error}")))?;
    let id = wire.state.request_id.borrow();
    let given = call.given_fields(&id, None);
    let (head, head_bytes) = head_for_worker(&call.head, &wire.input[..call.head.bytes]);
    Ok(Subscriber {
        reactor: Rc::clone(&wire.reactor),
        connection,
        route,
        params,
        raw_params: call.params.clone(),
        head,
        head_bytes,
        given: given
            .as_slice()
            .iter()
            .map(|(name, value)| (*name, (*value).into()))
            .collect(),
        client: wire.client,
        notice: RefCell::new(Notice::Waiting),
    })
}

/// One that is longer than any event's is none of ours.
fn last_event_id(wire: &Wire, call: &Call) -> Option<Arc<str>> {
    let id = call.head.field_value(&wire.input, LAST_EVENT_ID)?;
    let id = std::str::from_utf8(id).ok()?;
    (1..=EVENT_NAME_BYTES_MAX)
        .contains(&id.len())
        .then(|| id.into())
}

/// Sends events until the stream ends. A subscriber that lost its worker is told of to the
/// next.
async fn stream_events(
    wire: &mut Wire,
    call: &mut Call,
    feed: &Feed,
    mut served: Option<&mut Served>,
) -> End {
    let reactor = Rc::clone(&wire.reactor);
    let state = Rc::clone(&wire.state);
    let write_ms = reactor.deadlines().write_ms;
    // A client that is silently gone is so for the system, too, after that time.
    // Fails for Unix sockets, which know at once.
    let _ = set_tcp_user_timeout(wire.state.stream(), write_ms.try_into().unwrap_or(u32::MAX));
    reactor.hangups.begin(&state);
    reactor.hangups.watch_now(&state);
    if send_stream_head(wire, call).await.is_err() {
        return End::ClientLeft;
    }
    let interval = reactor.shared.config.sse_sweep_interval();
    let watched = match &served {
        Some(served) => {
            let route = &served.subscriber.route;
            let workers = reactor.live_workers(route);
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
        if let Some(served) = &mut served {
            served.notify_if_due();
        }
        match send_events(wire, call, feed).await {
            Ok(None) => {}
            Ok(last_id @ Some(_)) => {
                if let Some(served) = &mut served {
                    served.last_event_id = last_id;
                }
            }
            Err(_) => return End::ClientLeft,
        }
        let now = Instant::now();
        let retry_at = served
            .as_ref()
            .and_then(|served| served.ownership.retry_at(now));
        let news = tokio::select! {
            biased;
            hangup = state.hangup() => News::Hangup(hangup),
            () = feed.news() => News::Feed,
            notified = notification(&mut served) => News::Notified(end_of(notified)),
            () = until(retry_at) => News::RetryDue,
            () = stops => News::HubStops,
            () = changed => News::RoutesChanged,
            () = silence(interval) => News::Silence,
        };
        let must_probe = match after(news, feed, &mut served) {
            Ok(must_probe) => must_probe,
            Err(end) => return end,
        };
        // Within an event, what is sent next is its rest, and tells as much.
        if must_probe && !feed.is_within_event() {
            let probe = |out: &mut Vec<u8>| out.extend_from_slice(KEEP_ALIVE);
            if send_piece(wire, call, probe).await.is_err() {
                return End::ClientLeft;
            }
        }
    }
}

/// Waits until a moment, if there is one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until a stream that gets no event is to be sent a comment.
async fn silence(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// The end of the notification that is under way, if one is.
async fn notification(
    served: &mut Option<&mut Served>,
) -> Result<Result<Notified, NotNotified>, JoinError> {
    match served.as_mut().and_then(|served| served.ownership.task()) {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// What follows from what has happened: whether the client must be sent something to see
/// that it is there, or the end.
fn after(news: News, feed: &Feed, served: &mut Option<&mut Served>) -> Result<bool, End> {
    match (news, served) {
        (News::Hangup(Hangup::Gone), _) => Err(End::ClientLeft),
        (News::Feed, _) if feed.is_cut() => Err(End::ClientLeft),
        (News::HubStops, _) => Err(End::HubEnds),
        // Whether a half-closed client has left altogether shows when something is sent.
        (News::Hangup(Hangup::Half) | News::Silence, _) => Ok(true),
        (News::Notified(end), Some(served)) => {
            match served
                .ownership
                .finish(end, Instant::now() + SSE_RETRY_TIME)
            {
                Next::Stay => Ok(false),
                Next::End => Err(End::HubEnds),
            }
        }
        (News::RoutesChanged, Some(served)) => {
            served.ownership.routes_changed();
            Ok(false)
        }
        (News::Feed | News::Notified(_) | News::RoutesChanged | News::RetryDue, _) => Ok(false),
    }
}

impl Served {
    /// Begins to notify a worker, if the last one has gone and another is there.
    fn notify_if_due(&mut self) {
        let subscriber = &self.subscriber;
        let is_live = |owner: &Owner| subscriber.live_owner(owner).is_some();
        if !self.ownership.is_due(Instant::now(), is_live) || !subscriber.has_worker() {
            return;
        }
        // On its own: a client that takes its time must not hold a slot.
        let (subscriber, id) = (Rc::clone(subscriber), self.last_event_id.clone());
        let notifying = async move { notify::connect(&subscriber, id.as_deref()).await };
        self.ownership.begin(tokio::task::spawn_local(notifying));
    }
}

async fn end_stream(wire: &mut Wire, call: &Call, end: End) -> Result<AfterRequest, EarlyEnd> {
    if end == End::ClientLeft {
        return Err(EarlyEnd::ClientGone);
    }
    if !call.head.http_1_0 {
        wire.output.extend_from_slice(encode::LAST_CHUNK);
        wire.flush().await.map_err(|_| EarlyEnd::ClientGone)?;
    }
    Ok(AfterRequest::Close)
}

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
