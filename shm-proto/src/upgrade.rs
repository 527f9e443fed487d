//! Client sockets that a session hands over, after a worker has answered 101 (RFC 9110 section
//! 7.8):
//!
//! ```text
//! worker                                hub
//!   response 101 in a slot ──────────▶  checked, sent to the client
//!                       ◀────────────   HandOver + [client's socket], or without: it did not come to that
//!   Held                ────────────▶   right after Welcome: sockets of earlier sessions that still live
//!   Released            ────────────▶   some of them have ended
//! ```
//!
//! Each 101 is followed by one [`HandOver`], or by the session's end.

use bytemuck::{Pod, Zeroable};

use crate::limits::HANDED_BYTES_MAX;
use crate::message::{
    Envelope, KIND_HAND_OVER, KIND_HELD, KIND_RELEASED, MessageError, garbage, read, read_kind,
};
use crate::message_head::read_head;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HandOverPacket {
    envelope: Envelope,
    slot: SlotUse,
    has_socket: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct CountPacket {
    envelope: Envelope,
    count: u32,
    brought: u32,
}

/// One use of a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SlotUse {
    /// Its lane.
    pub lane_index: u32,
    /// Its place in the lane.
    pub slot_index: u32,
    /// Which use of it.
    pub generation: u32,
}

/// Longest packet of a hand-over.
pub const HAND_OVER_PACKET_BYTES_MAX: usize = size_of::<HandOverPacket>() + HANDED_BYTES_MAX;

/// What becomes of a connection whose 101 a worker has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver<'b> {
    /// Where the 101 was.
    pub slot: SlotUse,
    /// The client's socket travels with it; else the client did not get its 101.
    pub has_socket: bool,
    /// What was read behind the request's head: the first bytes of the new protocol. At most
    /// [`HANDED_BYTES_MAX`].
    pub first_bytes: &'b [u8],
}

impl<'b> HandOver<'b> {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        debug_assert!(
            self.first_bytes.len() <= HANDED_BYTES_MAX,
            "more than a packet has"
        );
        let head = HandOverPacket {
            envelope: Envelope::new(KIND_HAND_OVER),
            slot: self.slot,
            has_socket: u32::from(self.has_socket),
        };
        [bytemuck::bytes_of(&head), self.first_bytes].concat()
    }

    /// Reads what the hub sent; `None` if it is another message.
    pub fn from_packet(packet: &'b [u8]) -> Result<Option<Self>, MessageError> {
        let Some((head, first_bytes)) = read_head::<HandOverPacket>(packet, KIND_HAND_OVER)? else {
            return Ok(None);
        };
        if head.has_socket > 1 || first_bytes.len() > HANDED_BYTES_MAX {
            return Err(garbage(packet));
        }
        Ok(Some(Self {
            slot: head.slot,
            has_socket: head.has_socket == 1,
            first_bytes,
        }))
    }
}

/// What a worker says of the sockets that it has been handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// So many of earlier sessions live on.
    Held(u32),
    /// Some have ended.
    Released {
        /// Of those that this hub has handed over.
        handed: u32,
        /// Of those that were brought along.
        brought: u32,
    },
}

impl Sockets {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        let (kind, count, brought) = match self {
            Self::Held(count) => (KIND_HELD, count, 0),
            Self::Released { handed, brought } => (KIND_RELEASED, handed, brought),
        };
        bytemuck::bytes_of(&CountPacket {
            envelope: Envelope::new(kind),
            count,
            brought,
        })
        .to_vec()
    }

    /// Reads what a worker sent; `None` if it is another message.
    pub fn from_packet(packet: &[u8]) -> Result<Option<Self>, MessageError> {
        let kind = read_kind(packet)?;
        if !matches!(kind, KIND_HELD | KIND_RELEASED) {
            return Ok(None);
        }
        let packet: CountPacket = read(packet)?;
        let CountPacket { count, brought, .. } = packet;
        Ok(Some(match kind {
            KIND_HELD => Self::Held(count),
            _ => Self::Released {
                handed: count,
                brought,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Leaving;

    const SLOT: SlotUse = SlotUse {
        lane_index: 1,
        slot_index: 70,
        generation: 9,
    };

    #[test]
    fn every_message_comes_back_from_its_packet_and_no_part_of_it_does() {
        let bytes = vec![7; HANDED_BYTES_MAX];
        for (has_socket, first_bytes) in [(true, &bytes[..]), (true, b""), (false, b"")] {
            let message = HandOver {
                slot: SLOT,
                has_socket,
                first_bytes,
            };
            let packet = message.to_packet();
            assert!(packet.len() <= HAND_OVER_PACKET_BYTES_MAX);
            assert_eq!(HandOver::from_packet(&packet), Ok(Some(message)));
            for cut in 0..size_of::<HandOverPacket>() {
                assert!(HandOver::from_packet(&packet[..cut]).is_err(), "{cut}");
            }
        }
        let released = Sockets::Released {
            handed: u32::MAX,
            brought: 2,
        };
        for message in [Sockets::Held(3), released] {
            let packet = message.to_packet();
            assert_eq!(Sockets::from_packet(&packet), Ok(Some(message)));
            assert_eq!(HandOver::from_packet(&packet), Ok(None));
            for cut in 0..packet.len() {
                assert!(Sockets::from_packet(&packet[..cut]).is_err(), "{cut}");
            }
        }
        assert_eq!(Sockets::from_packet(&Leaving.to_packet()), Ok(None));
    }

    #[test]
    fn more_than_a_packet_has_is_garbage() {
        let message = HandOver {
            slot: SLOT,
            has_socket: true,
            first_bytes: b"",
        };
        let packet = [message.to_packet(), vec![0; HANDED_BYTES_MAX + 1]].concat();
        assert!(HandOver::from_packet(&packet).is_err());
        let mut packet = message.to_packet();
        packet[size_of::<HandOverPacket>() - 4] = 2;
        assert!(HandOver::from_packet(&packet).is_err());
    }
}
