//! One client connection: read a head, answer the request, and again.
//!
//! Requests of a connection are answered one after the other, so pipelined
//! ones get their answers in order.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;

use slotway_net::{Peer, Stream, monotonic_ns};
use slotway_shm_proto::Method;

use crate::clock;
use crate::front::auth;
use crate::front::cors;
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::error::HeadError;
use crate::http::forwarded::Client;
use crate::http::head::RequestHead;
use crate::http::local_reply::LocalReply;
use crate::http::scan::HeadScanner;
use crate::limits::{
    IDLE_BUFFER_BYTES, IDLE_GRACE, LINGER_BYTES_MAX, LINGER_IDLE_TIME, LINGER_STOP_TIME,
    LINGER_TIME, READ_BUFFER_BYTES,
};
use crate::reactor::Reactor;
use crate::reactor::connections::{BodyDeadline, ConnectionState, Wait};
use crate::reactor::phases::Moments;
use crate::shared::auth::must_know_secret;
use crate::shared::counters::Counters;

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It serves the next one.
    Next,
    /// It serves the next one once this body has been read and dropped.
    Drain(u64),
    /// It ends once the client has had time to read the answer: it may still be
    /// sending, and a close over unread bytes resets the connection.
    Close,
    /// It ends at once: the answer could not be finished.
    Reset,
}

/// How much of the current request has left the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Head and body, as far as it has come, are there.
    Unused,
    /// The head is gone, and more of the body is to come.
    BodyUnderWay,
    /// All of it has been used.
    Used,
}

/// A read that goes on while something else is awaited.
pub type PendingRead = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)>>>;

/// See the module. The parts of a request's way are in `request` (what it asks
/// for and where it goes), `body`, `reply`, and `upload` and `download` (bodies
/// that stream).
pub struct Connection {
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) stream: Rc<Stream>,
    pub(crate) peer: Peer,
    pub(crate) client: Client,
    /// What was read and not used yet; starts with the current request's head.
    pub(crate) input: Vec<u8>,
    /// What is to be sent.
    pub(crate) output: Vec<u8>,
    /// A decoded body, or small texts on their way.
    pub(crate) scratch: Vec<u8>,
    pub(crate) head: RequestHead,
    pub(crate) progress: Progress,
    pub(crate) moments: Moments,
    pub(crate) pending_read: Option<PendingRead>,
    pub(crate) state: Rc<ConnectionState>,
    /// When the current request is given up, on the coarse clock.
    pub(crate) deadline_ms: u64,
    /// The current request may have run already and been given to another worker.
    pub(crate) is_repeated: bool,
    /// The client has closed its side since the current request came.
    pub(crate) client_closed: bool,
    request_count: u64,
    /// The peer must send the secret with every request.
    pub(crate) must_know_secret: bool,
    /// The allowed origin that the current request comes from.
    pub(crate) cors: Option<cors::Grant>,
}

/// Serves a connection to its end.
pub async fn serve(reactor: Rc<Reactor>, stream: Stream, peer: Peer) {
    let stream = Rc::new(stream);
    let (id, state) = reactor.add_connection(Rc::clone(&stream));
    let mut connection = Connection {
        reactor: Rc::clone(&reactor),
        stream,
        peer,
        client: Client {
            peer,
            is_https: false,
        },
        input: Vec::with_capacity(IDLE_BUFFER_BYTES),
        output: Vec::new(),
        scratch: Vec::new(),
        head: RequestHead::default(),
        progress: Progress::Unused,
        moments: Moments::default(),
        pending_read: None,
        state,
        deadline_ms: 0,
        is_repeated: false,
        client_closed: false,
        request_count: 0,
        must_know_secret: must_know_secret(peer),
        cors: None,
    };
    // Also if a panic ends the connection: the hub waits for all of them when it stops.
    let _entered = Entered {
        reactor,
        id,
        state: Rc::clone(&connection.state),
    };
    connection.state.learn_task().await;
    connection.run().await;
    drop(connection);
}

/// A connection's place in the reactor's list.
struct Entered {
    reactor: Rc<Reactor>,
    id: u64,
    state: Rc<ConnectionState>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An operation of the ring that nobody awaits any more ends with the
            // socket alone, and the reactor would wait for it when it stops.
            self.state.close();
        }
        self.reactor.remove_connection(self.id);
    }
}

