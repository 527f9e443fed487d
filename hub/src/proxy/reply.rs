//! A worker's answer on its way to the client: awaited, checked, encoded.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use slotway_net::monotonic_ns;
use slotway_shm_proto::Method;

use crate::front::connection::{Connection, Progress, Then};
use crate::front::request::Instead;
use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::field_section::{self, FieldSection};
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::lane::Violation;
use crate::lanes::response_head::{self, Answer, AnswerBody};
use crate::lanes::slot::Event;
use crate::lanes::streams::StreamClient;
use crate::limits::DIRECT_SEND_BYTES_MIN;
use crate::proxy::download::Download;
use crate::proxy::wait::overloaded;
use crate::shared::counters::Counters;

impl Connection {
    /// Waits for the answer's head and checks it. If the worker goes before it has
    /// begun, another one answers; the exchange is that one's then.
    pub(crate) async fn await_answer(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Answer, Instead> {
        let streams = loop {
            if exchange.is_streaming() {
                break true;
            }
            match exchange.outcome(&self.state).await {
                Outcome::Event(Event::Answered) => break false,
                Outcome::Event(Event::Changed) => {}
                Outcome::Event(Event::TimedOut) => return Err(self.timed_out().into()),
                Outcome::WorkerGone => {
                    *exchange = Box::pin(self.hand_on(exchange)).await?;
                    self.tell_if_closed(exchange);
                }
                Outcome::ClientLeft(hangup) => {
                    self.after_hangup(hangup)?;
                    self.tell_if_closed(exchange);
                }
            }
        };
        if self.reactor.takes_times {
            self.moments.seen_ns = monotonic_ns();
        }
        let route_index = exchange.own_route_index();
        if let Some(habit) = exchange.lane().habit(route_index) {
            habit.learn(streams);
        }
        if streams && !exchange.begin_late_stream(Rc::clone(&self.state) as Rc<dyn StreamClient>) {
            Counters::add(&self.reactor.shared.counters.streams_refused);
            tracing::warn!(
                worker = exchange.lane().session.name,
                "503: too many of its answers are being streamed to clients"
            );
            let why = "too many answers of this worker are being streamed to clients";
            return Err(overloaded(why).into());
        }
        let head = exchange.copy_head();
        response_head::check(
            &head,
            exchange.generation(),
            exchange.arena_bytes(),
            streams,
        )
        .map_err(|violation| self.violated(exchange, violation).into())
    }

    /// 504, counted.
    pub(crate) fn timed_out(&self) -> LocalReply {
        Counters::add(&self.reactor.shared.counters.timed_out);
        LocalReply::error(504, "the worker did not answer in time")
    }

    /// 502, counted.
    pub(crate) fn worker_gone(&self) -> LocalReply {
        Counters::add(&self.reactor.shared.counters.worker_gone);
        LocalReply::error(502, "the worker went away before it answered")
    }

    /// 502, and the worker is reported.
    pub(crate) fn violated(&self, exchange: &Exchange, violation: Violation) -> LocalReply {
        self.reactor.report_violation(exchange.lane(), violation);
        Counters::add(&self.reactor.shared.counters.bad_answer);
        LocalReply::error(502, "the worker's answer was invalid")
    }

    /// Writes and sends a worker's answer.
    pub(crate) async fn send_answer(
        &mut self,
        exchange: Exchange,
        answer: &Answer,
    ) -> Result<Then, Instead> {
        (self.moments.taken_ns, self.moments.answered_ns) = answer.times_ns;
        let then = match self.progress {
            Progress::BodyUnderWay => Then::Close,
            _ if self.keeps_alive() && !self.ends_with_the_connection(answer) => Then::Next,
            _ => Then::Close,
        };
        let then = match self.encode_head(&exchange, answer, then) {
            Ok(then) => then,
            Err(why) => {
                Counters::add(&self.reactor.shared.counters.bad_answer);
                let worker = &exchange.lane().session.name;
                tracing::warn!(worker, "502: the worker's answer cannot be sent: {why}");
                return Err(LocalReply::error(502, "the worker's answer was invalid").into());
            }
        };
        let without_body = self.head.method == Some(Method::Head)
            || answer.status.is_some_and(encode::has_no_content);
        match answer.body {
            AnswerBody::Whole { offset, bytes } => {
                if !without_body && self.send_directly(&exchange, offset, bytes)? {
                    self.after_answer(exchange);
                    return Ok(self.note_written(then));
                }
                let lane = Rc::clone(exchange.lane());
                self.after_answer(exchange);
                let sent = if lane.used_count() > 0 {
                    self.flush_now().await
                } else {
                    self.flush().await
                };
                sent.map_err(|_| Instead::ClientGone)?;
            }
            // Dropping the exchange tells the worker that nobody reads on.
            AnswerBody::Stream { .. } if without_body => {
                drop(exchange);
                self.flush().await.map_err(|_| Instead::ClientGone)?;
            }
            AnswerBody::Stream {
                offset,
                ring,
                bytes,
            } => {
                let chunked = bytes.is_none() && !self.head.http_1_0;
                let source = Download {
                    offset,
                    ring,
                    left: bytes,
                    chunked,
                };
                if !self.download(exchange, source).await? {
                    return Ok(Then::Reset);
                }
            }
        }
        Ok(self.note_written(then))
    }

    fn note_written(&mut self, then: Then) -> Then {
        if let Some(phases) = &self.reactor.phases {
            self.moments.written_ns = monotonic_ns();
            phases.borrow_mut().record(&self.moments);
        }
        then
    }

    /// Puts a part of the arena behind what is in the output, unless it is large:
    /// then both are sent at once, which spares a copy, and only what the socket
    /// does not take is left in the output. True: nothing is.
    pub(crate) fn send_directly(
        &mut self,
        exchange: &Exchange,
        offset: u32,
        bytes: u32,
    ) -> Result<bool, Instead> {
        let mut sent = 0;
        if bytes >= DIRECT_SEND_BYTES_MIN {
            let head = &self.output;
            match exchange.send_from_arena(self.stream.as_fd(), head, offset, bytes) {
                Ok(count) => {
                    self.state.add_moved(count as u64);
                    sent = count;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(Instead::ClientGone),
            }
        }
        let of_head = sent.min(self.output.len());
        let of_body = (sent - of_head) as u32;
        self.output.drain(..of_head);
        exchange.append_from_arena(offset + of_body, bytes - of_body, &mut self.output);
        Ok(self.output.is_empty())
    }

    /// An HTTP/1.0 client knows the end of such a body by nothing else.
    fn ends_with_the_connection(&self, answer: &Answer) -> bool {
        self.head.http_1_0 && matches!(answer.body, AnswerBody::Stream { bytes: None, .. })
    }

    /// Gives the slot back; a lane that drains may thereby be done.
    pub(crate) fn after_answer(&self, exchange: Exchange) {
        let lane = Rc::clone(exchange.lane());
        exchange.release();
        self.reactor.after_drain_step(&lane);
    }

    fn framing_of(&self, status: u16, body: &AnswerBody) -> BodyFraming {
        let length = match body {
            AnswerBody::Whole { bytes, .. } => Some(u64::from(*bytes)),
            AnswerBody::Stream { bytes, .. } => *bytes,
        };
        match length {
            _ if encode::is_bodiless(status) => BodyFraming::None,
            _ if encode::has_no_content(status) => BodyFraming::Length(0),
            Some(bytes) => BodyFraming::Length(bytes),
            // Nothing is framed, and what a GET's length is nobody knows.
            None if self.head.method == Some(Method::Head) => BodyFraming::None,
            None if self.head.http_1_0 => BodyFraming::UntilClose,
            None => BodyFraming::Chunked,
        }
    }

    fn encode_head(
        &mut self,
        exchange: &Exchange,
        answer: &Answer,
        mut then: Then,
    ) -> Result<Then, String> {
        let status = answer.status.ok_or("a status outside 200 to 599")?;
        let framing = self.framing_of(status, &answer.body);
        let start = self.output.len();
        let mut date = self.reactor.date.borrow_mut();
        let output = &mut self.output;
        encode::start(output, status, framing, Persistence::Stays, date.now());
        if self.reactor.shared.config.server_timing {
            self.moments.append_server_timing(&mut self.output);
        }
        let fields_start = self.output.len();
        exchange.append_from_arena(0, answer.fields_bytes, &mut self.output);
        // Judged after the copy: nobody can change these bytes any more.
        match field_section::check(&self.output[fields_start..], status) {
            Ok(FieldSection { closes: true }) => then = Then::Close,
            Ok(FieldSection { closes: false }) => {
                let persistence = self.persistence(then);
                encode::persistence(&mut self.output, persistence);
            }
            Err(error) => {
                self.output.truncate(start);
                return Err(error.to_string());
            }
        }
        if status == encode::UPGRADE_REQUIRED {
            // Who sends Upgrade must say that it is for this connection alone.
            encode::field(&mut self.output, "Connection", "upgrade");
        }
        if !self.reactor.shared.config.cors_allow_origin.is_empty() {
            drop(date);
            self.append_cors_fields(fields_start);
        }
        encode::end_fields(&mut self.output);
        Ok(then)
    }
}
