//! A file that is a response's body: its descriptor comes over the session, and the rest of the
//! response, which says how many bytes of it there are, in its slot.
//!
//! ```text
//! worker                                hub
//!   FileBody + [file]   ────────────▶
//!   response in a slot  ────────────▶   sent, from the file
//! ```

use bytemuck::{Pod, Zeroable};

use crate::message::{Envelope, KIND_FILE, MessageError, read, read_kind};
use crate::upgrade::SlotUse;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FilePacket {
    envelope: Envelope,
    slot: SlotUse,
    reserved: u32,
    offset: u64,
}

/// Which response the descriptor is for that travels with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBody {
    /// Where the response will be.
    pub slot: SlotUse,
    /// The body's first byte in the file.
    pub offset: u64,
}

impl FileBody {
    /// The packet to send.
    pub fn to_packet(self) -> Vec<u8> {
        bytemuck::bytes_of(&FilePacket {
            envelope: Envelope::new(KIND_FILE),
            slot: self.slot,
            reserved: 0,
            offset: self.offset,
        })
        .to_vec()
    }

    /// Reads what a worker sent; `None` if it is another message.
    pub fn from_packet(packet: &[u8]) -> Result<Option<Self>, MessageError> {
        if read_kind(packet)? != KIND_FILE {
            return Ok(None);
        }
        let packet: FilePacket = read(packet)?;
        Ok(Some(Self {
            slot: packet.slot,
            offset: packet.offset,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Leaving;

    #[test]
    fn a_message_comes_back_from_its_packet_and_no_part_of_it_does() {
        let message = FileBody {
            slot: SlotUse {
                lane_index: 1,
                slot_index: 2,
                generation: 3,
            },
            offset: 1 << 40,
        };
        let packet = message.to_packet();
        assert_eq!(FileBody::from_packet(&packet), Ok(Some(message)));
        for cut in 0..packet.len() {
            assert!(FileBody::from_packet(&packet[..cut]).is_err(), "{cut}");
        }
        assert_eq!(FileBody::from_packet(&Leaving.to_packet()), Ok(None));
    }
}
