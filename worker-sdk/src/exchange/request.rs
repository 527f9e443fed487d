//! A request, read in place.

use std::net::{Ipv6Addr, SocketAddr};
use std::str;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};

use slotway_shm_proto::layout::{FieldEntry, RequestHead, Span, request_flags};
use slotway_shm_proto::{Method, trailers};

use super::hold::Hold;
use super::pattern::RoutePattern;
use super::response_lock::ResponseLock;
use crate::clock;
use crate::session::body_pool::CollectedBody;
use crate::session::{Session, SlotKey};

/// A request in its slot. Nothing of it has been copied or allocated: every
/// accessor looks into the shared memory where the hub has put it.
///
/// The slot is the request's until this value is dropped, so a response that an
/// async handler gives earlier leaves only then.
///
/// ```
/// use slotway_worker_sdk::Request;
/// use slotway_worker_sdk::response::Response;
///
/// fn greet(request: &Request) -> Response {
///     let name = request.param("name").unwrap_or("stranger");
///     request.response(200).text(format_args!("hello {name}"))
/// }
/// ```
pub struct Request {
    pub(crate) session: Arc<Session>,
    pub(crate) key: SlotKey,
    pub(crate) response_lock: ResponseLock,
    head: RequestHead,
    pub(crate) arena_offset: u64,
    pattern: Arc<RoutePattern>,
    /// A body that did not fit the arena.
    collected: Option<CollectedBody>,
    /// Interim responses that have been sent.
    pub(crate) interim_count: AtomicU16,
    /// Of async handlers only: see [`Hold`].
    _hold: Option<Hold>,
}

/// A request as the receiving thread hands it to a handler.
pub(crate) struct TakenRequest<'t> {
    pub session: &'t Arc<Session>,
    pub key: SlotKey,
    pub head: RequestHead,
    pub pattern: Arc<RoutePattern>,
    /// A body that did not fit the arena.
    pub collected: Option<CollectedBody>,
}

impl Request {
    pub(crate) fn new(taken: TakenRequest<'_>, hold: Option<Hold>) -> Self {
        let TakenRequest {
            session,
            key,
            head,
            pattern,
            collected,
        } = taken;
        Self {
            session: Arc::clone(session),
            key,
            response_lock: ResponseLock::default(),
            head,
            arena_offset: session.offsets(key).request_arena,
            pattern,
            collected,
            interim_count: AtomicU16::new(0),
            _hold: hold,
        }
    }

    fn text(&self, span: Span) -> &str {
        // The hub lets only visible ASCII through in targets, and only UTF-8
        // in parameters.
        str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    /// Method, as a token: `GET`.
    pub fn method(&self) -> &str {
        match Method::from_word(self.head.method) {
            Some(Method::Other) | None => self.text(self.head.method_token),
            Some(method) => method.as_str(),
        }
    }

    /// Request target as the client sent it (RFC 9112 section 3.2).
    pub fn target(&self) -> &str {
        self.text(self.head.target)
    }

    /// Path of the target, percent-encoded as the client sent it.
    pub fn path(&self) -> &str {
        self.text(self.head.path)
    }

    /// Query of the target without `?`, as the client sent it.
    pub fn query(&self) -> Option<&str> {
        self.has_flag(request_flags::HAS_QUERY)
            .then(|| self.text(self.head.query))
    }

    /// Pattern of the route that matched: `/items/{id}`.
    pub fn route_pattern(&self) -> &str {
        self.pattern.path()
    }

    /// Value of a parameter of the pattern, percent-decoded.
    pub fn param(&self, name: &str) -> Option<&str> {
        let index = self.pattern.param_index(name)?;
        self.param_at(index)
    }

    /// All parameters with their names, in the pattern's order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pattern
            .param_names()
            .enumerate()
            .filter_map(|(index, name)| Some((name, self.param_at(index)?)))
    }

    fn param_at(&self, index: usize) -> Option<&str> {
        let span: Span = self.table_entry(self.head.params_offset, self.head.param_count, index)?;
        Some(self.text(span))
    }

