//! A connection that serves one client of an event stream, until either side ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;
use slotway_net::Hangup;
use slotway_shm_proto::Method;

use crate::connection::{Connection, Progress, Then};
use crate::control::attach::new_id;
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::target::percent_decode;
use crate::local_answer::LocalAnswer;
use crate::request::{Instead, stream_takes_no_body};
use crate::route::Lookup;
use crate::session::RouteSpec;
use crate::sse::event::KEEP_ALIVE;
use crate::sse::feed::Feed;
use crate::sse::lifecycle::Client;
use crate::sse::registry::{Params, Topic};

/// What a client may say that it has seen last.
const LAST_EVENT_ID: &[u8] = b"last-event-id";

/// Why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    ClientLeft,
    /// The hub stops, or the route's new worker does not want the client.
    HubEnds,
}

impl Connection {
    /// `GET /events` and `GET /events/{channel}`.
    pub(crate) async fn serve_events(&mut self, method: Method) -> Result<Then, Instead> {
        let path = self.text(self.head.path);
        let topic = match path.strip_prefix("/events/") {
            Some(raw) if !raw.is_empty() && !raw.contains('/') => Topic::Channel(decode(raw)?),
            Some(_) => return Err(LocalAnswer::error(404, format!("no route for {path}")).into()),
            None => Topic::All,
        };
        match method {
            Method::Get => {}
            Method::Head => return Err(head_alone().into()),
            _ => {
                let answer = LocalAnswer::error(405, "allowed here: GET, HEAD");
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
        let mut client = self.sse_client(route)?;
        let shared = Arc::clone(&self.reactor.shared);
        let topics = vec![
            Topic::Path(client.path.clone()),
            Topic::Pattern(client.route.path.clone()),
            Topic::Connection(client.connection.clone()),
        ];
        // What the worker pushes while it is told of the client must not be missed.
        let count_max = shared.config.sse_buffer as usize;
        let listening = shared
            .streams
            .enter(topics, client.params.clone(), count_max);
        if let Some((exchange, answer)) = self.tell_connect(&mut client).await? {
            drop(listening);
            let head_bytes = self.head.bytes;
            self.use_input(head_bytes, Progress::Used);
            return self.send_answer(exchange, &answer).await;
        }
        let end = self.stream_events(&listening.feed, Some(&mut client)).await;
        listening.feed.close();
        self.tell_disconnect(&mut client).await;
        drop(listening);
        self.end_stream(end).await
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
        let begun = self.send_stream_head().await;
        begun.map_err(|_| Instead::ClientGone)?;
        self.end_stream(End::HubEnds).await
    }

    fn sse_client(&self, route: RouteSpec) -> Result<Client, LocalAnswer> {
        let path = self.text(self.head.path);
        let params = self.reactor.with_routes(|table| {
            let Lookup::Found { params, .. } = table.lookup(Method::Get, path) else {
                return Ok(Params::new());
            };
            let params = params.iter();
            params
                .map(|(name, raw)| Ok((name.to_owned(), decode(raw)?)))
                .collect()
        })?;
        let last = self.field_value(LAST_EVENT_ID);
        let last = last.and_then(|id| std::str::from_utf8(id).ok());
        Ok(Client {
            connection: new_id(),
            route,
            path: path.to_owned(),
            params,
            last_event_id: last.filter(|id| !id.is_empty()).map(Into::into),
            owner: None,
        })
    }

    /// Sends events until the stream ends. Whoever lost its worker is told to the next.
    async fn stream_events(&mut self, feed: &Feed, mut client: Option<&mut Client>) -> End {
        let reactor = std::rc::Rc::clone(&self.reactor);
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
        let mut routes_version = reactor.routes_version();
        loop {
            let mut changed = pin!(reactor.changes.notified());
            // From here on a change is not missed.
            changed.as_mut().enable();
            if reactor.is_stopping() {
                return End::HubEnds;
            }
            if let Some(client) = &mut client
                && self.has_lost_owner(client)
                && self.has_worker(client)
            {
                // After an error again when the routes change, or at the next sweep.
                if let Ok(Some((exchange, _))) = self.tell_connect(client).await {
                    drop(exchange);
                    return End::HubEnds;
                }
            }
            let mut text = std::mem::take(&mut self.scratch);
            text.clear();
            let last_id = feed.take(&mut text);
            let sent = self.send_piece(&text).await;
            if sent.is_err() {
                return End::ClientLeft;
            }
            if let (Some(client), Some(id)) = (&mut client, last_id) {
                client.last_event_id = Some(id);
            }
            if !feed.is_empty() || routes_version != reactor.routes_version() {
                routes_version = reactor.routes_version();
                continue;
            }
            let is_alive = tokio::select! {
                biased;
                hangup = self.state.hangup() => match hangup {
                    Hangup::Gone => return End::ClientLeft,
                    // Whether it has left altogether shows when something is sent.
                    Hangup::Half => true,
                },
                () = feed.news() => false,
                () = changed => false,
                () = tokio::time::sleep(interval) => true,
            };
            if is_alive && self.send_piece(KEEP_ALIVE).await.is_err() {
                return End::ClientLeft;
            }
        }
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
        self.give_buffers_back();
        Ok(())
    }

    /// Sends a piece of the stream, if there is one, as a chunk where there are chunks.
    async fn send_piece(&mut self, text: &[u8]) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.output = self.reactor.take_buffer();
        if self.head.http_1_0 {
            self.output.extend_from_slice(text);
        } else {
            encode::chunk_size(&mut self.output, text.len() as u32);
            self.output.extend_from_slice(text);
            self.output.extend_from_slice(b"\r\n");
        }
        let sent = self.flush().await;
        self.give_buffers_back();
        sent
    }

    /// A client that waits for events needs none.
    fn give_buffers_back(&mut self) {
        self.reactor.keep_buffer(std::mem::take(&mut self.output));
    }

    async fn end_stream(&mut self, end: End) -> Result<Then, Instead> {
        if end == End::ClientLeft {
            return Err(Instead::ClientGone);
        }
        let head_bytes = self.head.bytes;
        self.use_input(head_bytes, Progress::Used);
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

fn head_alone() -> LocalAnswer {
    LocalAnswer::empty(200).with("Content-Type", "text/event-stream")
}

fn decode(raw: &str) -> Result<String, LocalAnswer> {
    let mut bytes = Vec::new();
    let is_decoded = percent_decode(raw.as_bytes(), &mut bytes)
        .map_err(|error| LocalAnswer::error(error.status(), error.to_string()))?;
    if !is_decoded {
        return Ok(raw.to_owned());
    }
    String::from_utf8(bytes).map_err(|_| LocalAnswer::error(400, "the path is not UTF-8"))
}
