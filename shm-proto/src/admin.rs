//! Asking a hub at its attach socket, for who operates it:
//!
//! ```text
//! tool                                  hub
//!   Command (a JSON document) ──────▶
//!                            ◀───────   Reply, in pieces, the last of which says so
//!                                       or Refused, then close
//! ```
//!
//! The reply to most commands is one JSON document; to `trace` it is one in each piece, until
//! the tool closes.

use bytemuck::{Pod, Zeroable};

use crate::limits::{COMMAND_BYTES_MAX, REPLY_PIECE_BYTES_MAX};
use crate::message::{Envelope, KIND_COMMAND, KIND_REPLY, MessageError, garbage, read_kind};
use crate::message_head::read_head;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ReplyPacket {
    envelope: Envelope,
    part: u32,
    reserved: u32,
}

/// Longest packet of a reply.
pub const REPLY_PACKET_BYTES_MAX: usize = size_of::<ReplyPacket>() + REPLY_PIECE_BYTES_MAX;

/// A command: a JSON document of at most [`COMMAND_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'d>(pub &'d [u8]);

impl<'d> Command<'d> {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        [bytemuck::bytes_of(&Envelope::new(KIND_COMMAND)), self.0].concat()
    }

    /// Reads what somebody sent; `None` if it is another message.
    pub fn from_packet(packet: &'d [u8]) -> Result<Option<Self>, MessageError> {
        if read_kind(packet)? != KIND_COMMAND {
            return Ok(None);
        }
        let document = &packet[size_of::<Envelope>()..];
        if document.len() > COMMAND_BYTES_MAX {
            return Err(MessageError::Garbage {
                bytes: packet.len(),
            });
        }
        Ok(Some(Self(document)))
    }
}

/// What a piece of a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// More follows.
    More = 0,
    /// The last piece.
    Last = 1,
    /// The last piece: why the command was not carried out, as text.
    Failed = 2,
}

/// A piece of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'d> {
    /// What it is.
    pub part: Part,
    /// At most [`REPLY_PIECE_BYTES_MAX`] bytes.
    pub piece: &'d [u8],
}

impl<'d> Reply<'d> {
    /// A document in pieces; at least one.
    pub fn pieces(document: &'d [u8]) -> impl Iterator<Item = Self> {
        let count = document.len().div_ceil(REPLY_PIECE_BYTES_MAX).max(1);
        (0..count).map(move |index| {
            let start = index * REPLY_PIECE_BYTES_MAX;
            let end = (start + REPLY_PIECE_BYTES_MAX).min(document.len());
            let is_last = index + 1 == count;
            Self {
                part: if is_last { Part::Last } else { Part::More },
                piece: &document[start..end],
            }
        })
    }

    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        let head = ReplyPacket {
            envelope: Envelope::new(KIND_REPLY),
            part: self.part as u32,
            reserved: 0,
        };
        [bytemuck::bytes_of(&head), self.piece].concat()
    }

    /// Reads what a hub sent; `None` if it is another message.
    pub fn from_packet(packet: &'d [u8]) -> Result<Option<Self>, MessageError> {
        let Some((head, piece)) = read_head::<ReplyPacket>(packet, KIND_REPLY)? else {
            return Ok(None);
        };
        let parts = [Part::More, Part::Last, Part::Failed];
        let part = parts.into_iter().find(|part| *part as u32 == head.part);
        Ok(Some(Self {
            part: part.ok_or(garbage(packet))?,
            piece,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Leaving;

    #[test]
    fn a_reply_of_any_length_arrives_in_pieces() {
        for bytes in [0, 1, REPLY_PIECE_BYTES_MAX, 3 * REPLY_PIECE_BYTES_MAX + 1] {
            let document = vec![b'x'; bytes];
            let mut arrived = Vec::new();
            let mut parts = Vec::new();
            for piece in Reply::pieces(&document) {
                let packet = piece.to_packet();
                assert!(packet.len() <= REPLY_PACKET_BYTES_MAX);
                let read = Reply::from_packet(&packet).unwrap().unwrap();
                arrived.extend_from_slice(read.piece);
                parts.push(read.part);
            }
            assert_eq!(arrived, document);
            assert_eq!(parts.pop(), Some(Part::Last));
            assert!(parts.iter().all(|part| *part == Part::More));
        }
    }

    #[test]
    fn other_messages_are_told_apart_and_garbage_is_refused() {
        let command = Command(b"{}").to_packet();
        assert_eq!(Command::from_packet(&command), Ok(Some(Command(b"{}"))));
        assert_eq!(Reply::from_packet(&command), Ok(None));
        assert_eq!(Command::from_packet(&Leaving.to_packet()), Ok(None));
        let long = vec![b' '; COMMAND_BYTES_MAX + 1];
        assert!(Command::from_packet(&Command(&long).to_packet()).is_err());
        let mut reply = Reply {
            part: Part::Failed,
            piece: b"why",
        }
        .to_packet();
        assert!(Reply::from_packet(&reply[..20]).is_err());
        reply[size_of::<Envelope>()] = 9;
        assert!(Reply::from_packet(&reply).is_err());
    }
}