    /// Value of the first header field of that name, in any case, if it is
    /// visible ASCII or UTF-8. [`Request::headers`] gives all, as bytes.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// All header fields in the client's order. Fields that belong to the
    /// connection (RFC 9110 section 7.6.1) are the hub's and not among them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..self.head.field_count as usize).filter_map(|index| {
            let entry: FieldEntry =
                self.table_entry(self.head.fields_offset, self.head.field_count, index)?;
            Some((self.text(entry.name), self.bytes(entry.value)))
        })
    }

    fn table_entry<T: bytes_of::Entry>(&self, offset: u32, count: u32, index: usize) -> Option<T> {
        if index >= count as usize {
            return None;
        }
        let size = size_of::<T>() as u32;
        let span = Span {
            offset: offset.checked_add(index as u32 * size)?,
            bytes: size,
        };
        T::read(self.bytes(span))
    }

    /// The whole body.
    pub fn body(&self) -> &[u8] {
        match &self.collected {
            Some(body) => body,
            None => self.slot_body(),
        }
    }

    /// The fields that came behind the body (RFC 9110 section 6.5): names and values. Those that a
    /// client must not send there are not among them. A [`RequestBody`](crate::RequestBody) has those
    /// of its own.
    pub fn trailers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        trailers::fields(self.trailer_section())
    }

    pub(crate) fn trailer_section(&self) -> &[u8] {
        match &self.collected {
            Some(body) if !body.trailers.is_empty() => &body.trailers,
            _ => self.bytes(self.head.trailers),
        }
    }

    /// The body in the slot, where it is there as a whole.
    pub(crate) fn slot_body(&self) -> &[u8] {
        self.bytes(Span {
            offset: self.head.body_offset,
            bytes: self.head.body_bytes as u32,
        })
    }

    /// Where bytes stand in the request's arena, if they are a part of it.
    pub(crate) fn part_of(&self, bytes: &[u8]) -> Option<Span> {
        // Addresses alone: what lies in the arena behind the head may be changing.
        let nothing = self.bytes(Span::default());
        let arena_bytes = self.session.geometry.arena_bytes() as usize;
        let offset = bytes.as_ptr().addr().checked_sub(nothing.as_ptr().addr())?;
        let is_part = offset.checked_add(bytes.len())? <= arena_bytes;
        is_part.then_some(Span {
            offset: offset as u32,
            bytes: bytes.len() as u32,
        })
    }

    /// Length of the body, if that is known.
    #[cfg(feature = "tower")]
    pub(crate) fn body_length(&self) -> Option<u64> {
        let bytes = self.head.body_bytes;
        (bytes != slotway_shm_proto::layout::BODY_BYTES_UNKNOWN).then_some(bytes)
    }

    /// Whether a flag of [`request_flags`] is set.
    pub(crate) fn has_flag(&self, flag: u32) -> bool {
        self.head.flags & flag != 0
    }

    /// `https` where a proxy that the hub trusts says so, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.has_flag(request_flags::HTTPS) {
            "https"
        } else {
            "http"
        }
    }

    /// Who sent the request: the client that a proxy names which the hub trusts
    /// (then with port 0), else the hub's peer. Peers on a Unix socket have the
    /// unspecified address, `[::]:0`.
    pub fn peer(&self) -> SocketAddr {
        let address = Ipv6Addr::from(self.head.peer_address);
        SocketAddr::new(address.to_canonical(), self.head.peer_port as u16)
    }

    /// When the client gets 504, if that is settled: it is not for bodies that
    /// were still arriving when the request came.
    pub fn deadline(&self) -> Option<Instant> {
        if self.head.deadline_ns == 0 {
            return None;
        }
        let left = self.head.deadline_ns.saturating_sub(clock::monotonic_ns());
        Some(Instant::now() + Duration::from_nanos(left))
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("route_pattern", &self.route_pattern())
            .field("body_bytes", &self.body().len())
            .finish_non_exhaustive()
    }
}

/// Table entries, read from bytes without trusting their alignment.
mod bytes_of {
    use slotway_shm_proto::layout::{FieldEntry, Span};

    pub trait Entry: Sized {
        fn read(bytes: &[u8]) -> Option<Self>;
    }

    fn word(bytes: &[u8], index: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(
            bytes.get(index * 4..index * 4 + 4)?.try_into().ok()?,
        ))
    }

    fn span(bytes: &[u8], index: usize) -> Option<Span> {
        Some(Span {
            offset: word(bytes, index * 2)?,
            bytes: word(bytes, index * 2 + 1)?,
        })
    }

    impl Entry for Span {
        fn read(bytes: &[u8]) -> Option<Self> {
            span(bytes, 0)
        }
    }

    impl Entry for FieldEntry {
        fn read(bytes: &[u8]) -> Option<Self> {
            Some(Self {
                name: span(bytes, 0)?,
                value: span(bytes, 1)?,
            })
        }
    }
}
