//! A response, written straight into its slot.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use slotway_shm_proto::ByteRing;
use slotway_shm_proto::field::{
    SWITCHING_PROTOCOLS, is_token_byte, is_value_byte, may_be_a_workers,
};
use slotway_shm_proto::layout::{Span, request_flags};
use slotway_shm_proto::limits::{
    BODY_RING_BYTES_MIN, RESPONSE_FIELDS_BYTES_MAX, RESPONSE_STATUSES,
};

use crate::exchange::body_sender::BodySender;
use crate::exchange::request::Request;
use crate::exchange::upgrade::Upgrade;
use crate::limits::LENT_BYTES_MIN;
use crate::session::sockets::Expected;
use crate::session::{Session, SlotKey, stream};

/// A response that [`ResponseBuilder`] has made; a handler returns it.
///
/// It belongs to the request that it was made from: returned for another one
/// it turns into a 500.
#[derive(Debug)]
#[must_use = "a handler responds by returning it"]
pub struct Response {
    pub(crate) session_id: u64,
    pub(crate) key: SlotKey,
    pub(crate) status: u16,
    pub(crate) fields_bytes: u32,
    /// How much of the arena it may use.
    pub(crate) arena_bytes: u32,
    pub(crate) body: Body,
    pub(crate) fault: Option<&'static str>,
}

/// Where a response's body is.
#[derive(Debug)]
pub(crate) enum Body {
    /// In the response arena, from [`body_offset`] on.
    InSlot(u32),
    /// A part of the request's arena, where the hub finds it.
    OfRequest(Span),
    /// Too large for it; streams through it.
    Spilled(Vec<u8>),
    /// Written by a [`BodySender`]; of a length that may not be known.
    Written { length: Option<u64> },
    /// A part of a file.
    File(File, Range<u64>),
    /// None: the client's connection goes over to the handler.
    Upgrade(UpgradeGuard),
}

/// A connection is expected for as long as its response may be given.
pub(crate) struct UpgradeGuard {
    /// None once the response has been given.
    session: Option<Arc<Session>>,
    key: SlotKey,
}

impl UpgradeGuard {
    /// The response is given: what becomes of the connection is the hub's to say.
    pub(crate) fn keep(mut self) {
        self.session = None;
    }
}

impl fmt::Debug for UpgradeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeGuard")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Drop for UpgradeGuard {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.sockets.forget(self.key);
        }
    }
}

/// Begun with [`Request::response`]; ended by one of the body methods.
///
/// Field values must not hold control characters, and names must be tokens
/// (RFC 9110 section 5); otherwise the response becomes a 500 and the log says
/// why. `Content-Length`, `Date`, `Connection` and the like are the hub's and
/// left out here, but for `Connection: close`, which ends the client's connection, and
/// the `Upgrade` of a 101 or 426.
#[derive(Debug)]
#[must_use = "end it with a body method and return the response"]
pub struct ResponseBuilder<'r> {
    request: &'r Request,
    status: u16,
    /// This builder, and no other, may write the slot's response.
    may_write: bool,
    fields_bytes: u32,
    fault: Option<&'static str>,
}

/// What is wrong with a 101 that was not ended by [`ResponseBuilder::upgrade`].
const WITHOUT_UPGRADE: &str = "101 without an upgrade";

/// Bodies start on a multiple of this.
const BODY_ALIGN: u32 = 8;

/// Where the body starts behind a field section.
pub(crate) fn body_offset(fields_bytes: u32) -> u32 {
    fields_bytes.next_multiple_of(BODY_ALIGN)
}

impl Request {
    /// Begins the response, written straight into the slot. `status` is 200 to
    /// 599, or 101 to take up an upgrade ([`ResponseBuilder::upgrade`]).
    pub fn response(&self, status: u16) -> ResponseBuilder<'_> {
        ResponseBuilder::new(self, status)
    }
}

