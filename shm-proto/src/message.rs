//! The messages of the attach socket (`SOCK_SEQPACKET`: each is a packet, whole or not at all).
//!
//! ```text
//! worker                                hub
//!   Hello            ───────────────▶   (or a registration: see `registration`)
//!                    ◀───────────────   Welcome + [requests, responses, eventfd × lane]
//!                                       or Refusal, then close
//!   Emit             ───────────────▶   any number of times: an event for `/events`
//!   Leaving          ───────────────▶   some time; the hub lets the worker finish
//!                    ◀──────────────▶   client sockets and files: see `upgrade`, `file_body`
//!                    ◀───────────────   Moving, perhaps: attach to the new hub as well
//!                    ◀───────────────   Goodbye, some time, then close
//! ```
//! The connection is the session: whichever side closes it ends the session.

use bytemuck::{Pod, Zeroable};

use crate::geometry::{Geometry, GeometryError};
use crate::layout::{LAYOUT_VERSION, MAGIC};
use crate::limits::{EMIT_BYTES_MAX, THREAD_COUNT_MAX};

/// Length of a worker id: 128 random bits in hexadecimal.
pub const WORKER_ID_BYTES: usize = 32;

/// Longest message of the protocol.
pub const MESSAGE_BYTES_MAX: usize = 256;

const KIND_HELLO: u32 = 1;
const KIND_WELCOME: u32 = 2;
const KIND_REFUSAL: u32 = 3;
const KIND_GOODBYE: u32 = 4;
const KIND_LEAVING: u32 = 5;
const KIND_MOVING: u32 = 6;
const KIND_EMIT: u32 = 7;
pub(crate) const KIND_REGISTER: u32 = 8;
pub(crate) const KIND_NOT_REGISTERED: u32 = 9;
pub(crate) const KIND_COMMAND: u32 = 10;
pub(crate) const KIND_REPLY: u32 = 11;
pub(crate) const KIND_HAND_OVER: u32 = 12;
pub(crate) const KIND_HELD: u32 = 13;
pub(crate) const KIND_RELEASED: u32 = 14;
pub(crate) const KIND_FILE: u32 = 15;

/// Longest packet of a worker that has attached: an event.
pub const WORKER_PACKET_BYTES_MAX: usize = size_of::<Envelope>() + EMIT_BYTES_MAX;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Envelope {
    magic: u64,
    layout_version: u32,
    kind: u32,
}

