//! Every structure that lives in shared memory, and where.
//!
//! ```text
//! requests region (the hub writes)           responses region (the worker writes)
//! 0      RegionHeader                        0      RegionHeader (written by the hub
//!                                                   before the worker is told of it)
//! 4096   Line × THREAD_COUNT_MAX             4096   Line × THREAD_COUNT_MAX
//!        doorbell of each worker thread             sleep epoch of each worker thread,
//!                                                   the CPU that it is kept to
//! 8192   lane 0                              8192   lane 0
//!        +0    Line submission tail                 +0    Line submission head
//!        +64   Line completion head                 +64   (unused)
//!        +128  Line hub's sleep epoch, its CPU      +128  (unused)
//!        +192  (unused)                             +192  (unused)
//!        +256  submission ring                      +256  completion ring
//!              RingEntry × entry_count                    RingEntry × entry_count
//!        slot 0                                     slot 0
//!          +0    RequestHead      128 B               +0   ResponseHead     64 B
//!          +128  RequestWords      64 B               +64  ResponseWords    64 B
//!          +192  arena                                +128 arena
//!        slot 1 …                                   slot 1 …
//!        lane 1 … (each starts on a page)           lane 1 …
//!
//! request arena                              response arena
//!   the head as the client sent it,            field section in wire form
//!   without what is hop-by-hop                 ("name: value\r\n" …)
//!   FieldEntry × field_count                   body, or body ring
//!   Span × param_count
//!   decoded parameter text
//!   body, or body ring
//! ```
//!
//! Slot strides are deliberately no multiple of a page: the heads of
//! neighbouring slots then fall into different sets of the first-level cache.

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use crate::limits::INTERIM_BYTES_MAX;

/// Rises whenever anything in this file changes its meaning. Hub and worker
/// must have the same one.
pub const LAYOUT_VERSION: u32 = 3;

/// First word of both regions: `slotway` in ASCII, then a zero.
pub const MAGIC: u64 = u64::from_le_bytes(*b"slotway\0");

/// What the start of each region says about it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RegionHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`LAYOUT_VERSION`].
    pub layout_version: u32,
    /// Lanes of the session.
    pub lane_count: u32,
    /// Slots of each lane.
    pub slot_count: u32,
    /// Bytes of each arena.
    pub arena_bytes: u32,
    /// Bytes of the whole region.
    pub region_bytes: u64,
}

/// One entry of either ring, as two words: `slot_index | kind << 32` and
/// `generation | sequence << 32`. The second is stored last, with Release.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RingEntry {
    /// Slot index in the low half, entry kind in the high half.
    pub slot_and_kind: u64,
    /// Generation in the low half, position + 1 in the high half.
    pub generation_and_sequence: u64,
}

/// A run of bytes in an arena, counted from the arena's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Length.
    pub bytes: u32,
}

/// One field line of a request head.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FieldEntry {
    /// Field name as the client spelt it.
    pub name: Span,
    /// Field value without the white space around it.
    pub value: Span,
}

/// What the hub says of a request. Plain data: complete before the submission
/// is published, unchanged until the slot is answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RequestHead {
    /// Which use of the slot this is; never 0.
    pub generation: u32,
    /// Index of the route in the worker's registration.
    pub route_index: u32,
    /// A [`crate::Method`]; 0 for another, which `method_token` has.
    pub method: u32,
    /// See [`request_flags`].
    pub flags: u32,
    /// Request target as sent (RFC 9112 section 3.2).
    pub target: Span,
    /// Path of the target, not decoded.
    pub path: Span,
    /// Query of the target without `?`, not decoded.
    pub query: Span,
    /// Offset of the first [`FieldEntry`].
    pub fields_offset: u32,
    /// Field lines.
    pub field_count: u32,
    /// Offset of the first parameter [`Span`]; in the pattern's order.
    pub params_offset: u32,
    /// Parameters of the route pattern.
    pub param_count: u32,
    /// Where the body, or its ring, starts in the arena.
    pub body_offset: u32,
    /// Size of the body ring; 0 when the whole body is in the arena.
    pub body_ring_bytes: u32,
    /// Length of the body, [`BODY_BYTES_UNKNOWN`] while it streams chunked.
    pub body_bytes: u64,
    /// When the client gets 504, on `CLOCK_MONOTONIC`; 0 while not yet known.
    pub deadline_ns: u64,
    /// Peer address as IPv6, IPv4 mapped (RFC 4291 section 2.5.5.2).
    pub peer_address: [u8; 16],
    /// Peer port; 0 where there is none.
    pub peer_port: u32,
    /// The token of a method that is no [`crate::Method`].
    pub method_token: Span,
    /// Fields behind a body that is all in the arena, in wire form; empty if there are none.
    pub trailers: Span,
    /// Zero.
    pub reserved: [u32; 3],
}

