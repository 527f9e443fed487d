//! Messages of which only the head has a fixed size.

use bytemuck::AnyBitPattern;

use crate::message::{MessageError, garbage, read_kind};

/// The head of a message that has bytes behind it, and those; `None` if it is another message.
pub(crate) fn read_head<H: AnyBitPattern>(
    packet: &[u8],
    kind: u32,
) -> Result<Option<(H, &[u8])>, MessageError> {
    if read_kind(packet)? != kind {
        return Ok(None);
    }
    let (head, rest) = packet
        .split_at_checked(size_of::<H>())
        .ok_or(garbage(packet))?;
    Ok(Some((bytemuck::pod_read_unaligned(head), rest)))
}