impl Envelope {
    pub(crate) fn new(kind: u32) -> Self {
        Self {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            kind,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HelloPacket {
    envelope: Envelope,
    worker_id: [u8; WORKER_ID_BYTES],
    thread_count: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WelcomePacket {
    envelope: Envelope,
    lane_count: u32,
    slot_count: u32,
    arena_bytes: u32,
    /// 1: see [`FromHub::Welcome::hides_paths`].
    hides_paths: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ReasonPacket {
    envelope: Envelope,
    reason: u32,
    reserved: u32,
}

const _: () = {
    assert!(size_of::<HelloPacket>() == 64);
    assert!(size_of::<WelcomePacket>() == 32);
    assert!(size_of::<ReasonPacket>() == 24);
    assert!(size_of::<HelloPacket>() <= MESSAGE_BYTES_MAX);
};

/// A worker's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What `POST /internal/register` answered, as ASCII.
    pub worker_id: [u8; WORKER_ID_BYTES],
    /// Threads that will receive requests, each with its doorbell.
    pub thread_count: u32,
}

/// A worker's last message: it wants no further request, and to finish what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving;

/// An event of an attached worker's: the document of `POST /internal/emit`, of at most
/// [`EMIT_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit<'e>(pub &'e [u8]);

/// Why the hub refuses to attach a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
#[non_exhaustive]
pub enum Refusal {
    /// The packet is no Hello.
    #[error("the hub could not read the hello message")]
    Garbage = 1,
    /// Built for another layout.
    #[error(
        "the hub uses layout version {LAYOUT_VERSION}; use the same release of hub and worker SDK"
    )]
    LayoutVersion = 2,
    /// No registration with this id, or it has been used.
    #[error("no registration with this worker_id is waiting; register first")]
    UnknownWorkerId = 3,
    /// Registered too long ago.
    #[error("the registration has expired; register again and attach at once")]
    Expired = 4,
    /// The peer's user may not attach.
    #[error("the hub attaches only workers of its own user or root")]
    WrongUser = 5,
    /// Threads outside their bounds.
    #[error("thread_count is outside 1 to {THREAD_COUNT_MAX}")]
    ThreadCount = 6,
    /// Memory, descriptors or the like ran out in the hub.
    #[error("the hub could not create the session's memory; see its log")]
    NoResources = 7,
    /// The hub is stopping.
    #[error("the hub is stopping")]
    Stopping = 8,
    /// A route became taken between registering and attaching.
    #[error("a route conflicts with another worker's; see the hub's log")]
    RouteConflict = 9,
    /// One process, one user or all workers together have as many sessions as they may.
    #[error("this process, or this user, has as many workers as it may have")]
    TooMany = 10,
}

impl Refusal {
    const ALL: [Self; 10] = [
        Self::Garbage,
        Self::LayoutVersion,
        Self::UnknownWorkerId,
        Self::Expired,
        Self::WrongUser,
        Self::ThreadCount,
        Self::NoResources,
        Self::Stopping,
        Self::RouteConflict,
        Self::TooMany,
    ];
}

/// Why the hub ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u32)]
#[non_exhaustive]
pub enum Goodbye {
    /// A worker of the same name has taken over.
    #[error("a worker of the same name has taken over its routes")]
    Replaced = 1,
    /// The hub stops.
    #[error("the hub is stopping")]
    Stopping = 2,
    /// The hub found shared memory as no honest worker leaves it.
    #[error("the hub found invalid data in this worker's shared memory; see its log")]
    Violation = 3,
    /// Too many requests were never answered.
    #[error("too many of this worker's slots were never answered")]
    TooManyUnanswered = 4,
    /// The worker wanted to leave, and has finished what it had.
    #[error("this worker has left, as requested")]
    Left = 5,
    /// The worker did not answer pings.
    #[error("this worker did not answer the hub's pings")]
    Unresponsive = 6,
    /// Memory, descriptors or the like ran out in the hub.
    #[error("the hub has no memory or descriptors left for this worker; see its log")]
    NoResources = 7,
    /// Somebody who operates the hub wanted it.
    #[error("an operator of the hub has evicted this worker")]
    Evicted = 8,
}

impl Goodbye {
    #[rustfmt::skip]
    const ALL: [Self; 8] = [
        Self::Replaced, Self::Stopping, Self::Violation, Self::TooManyUnanswered, Self::Left,
        Self::Unresponsive, Self::NoResources, Self::Evicted,
    ];
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MovingPacket {
    envelope: Envelope,
    worker_id: [u8; WORKER_ID_BYTES],
}

/// What the hub sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromHub {
    /// Attached; the descriptors travel with it.
    Welcome {
        /// Layout of the memory.
        geometry: Geometry,
        /// The hub's own paths hide some that the worker's routes match.
        hides_paths: bool,
    },
    /// Not attached.
    Refused(Refusal),
    /// The session ends.
    Goodbye(Goodbye),
    /// A new hub takes over: the worker is to attach there as well, at the same socket,
    /// with this id. This session goes on until it ends.
    Moving([u8; WORKER_ID_BYTES]),
}

/// Why a packet is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Wrong length, magic or kind.
    #[error("a packet of {bytes} bytes is not a message of this protocol")]
    Garbage {
        /// Its length.
        bytes: usize,
    },
    /// A message of another layout version.
    #[error(
        "the hub's or worker's message has layout version {seen}, and this side has {LAYOUT_VERSION}: \
         both must be of the same release, so rebuild the worker with the SDK of the hub's"
    )]
    LayoutVersion {
        /// The version it names.
        seen: u32,
    },
    /// A reason that this release does not know.
    #[error("reason {0} is unknown to this release")]
    Reason(u32),
    /// A welcome with impossible numbers.
    #[error("a welcome with {0}")]
    Geometry(#[from] GeometryError),
}