impl<'r> ResponseBuilder<'r> {
    fn new(request: &'r Request, status: u16) -> Self {
        let begun = request.response_lock.begin();
        let fault = match begun {
            Err(why) => Some(why),
            Ok(()) if RESPONSE_STATUSES.contains(&u32::from(status)) => None,
            Ok(())
                if status == SWITCHING_PROTOCOLS && request.has_flag(request_flags::UPGRADES) =>
            {
                None
            }
            Ok(()) if status == SWITCHING_PROTOCOLS => {
                Some("101 to a request that offers no upgrade")
            }
            Ok(()) => Some("a status outside 200 to 599"),
        };
        Self {
            request,
            status,
            may_write: begun.is_ok(),
            fields_bytes: 0,
            fault,
        }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if self.fault.is_some() || !may_be_a_workers(name.as_bytes(), value, self.status) {
            return self;
        }
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            self.fault = Some("a header field name that is not a token");
            return self;
        }
        if !value.iter().all(|byte| is_value_byte(*byte)) {
            self.fault = Some("a control character in a header field value");
            return self;
        }
        let bytes = name.len() + value.len() + 4;
        if self.fields_bytes as usize + bytes > RESPONSE_FIELDS_BYTES_MAX as usize {
            self.fault = Some("more header fields than a response may have");
            return self;
        }
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.write(self.fields_bytes, part);
            self.fields_bytes += part.len() as u32;
        }
        self
    }

    fn write(&self, offset: u32, bytes: &[u8]) {
        let session = &self.request.session;
        let arena = session.offsets(self.request.key).response_arena;
        session
            .regions
            .responses
            .write(arena + u64::from(offset), bytes);
    }

    /// Ends the response without a body.
    pub fn empty(self) -> Response {
        self.end(Body::InSlot(0))
    }

    /// Ends the answer with these bytes. The content type is a header's task. Bytes of the
    /// request itself are not copied.
    pub fn body(self, body: &[u8]) -> Response {
        if body.len() >= LENT_BYTES_MIN
            && let Some(part) = self.request.part_of(body)
        {
            return self.end(Body::OfRequest(part));
        }
        if body.len() > self.room() {
            let mut spilled = self.request.session.bodies.take(body.len());
            spilled.extend_from_slice(body);
            return self.end(Body::Spilled(spilled));
        }
        let mut writer = self.writer();
        writer.put(body);
        let body = writer.finish();
        self.end(body)
    }

    /// Like [`ResponseBuilder::body`]; a body too large for the slot is not
    /// copied once more.
    pub fn body_vec(self, body: Vec<u8>) -> Response {
        if body.len() > self.room() {
            self.end(Body::Spilled(body))
        } else {
            self.body(&body)
        }
    }

    /// Ends the answer with bytes of a content type.
    pub fn bytes(self, content_type: &str, body: &[u8]) -> Response {
        self.header("content-type", content_type).body(body)
    }

    /// Ends the answer with `text/plain`, formatted into the slot.
    pub fn text(self, text: impl fmt::Display) -> Response {
        let mut this = self.header("content-type", "text/plain; charset=utf-8");
        let mut writer = this.writer();
        let written = write!(writer, "{text}");
        let body = writer.finish();
        if written.is_err() {
            this.fault = this.fault.or(Some("a text that could not be formatted"));
        }
        this.end(body)
    }

    /// Ends the answer with `application/json`, serialised into the slot.
    pub fn json(self, value: &impl Serialize) -> Response {
        let mut this = self.header("content-type", "application/json");
        let mut writer = this.writer();
        let written = serde_json::to_writer(&mut writer, value);
        let body = writer.finish();
        if let Err(error) = written {
            tracing::error!(%error, "a response could not be serialised");
            this.fault = this.fault.or(Some("a JSON body that cannot be serialised"));
        }
        this.end(body)
    }

    /// Ends the head; the body is written by the sender, which may go to another
    /// task. Its length is not known ahead: clients get it in chunks.
    pub fn stream(self) -> (Response, BodySender) {
        self.end_streaming(None)
    }

    /// Like [`ResponseBuilder::stream`], for a body of this many bytes: clients get
    /// a Content-Length. Another number of bytes cuts the response off.
    pub fn stream_of_length(self, bytes: u64) -> (Response, BodySender) {
        self.end_streaming(Some(bytes))
    }

    fn end_streaming(self, length: Option<u64>) -> (Response, BodySender) {
        let session = Arc::clone(&self.request.session);
        let key = self.request.key;
        // A builder that may not write must not touch the slot's body either.
        if self.may_write {
            let offset = body_offset(self.fields_bytes);
            let ring = ByteRing::new(self.request.response_arena_bytes() - offset);
            stream::begin_out(&session, key, offset, ring);
        }
        let response = self.end(Body::Written { length });
        (response, BodySender::new(session, key))
    }

    /// Ends the answer with a part of a file, which the hub sends from the file itself: no byte of it
    /// goes through this process or the slot. It must be a regular file that is open for reading and has
    /// these bytes; what is behind the range may grow meanwhile, but what is in it must stay, or the
    /// response is cut off.
    ///
    /// ```
    /// use slotway_worker_sdk::Request;
    /// use slotway_worker_sdk::response::Response;
    ///
    /// fn download(request: &Request) -> Response {
    ///     match std::fs::File::open("/srv/report.pdf").and_then(|file| Ok((file.metadata()?.len(), file))) {
    ///         Ok((bytes, file)) => {
    ///             let response = request.response(200).header("content-type", "application/pdf");
    ///             response.file(file, 0..bytes)
    ///         }
    ///         Err(_) => request.response(404).empty(),
    ///     }
    /// }
    /// ```
    pub fn file(self, file: File, range: Range<u64>) -> Response {
        let is_range = range.start <= range.end;
        let mut response = self.end(Body::File(file, range));
        if !is_range {
            response.fault = response
                .fault
                .or(Some("a part of a file that ends before it begins"));
        }
        response
    }

    /// Ends a 101, whose Upgrade field says what is spoken from here on; the `Connection` field is
    /// added by the hub. The client's connection comes once the hub has sent the response.
    pub fn upgrade(self) -> (Response, Upgrade) {
        let session = Arc::clone(&self.request.session);
        let key = self.request.key;
        let may_write = self.may_write;
        let mut response = self.end(Body::InSlot(0));
        if response.status != SWITCHING_PROTOCOLS {
            response.fault = response
                .fault
                .or(Some("an upgrade with another status than 101"));
        }
        // A builder that may not write must not touch the slot's connection either.
        let expected = if may_write {
            let expected = session.sockets.expect(key);
            response.body = Body::Upgrade(UpgradeGuard {
                session: Some(session),
                key,
            });
            response.fault = response.fault.filter(|fault| *fault != WITHOUT_UPGRADE);
            expected
        } else {
            Arc::new(Expected::refused())
        };
        (response, Upgrade::new(expected))
    }

    fn room(&self) -> usize {
        (self.request.response_arena_bytes() - body_offset(self.fields_bytes)) as usize
    }

    fn writer(&self) -> BodyWriter<'_> {
        BodyWriter {
            builder: self,
            written: 0,
            spilled: None,
        }
    }

    fn end(mut self, body: Body) -> Response {
        if std::mem::take(&mut self.may_write) {
            self.request.response_lock.seal();
        }
        if self.status == SWITCHING_PROTOCOLS {
            self.fault = self.fault.or(Some(WITHOUT_UPGRADE));
        }
        Response {
            session_id: self.request.session.id,
            key: self.request.key,
            status: self.status,
            fields_bytes: self.fields_bytes,
            arena_bytes: self.request.response_arena_bytes(),
            body,
            fault: self.fault,
        }
    }
}