impl Connection {
    async fn run(&mut self) {
        loop {
            let then = match self.read_head().await {
                Ok(true) => {
                    self.request_count += 1;
                    self.output = self.reactor.take_buffer();
                    let then = self.answer_request().await;
                    self.reactor.keep_buffer(std::mem::take(&mut self.output));
                    then
                }
                Ok(false) => return,
                Err(error) => {
                    let answer = self.head_error(error);
                    self.send_local(&answer, Then::Close).await
                }
            };
            match then {
                Then::Next => {}
                Then::Drain(bytes) => {
                    if !self.drain(bytes).await {
                        return self.stream.shutdown(Shutdown::Both);
                    }
                }
                Then::Close => return self.linger().await,
                Then::Reset => return self.stream.reset(),
            }
        }
    }

    /// Reads until a whole head is there; false when the client has no more.
    async fn read_head(&mut self) -> Result<bool, HeadError> {
        self.cors = None;
        let mut scanner = HeadScanner::new(self.reactor.head_limits);
        self.progress = Progress::Unused;
        let mut wait = Wait::Worker;
        loop {
            if !self.input.is_empty()
                && let Some(end) = scanner.find_end(&self.input)?
            {
                if self.reactor.takes_times {
                    self.moments.arrived_ns = monotonic_ns();
                }
                self.head.parse(&self.input[..end])?;
                self.state.wait_for_nothing();
                return Ok(true);
            }
            let idle = self.input.is_empty();
            let next = if idle { Wait::Request } else { Wait::Head };
            // The deadline of a head counts from its first byte, not from each.
            if next != wait {
                wait = next;
                let deadlines = &self.reactor.deadlines;
                let time_ms = match wait {
                    Wait::Head => deadlines.head_ms,
                    // The last answer may have said that the connection stays.
                    _ if self.reactor.is_stopping() => IDLE_GRACE.as_millis() as u64,
                    _ => deadlines.idle_ms,
                };
                self.state.wait_until(wait, clock::coarse_ms() + time_ms);
            }
            // A first read has the buffer as it is; a head that fills it gets more.
            let room = if self.input.len() < self.input.capacity() {
                0
            } else {
                READ_BUFFER_BYTES
            };
            let read = self.read_input(room).await;
            if !idle && self.state.is_overdue() {
                return Err(HeadError::Timeout);
            }
            // A client that leaves in the middle of a head gets no answer:
            // there is no whole request to answer.
            if !matches!(read, Ok(1..)) {
                return Ok(false);
            }
        }
    }

    /// The answer to what is no request.
    fn head_error(&mut self, error: HeadError) -> LocalReply {
        // An answer to HEAD has no body, whatever else is wrong with it.
        let request = self.input.trim_ascii_start();
        self.head.method = request.starts_with(b"HEAD ").then_some(Method::Head);
        if self.must_know_secret && !self.has_secret_line() {
            return auth::no_secret();
        }
        LocalReply::error(error.status(), error.to_string())
    }

    /// Reads once behind the input, with room for at least `spare_bytes`.
    pub(crate) async fn read_input(&mut self, spare_bytes: usize) -> io::Result<usize> {
        let mut buffer = std::mem::take(&mut self.input);
        buffer.reserve(spare_bytes);
        let (result, buffer) = self.stream.read(buffer).await;
        self.input = buffer;
        result
    }

