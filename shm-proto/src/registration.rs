//! Registering over the attach socket, in one go with attaching:
//!
//! ```text
//! worker                                hub
//!   Register (in pieces) ───────────▶
//!                        ◀───────────   Welcome, as after a Hello
//!                                       or NotRegistered (the document is at fault)
//!                                       or Refused, then close
//! ```
//!
//! The system says who is at the other end, on both sides, which HTTP over TCP does not.

use bytemuck::{Pod, Zeroable};

use crate::limits::REGISTER_PIECE_BYTES_MAX;
use crate::message::{Envelope, KIND_NOT_REGISTERED, KIND_REGISTER, MessageError, garbage};
use crate::message_head::read_head;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RegisterPacket {
    envelope: Envelope,
    thread_count: u32,
    is_last: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NotRegisteredPacket {
    envelope: Envelope,
    status: u32,
    reserved: u32,
}

/// Longest packet of a registration.
pub const REGISTER_PACKET_BYTES_MAX: usize = size_of::<RegisterPacket>() + REGISTER_PIECE_BYTES_MAX;

/// Longest reply to one.
pub const REPLY_PACKET_BYTES_MAX: usize = size_of::<NotRegisteredPacket>() + TEXT_BYTES_MAX;

/// Longest text of a refusal.
const TEXT_BYTES_MAX: usize = 1024;

/// A piece of a registration: of the document of `POST /internal/register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'d> {
    /// Threads that will receive requests, each with its doorbell.
    pub thread_count: u32,
    /// No further piece follows.
    pub is_last: bool,
    /// At most [`REGISTER_PIECE_BYTES_MAX`] bytes of the document.
    pub piece: &'d [u8],
}

impl<'d> Register<'d> {
    /// A document in pieces; at least one.
    pub fn pieces(document: &'d [u8], thread_count: u32) -> impl Iterator<Item = Self> {
        let count = document.len().div_ceil(REGISTER_PIECE_BYTES_MAX).max(1);
        (0..count).map(move |index| {
            let start = index * REGISTER_PIECE_BYTES_MAX;
            let end = (start + REGISTER_PIECE_BYTES_MAX).min(document.len());
            Self {
                thread_count,
                is_last: index + 1 == count,
                piece: &document[start..end],
            }
        })
    }

    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        let head = RegisterPacket {
            envelope: Envelope::new(KIND_REGISTER),
            thread_count: self.thread_count,
            is_last: u32::from(self.is_last),
        };
        [bytemuck::bytes_of(&head), self.piece].concat()
    }

    /// Reads what a worker sent; `None` if it is another message. The thread count is not
    /// judged here.
    pub fn from_packet(packet: &'d [u8]) -> Result<Option<Self>, MessageError> {
        let Some((head, piece)) = read_head::<RegisterPacket>(packet, KIND_REGISTER)? else {
            return Ok(None);
        };
        if piece.len() > REGISTER_PIECE_BYTES_MAX || head.is_last > 1 {
            return Err(garbage(packet));
        }
        Ok(Some(Self {
            thread_count: head.thread_count,
            is_last: head.is_last == 1,
            piece,
        }))
    }
}

/// The hub refuses the document, as it would over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRegistered {
    /// Status code.
    pub status: u16,
    /// What is wrong; cut off where it is very long.
    pub text: String,
}

impl NotRegistered {
    /// The packet to send.
    pub fn to_packet(&self) -> Vec<u8> {
        let head = NotRegisteredPacket {
            envelope: Envelope::new(KIND_NOT_REGISTERED),
            status: u32::from(self.status),
            reserved: 0,
        };
        let most = self.text.len().min(TEXT_BYTES_MAX);
        let end = (0..=most)
            .rev()
            .find(|end| self.text.is_char_boundary(*end));
        let end = end.unwrap_or(0);
        [bytemuck::bytes_of(&head), &self.text.as_bytes()[..end]].concat()
    }

    /// Reads what a hub replied; `None` if it is another message.
    pub fn from_packet(packet: &[u8]) -> Result<Option<Self>, MessageError> {
        let Some((head, text)) = read_head::<NotRegisteredPacket>(packet, KIND_NOT_REGISTERED)?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            status: head.status as u16,
            text: String::from_utf8_lossy(text).into_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromHub, Hello};

    #[test]
    fn a_document_of_any_length_arrives_in_pieces() {
        for bytes in [
            0,
            1,
            REGISTER_PIECE_BYTES_MAX,
            REGISTER_PIECE_BYTES_MAX + 1,
            3 * REGISTER_PIECE_BYTES_MAX,
        ] {
            let document: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
            let mut arrived = Vec::new();
            let mut has_ended = false;
            for piece in Register::pieces(&document, 3) {
                assert!(!has_ended);
                let packet = piece.to_packet();
                assert!(packet.len() <= REGISTER_PACKET_BYTES_MAX);
                let read = Register::from_packet(&packet).unwrap().unwrap();
                assert_eq!(read.thread_count, 3);
                has_ended = read.is_last;
                arrived.extend_from_slice(read.piece);
            }
            assert!(has_ended && arrived == document, "{bytes}");
        }
    }

    #[test]
    fn other_messages_are_told_apart_and_garbage_is_refused() {
        let hello = Hello {
            worker_id: [b'a'; 32],
            thread_count: 1,
        };
        assert_eq!(Register::from_packet(&hello.to_packet()), Ok(None));
        let refused = NotRegistered {
            status: 409,
            text: "é".repeat(1000),
        };
        let packet = refused.to_packet();
        assert!(packet.len() <= REPLY_PACKET_BYTES_MAX);
        let read = NotRegistered::from_packet(&packet).unwrap().unwrap();
        assert!(read.status == 409 && refused.text.starts_with(&read.text));
        assert!(FromHub::from_packet(&packet).is_err());
        assert!(Register::from_packet(b"nonsense").is_err());
        let piece = Register::pieces(b"x", 1).next().unwrap().to_packet();
        assert!(Register::from_packet(&piece[..20]).is_err());
    }
}