pub(crate) fn read<T: Pod>(packet: &[u8]) -> Result<T, MessageError> {
    bytemuck::try_pod_read_unaligned(packet).map_err(|_| garbage(packet))
}

pub(crate) fn read_kind(packet: &[u8]) -> Result<u32, MessageError> {
    let head = packet.get(..size_of::<Envelope>()).ok_or(garbage(packet))?;
    let envelope: Envelope = read(head)?;
    if envelope.magic != MAGIC {
        return Err(garbage(packet));
    }
    if envelope.layout_version != LAYOUT_VERSION {
        return Err(MessageError::LayoutVersion {
            seen: envelope.layout_version,
        });
    }
    Ok(envelope.kind)
}

/// What a packet is that no message can be.
pub(crate) fn garbage(packet: &[u8]) -> MessageError {
    MessageError::Garbage {
        bytes: packet.len(),
    }
}

impl Hello {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        bytemuck::bytes_of(&HelloPacket {
            envelope: Envelope::new(KIND_HELLO),
            worker_id: self.worker_id,
            thread_count: self.thread_count,
            reserved: [0; 3],
        })
        .to_vec()
    }

    /// Reads what a worker sent. The thread count is not judged here.
    pub fn from_packet(packet: &[u8]) -> Result<Self, MessageError> {
        if read_kind(packet)? != KIND_HELLO {
            return Err(garbage(packet));
        }
        let hello: HelloPacket = read(packet)?;
        Ok(Self {
            worker_id: hello.worker_id,
            thread_count: hello.thread_count,
        })
    }
}

impl Leaving {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        bytemuck::bytes_of(&Envelope::new(KIND_LEAVING)).to_vec()
    }

    /// Reads what a worker sent after its hello.
    pub fn from_packet(packet: &[u8]) -> Result<Self, MessageError> {
        let is_leaving = read_kind(packet)? == KIND_LEAVING;
        (is_leaving && packet.len() == size_of::<Envelope>())
            .then_some(Self)
            .ok_or(garbage(packet))
    }
}

impl<'e> Emit<'e> {
    /// The packet to send; `None` if it would be too long.
    pub fn to_packet(self) -> Option<Vec<u8>> {
        let envelope = Envelope::new(KIND_EMIT);
        let fits = self.0.len() <= EMIT_BYTES_MAX;
        fits.then(|| [bytemuck::bytes_of(&envelope), self.0].concat())
    }

    /// Reads what a worker sent after its hello.
    pub fn from_packet(packet: &'e [u8]) -> Result<Self, MessageError> {
        let is_emit = read_kind(packet)? == KIND_EMIT && packet.len() <= WORKER_PACKET_BYTES_MAX;
        is_emit
            .then(|| Self(&packet[size_of::<Envelope>()..]))
            .ok_or(garbage(packet))
    }
}