    /// Sends the output. The request is over if that fails: the client is gone.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.wait_for_write();
        let buffer = std::mem::take(&mut self.output);
        let (result, buffer) = self.stream.write_all(buffer).await;
        self.keep_output(buffer);
        self.note_if_slow();
        result
    }

    /// Says that the client was ended for being slow, if it was.
    pub(crate) fn note_if_slow(&self) {
        if self.state.was_slow() {
            Counters::add(&self.reactor.shared.counters.slow_clients);
            tracing::warn!(
                client = %self.client.peer,
                "a client was too slow for a slot that others waited for, and was ended"
            );
        }
    }

    /// Sends the output without waiting for the end of the turn. With other
    /// requests in flight that is the better way (measured 1.06 times the
    /// requests/s and half the p99 at 16 connections); for a request by itself
    /// the ring is.
    pub(crate) async fn flush_now(&mut self) -> io::Result<()> {
        self.wait_for_write();
        let buffer = std::mem::take(&mut self.output);
        let (result, buffer) = self.stream.write_all_now(buffer).await;
        self.keep_output(buffer);
        result
    }

    fn wait_for_write(&self) {
        let time_ms = self.reactor.deadlines.write_ms;
        self.state
            .wait_until(Wait::Write, clock::coarse_ms() + time_ms);
    }

    fn keep_output(&mut self, mut buffer: Vec<u8>) {
        self.state.wait_for_nothing();
        self.state.add_moved(buffer.len() as u64);
        buffer.clear();
        self.output = buffer;
    }

    /// Drops a request's bytes from the input. What is left is the next one's.
    pub(crate) fn consume_input(&mut self, bytes: usize) {
        if bytes == self.input.len() {
            self.input.clear();
            // A client whose heads are large keeps its buffer; one that has sent
            // a body does not.
            if self.input.capacity() > 2 * READ_BUFFER_BYTES {
                self.input.shrink_to(IDLE_BUFFER_BYTES);
            }
        } else {
            self.input.drain(..bytes);
        }
    }

    /// Whether the connection stays open after the current request.
    pub(crate) fn keeps_alive(&self) -> bool {
        let most = self.reactor.shared.config.requests_per_connection;
        self.head.keep_alive
            && !self.reactor.is_stopping()
            && (most == 0 || self.request_count < most)
    }

    /// What the client is told about the connection.
    pub(crate) fn persistence(&self, then: Then) -> Persistence {
        match then {
            Then::Next | Then::Drain(_) if self.head.http_1_0 => Persistence::StaysHttp10,
            Then::Next | Then::Drain(_) => Persistence::Stays,
            _ => Persistence::Closes,
        }
    }

    /// Writes an answer of the hub's own and sends it.
    pub(crate) async fn send_local(&mut self, answer: &LocalReply, then: Then) -> Then {
        let framing = if encode::is_bodiless(answer.status) {
            BodyFraming::None
        } else {
            BodyFraming::Length(answer.body.len() as u64)
        };
        let persistence = self.persistence(then);
        encode::start(
            &mut self.output,
            answer.status,
            framing,
            persistence,
            self.reactor.date.borrow_mut().now(),
        );
        for (name, value) in &answer.fields {
            encode::field(&mut self.output, name, value);
        }
        self.append_cors_fields(self.output.len());
        encode::end_fields(&mut self.output);
        if self.head.method != Some(Method::Head) {
            self.output.extend_from_slice(&answer.body);
        }
        match self.flush().await {
            Ok(()) => then,
            Err(_) => Then::Reset,
        }
    }

    /// Reads and drops the rest of a body after an early answer. False: it did
    /// not come in time.
    async fn drain(&mut self, mut left: u64) -> bool {
        let mut deadline = BodyDeadline::start();
        loop {
            let here = left.min(self.input.len() as u64);
            self.consume_input(here as usize);
            left -= here;
            if left == 0 {
                return true;
            }
            deadline.add(here as usize);
            self.state
                .wait_until(Wait::Body, deadline.at_ms(&self.reactor.deadlines));
            if !matches!(self.read_input(READ_BUFFER_BYTES).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// Closes so that the client can read the answer though it still sends:
    /// half-close, read on for a while, close (RFC 9112 section 9.6).
    async fn linger(&mut self) {
        self.stream.shutdown(Shutdown::Write);
        let mut pending = self.pending_read.take();
        let mut buffer = std::mem::take(&mut self.input);
        let mut end_ms = clock::coarse_ms() + LINGER_TIME.as_millis() as u64;
        let (mut discarded, mut stops) = (0, false);
        while discarded < LINGER_BYTES_MAX {
            let now_ms = clock::coarse_ms();
            if !stops && self.reactor.is_stopping() {
                stops = true;
                end_ms = end_ms.min(now_ms + LINGER_STOP_TIME.as_millis() as u64);
            }
            let idle_ms = now_ms + LINGER_IDLE_TIME.as_millis() as u64;
            self.state.wait_until(Wait::Linger, end_ms.min(idle_ms));
            let read = if let Some(read) = pending.take() {
                read.await
            } else {
                buffer.clear();
                buffer.reserve(READ_BUFFER_BYTES);
                self.stream.read(buffer).await
            };
            buffer = read.1;
            match read.0 {
                Ok(bytes @ 1..) => discarded += bytes as u64,
                Ok(0) | Err(_) => break,
            }
        }
        self.state.wait_for_nothing();
    }
}