/// Words of a slot that the hub may write while the worker works on it. All
/// are tagged with the generation in the high half, so that what is left from
/// an earlier use reads as "nothing yet".
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct RequestWords {
    /// Body bytes put into the ring ([`crate::ByteRing`] cursor).
    pub body_produced: u64,
    /// How the body ended: a [`crate::BodyEnd`].
    pub body_end: u64,
    /// Bytes of the response body taken from the worker's ring (cursor).
    pub response_consumed: u64,
    /// See [`crate::claim`]: [`crate::claim::CANCELLED`] once nobody waits for the
    /// response any more.
    pub cancelled: u64,
    /// Bytes of the body's trailers: see [`trailers`](crate::trailers).
    pub trailers: u64,
    /// The last [`ResponseWords::interim`] that was sent to the client, or dropped.
    pub interim_taken: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// What the worker says of a response. The hub copies it out once, checks the
/// copy, and never reads it again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ResponseHead {
    /// Generation that is answered.
    pub generation: u32,
    /// Status code, 200 to 599.
    pub status: u32,
    /// Bytes of the field section, which starts the arena.
    pub fields_bytes: u32,
    /// Where the body, or its ring, starts in the arena.
    pub body_offset: u32,
    /// Size of the body ring; 0 when the whole body is in the arena.
    pub body_ring_bytes: u32,
    /// See [`response_flags`].
    pub flags: u32,
    /// Length of the body, [`BODY_BYTES_UNKNOWN`] when it is not known ahead.
    pub body_bytes: u64,
    /// When a thread took the request, on `CLOCK_MONOTONIC`; 0 if not asked for.
    pub taken_ns: u64,
    /// When the handler had answered; 0 if not asked for.
    pub responded_ns: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Bits of [`ResponseHead::flags`].
pub mod response_flags {
    /// The SDK made the response, since the handler panicked or what it returned was not
    /// valid.
    pub const FAILED: u32 = 1;
    /// The body is a part of the request's arena, where it stands already: `body_offset` counts
    /// from that one's start. Only of a body that does not stream.
    pub const BODY_IN_REQUEST: u32 = 1 << 1;
    /// The status is 101, and the worker takes over the client's socket: see
    /// [`upgrade`](crate::upgrade). Only of a request that has
    /// [`UPGRADES`](super::request_flags::UPGRADES).
    pub const UPGRADES: u32 = 1 << 2;
    /// The body is a part of a file whose descriptor was sent before: see
    /// [`file_body`](crate::file_body). Only of a body that does not stream.
    pub const BODY_IS_FILE: u32 = 1 << 3;
}

/// Words of a slot that the worker writes one by one, tagged as in
/// [`RequestWords`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ResponseWords {
    /// Value 1 from the moment before the handler runs.
    pub taken: u64,
    /// Body bytes put into the ring (cursor).
    pub body_produced: u64,
    /// How the body ended: a [`crate::BodyEnd`].
    pub body_end: u64,
    /// Bytes of the request body taken from the hub's ring (cursor).
    pub request_consumed: u64,
    /// Value 1 once the handler reads a body whose client expects 100.
    pub wants_body: u64,
    /// Bytes of the body's trailers: see [`trailers`](crate::trailers).
    pub trailers: u64,
    /// An interim response (RFC 9110 section 15.2) that is to go before the final one: see
    /// [`Interim`].
    pub interim: u64,
    /// Zero.
    pub reserved: u64,
}