impl FromHub {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        let reason = |kind, reason| {
            let envelope = Envelope::new(kind);
            bytemuck::bytes_of(&ReasonPacket {
                envelope,
                reason,
                reserved: 0,
            })
            .to_vec()
        };
        match self {
            Self::Welcome {
                geometry,
                hides_paths,
            } => bytemuck::bytes_of(&WelcomePacket {
                envelope: Envelope::new(KIND_WELCOME),
                lane_count: geometry.lane_count(),
                slot_count: geometry.slot_count(),
                arena_bytes: geometry.arena_bytes(),
                hides_paths: u32::from(hides_paths),
            })
            .to_vec(),
            Self::Refused(why) => reason(KIND_REFUSAL, why as u32),
            Self::Goodbye(why) => reason(KIND_GOODBYE, why as u32),
            Self::Moving(worker_id) => bytemuck::bytes_of(&MovingPacket {
                envelope: Envelope::new(KIND_MOVING),
                worker_id,
            })
            .to_vec(),
        }
    }

    /// Reads what the hub sent.
    pub fn from_packet(packet: &[u8]) -> Result<Self, MessageError> {
        match read_kind(packet)? {
            KIND_WELCOME => {
                let welcome: WelcomePacket = read(packet)?;
                let geometry =
                    Geometry::new(welcome.lane_count, welcome.slot_count, welcome.arena_bytes)?;
                Ok(Self::Welcome {
                    geometry,
                    hides_paths: welcome.hides_paths != 0,
                })
            }
            KIND_REFUSAL => {
                let number = read::<ReasonPacket>(packet)?.reason;
                let why = Refusal::ALL.into_iter().find(|why| *why as u32 == number);
                why.map(Self::Refused).ok_or(MessageError::Reason(number))
            }
            KIND_GOODBYE => {
                let number = read::<ReasonPacket>(packet)?.reason;
                let why = Goodbye::ALL.into_iter().find(|why| *why as u32 == number);
                why.map(Self::Goodbye).ok_or(MessageError::Reason(number))
            }
            KIND_MOVING => Ok(Self::Moving(read::<MovingPacket>(packet)?.worker_id)),
            _ => Err(garbage(packet)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_comes_back_from_its_packet() {
        let hello = Hello {
            worker_id: *b"0123456789abcdef0123456789abcdef",
            thread_count: 2,
        };
        assert_eq!(Hello::from_packet(&hello.to_packet()), Ok(hello));
        assert_eq!(Leaving::from_packet(&Leaving.to_packet()), Ok(Leaving));
        assert!(Leaving::from_packet(&hello.to_packet()).is_err());
        let emit = Emit(b"{}").to_packet().unwrap();
        assert_eq!(Emit::from_packet(&emit), Ok(Emit(b"{}")));
        assert!(Emit::from_packet(&Leaving.to_packet()).is_err());
        assert!(Leaving::from_packet(&emit).is_err());
        let most = vec![b'x'; EMIT_BYTES_MAX + 1];
        assert!(Emit(&most).to_packet().is_none());
        let packet = Emit(&most[1..]).to_packet().unwrap();
        assert_eq!(packet.len(), WORKER_PACKET_BYTES_MAX);
        assert!(Emit::from_packet(&[&packet[..], b"x"].concat()).is_err());
        let geometry = Geometry::new(2, 256, 65_536).unwrap();
        let mut messages = vec![
            FromHub::Welcome {
                geometry,
                hides_paths: true,
            },
            FromHub::Moving([b'm'; 32]),
        ];
        messages.extend(Refusal::ALL.map(FromHub::Refused));
        messages.extend(Goodbye::ALL.map(FromHub::Goodbye));
        for message in messages {
            assert_eq!(FromHub::from_packet(&message.to_packet()), Ok(message));
        }
    }

    #[test]
    fn a_packet_cut_at_any_byte_or_lengthened_is_garbage() {
        let packet = Hello {
            worker_id: [b'a'; 32],
            thread_count: 1,
        }
        .to_packet();
        for cut in 0..packet.len() {
            assert_eq!(
                Hello::from_packet(&packet[..cut]),
                Err(MessageError::Garbage { bytes: cut })
            );
        }
        let mut long = packet.clone();
        long.push(0);
        assert!(Hello::from_packet(&long).is_err());
    }

    #[test]
    fn another_layout_version_is_told_apart_from_garbage() {
        let mut packet = Hello {
            worker_id: [b'a'; 32],
            thread_count: 1,
        }
        .to_packet();
        packet[8] = 99;
        assert_eq!(
            Hello::from_packet(&packet),
            Err(MessageError::LayoutVersion { seen: 99 })
        );
        packet[0] = 0;
        assert!(matches!(
            Hello::from_packet(&packet),
            Err(MessageError::Garbage { .. })
        ));
    }

    #[test]
    fn a_welcome_with_impossible_numbers_is_an_error() {
        let mut packet = FromHub::Welcome {
            geometry: Geometry::new(1, 1, 65_536).unwrap(),
            hides_paths: false,
        }
        .to_packet();
        packet[16..20].copy_from_slice(&9999_u32.to_le_bytes());
        assert_eq!(
            FromHub::from_packet(&packet),
            Err(MessageError::Geometry(GeometryError::LaneCount(9999)))
        );
    }
}