impl Drop for ResponseBuilder<'_> {
    fn drop(&mut self) {
        // Begun and not ended: another may begin.
        if self.may_write {
            self.request.response_lock.abandon();
        }
    }
}

/// Writes a body into the arena for as long as it fits, then onto the heap.
struct BodyWriter<'b> {
    builder: &'b ResponseBuilder<'b>,
    written: usize,
    spilled: Option<Vec<u8>>,
}

impl BodyWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if self.builder.fault.is_some() {
            return;
        }
        if let Some(spilled) = &mut self.spilled {
            spilled.extend_from_slice(bytes);
            return;
        }
        let start = body_offset(self.builder.fields_bytes);
        if bytes.len() <= self.builder.room() - self.written {
            self.builder.write(start + self.written as u32, bytes);
            self.written += bytes.len();
            return;
        }
        let request = self.builder.request;
        let mut spilled = request
            .session
            .bodies
            .take((self.written + bytes.len()) * 2);
        let arena = request.session.offsets(request.key).response_arena;
        request.session.regions.responses.append_to(
            arena + u64::from(start),
            self.written,
            &mut spilled,
        );
        spilled.extend_from_slice(bytes);
        self.spilled = Some(spilled);
    }

    fn finish(self) -> Body {
        match self.spilled {
            Some(spilled) => Body::Spilled(spilled),
            None => Body::InSlot(self.written as u32),
        }
    }
}

impl fmt::Write for BodyWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

impl io::Write for BodyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const _: () = assert!(
    RESPONSE_FIELDS_BYTES_MAX + BODY_RING_BYTES_MIN <= slotway_shm_proto::limits::ARENA_BYTES_MIN,
    "behind the largest field section there is room for a body ring"
);