/// An interim response of status 103, as its word has it. Its fields, in wire form, begin where the
/// last [`INTERIM_BYTES_MAX`] bytes of the response's arena do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interim {
    /// Which of the request's, from 1 on.
    pub number: u16,
    /// Bytes of its fields.
    pub fields_bytes: u16,
}

impl Interim {
    /// As a word.
    pub fn to_word(self) -> u32 {
        u32::from(self.number) << 16 | u32::from(self.fields_bytes)
    }

    /// From a word; `None` if it has more than there can be.
    pub fn from_word(word: u32) -> Option<Self> {
        let (number, fields_bytes) = ((word >> 16) as u16, word as u16);
        (u32::from(fields_bytes) <= INTERIM_BYTES_MAX).then_some(Self {
            number,
            fields_bytes,
        })
    }
}

/// Route index of a ping, which the SDK answers itself, with 200 and no body.
pub const PING_ROUTE_INDEX: u32 = u32::MAX;

/// A body whose length is known only at its end.
pub const BODY_BYTES_UNKNOWN: u64 = u64::MAX;

/// Bits of [`RequestHead::flags`].
pub mod request_flags {
    /// The target has a query, which may be empty.
    pub const HAS_QUERY: u32 = 1;
    /// The hub wants `taken_ns` and `responded_ns`.
    pub const WANTS_TIMES: u32 = 1 << 1;
    /// The client spoke HTTP/1.0.
    pub const HTTP_1_0: u32 = 1 << 2;
    /// A trusted proxy says that the client spoke TLS to it.
    pub const HTTPS: u32 = 1 << 3;
    /// The client offers another protocol in its Upgrade field, and the worker may take it up.
    pub const UPGRADES: u32 = 1 << 4;
    /// The client sends the body only once it is wanted: see
    /// [`ResponseWords::wants_body`](super::ResponseWords::wants_body).
    pub const EXPECTS_CONTINUE: u32 = 1 << 5;
}

macro_rules! check_layout {
    ($type:ty, $bytes:expr, $align:expr, { $($field:ident at $offset:expr),* $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $bytes);
            assert!(align_of::<$type>() == $align);
            $(assert!(std::mem::offset_of!($type, $field) == $offset);)*
        };
    };
}

check_layout!(RegionHeader, 32, 8, { magic at 0, layout_version at 8, lane_count at 12, slot_count at 16, arena_bytes at 20, region_bytes at 24 });
check_layout!(RingEntry, 16, 8, { slot_and_kind at 0, generation_and_sequence at 8 });
check_layout!(Span, 8, 4, { offset at 0, bytes at 4 });
check_layout!(FieldEntry, 16, 4, { name at 0, value at 8 });
check_layout!(RequestHead, 128, 8, {
    generation at 0, route_index at 4, method at 8, flags at 12, target at 16, path at 24,
    query at 32, fields_offset at 40, field_count at 44, params_offset at 48, param_count at 52,
    body_offset at 56, body_ring_bytes at 60, body_bytes at 64, deadline_ns at 72,
    peer_address at 80, peer_port at 96, method_token at 100, trailers at 108, reserved at 116,
});
check_layout!(RequestWords, 64, 8, { body_produced at 0, body_end at 8, response_consumed at 16, cancelled at 24, trailers at 32, interim_taken at 40, reserved at 48 });
check_layout!(ResponseHead, 64, 8, {
    generation at 0, status at 4, fields_bytes at 8, body_offset at 12, body_ring_bytes at 16,
    flags at 20, body_bytes at 24, taken_ns at 32, responded_ns at 40, reserved at 48,
});
check_layout!(ResponseWords, 64, 8, { taken at 0, body_produced at 8, body_end at 16, request_consumed at 24, wants_body at 32, trailers at 40, interim at 48, reserved at 56 });

/// Heads are copied out of peer memory eight bytes at a time.
pub trait SharedHead: AnyBitPattern + NoUninit {}
impl SharedHead for RegionHeader {}
impl SharedHead for RequestHead {}
impl SharedHead for ResponseHead {}

/// The bytes of table entries, as they stand in an arena.
pub fn as_bytes<T: NoUninit>(entries: &[T]) -> &[u8] {
    bytemuck::cast_slice(entries)
}
