//! The ring of bytes through which a body streams that does not fit its arena.

/// How a streamed body ended, once it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BodyEnd {
    /// All of it is in the ring; the produced cursor will not move again.
    Complete = 1,
    /// The producer gave up; the rest will never come.
    Aborted = 2,
}

impl BodyEnd {
    /// Reads the end word's value; an unknown one counts as a broken body.
    pub fn from_word(value: u32) -> Self {
        if value == Self::Complete as u32 {
            Self::Complete
        } else {
            Self::Aborted
        }
    }
}

/// Positions in a body ring of any size. A cursor runs from 0 to twice the
/// size and starts over, which tells a full ring from an empty one and needs
/// no power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRing {
    bytes: u32,
}

/// A cursor of the other side that no honest peer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor {cursor} against {other} in a body ring of {ring_bytes} bytes")]
pub struct CursorError {
    /// What was read.
    pub cursor: u32,
    /// This side's cursor.
    pub other: u32,
    /// Size of the ring.
    pub ring_bytes: u32,
}

impl ByteRing {
    /// A ring of `bytes`, more than 0 and at most
    /// [`ARENA_BYTES_MAX`](crate::limits::ARENA_BYTES_MAX).
    pub fn new(bytes: u32) -> Self {
        debug_assert!(bytes > 0 && bytes <= crate::limits::ARENA_BYTES_MAX);
        Self { bytes }
    }

    /// Size of the ring.
    pub fn bytes(self) -> u32 {
        self.bytes
    }

    /// Bytes between the consumer's and the producer's cursor. `peer` is
    /// whichever of the two the other side wrote, for the error.
    #[inline]
    pub fn filled(self, produced: u32, consumed: u32) -> Result<u32, CursorError> {
        let lap = 2 * self.bytes;
        let error = CursorError {
            cursor: produced,
            other: consumed,
            ring_bytes: self.bytes,
        };
        if produced >= lap || consumed >= lap {
            return Err(error);
        }
        let filled = (produced + lap - consumed) % lap;
        if filled > self.bytes {
            Err(error)
        } else {
            Ok(filled)
        }
    }

    /// The cursor `count` bytes on; `count` is at most the size of the ring.
    #[inline]
    pub fn advance(self, cursor: u32, count: u32) -> u32 {
        debug_assert!(count <= self.bytes && cursor < 2 * self.bytes);
        let next = cursor + count;
        if next >= 2 * self.bytes {
            next - 2 * self.bytes
        } else {
            next
        }
    }

    /// Where `count` bytes from `cursor` lie: a run, and the rest from the
    /// ring's start.
    #[inline]
    pub fn pieces(self, cursor: u32, count: u32) -> [(u32, u32); 2] {
        debug_assert!(count <= self.bytes);
        let start = if cursor >= self.bytes {
            cursor - self.bytes
        } else {
            cursor
        };
        let first = count.min(self.bytes - start);
        [(start, first), (0, count - first)]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_body_ring_of_any_size_carries_every_byte_once_and_in_order() {
        for ring_bytes in [1_u32, 2, 3, 7, 64] {
            let ring = ByteRing::new(ring_bytes);
            let mut memory = vec![0_u8; ring_bytes as usize];
            let (mut produced, mut consumed) = (0, 0);
            let (mut next_in, mut next_out) = (0_u32, 0_u32);
            for step in 0..500_u32 {
                let room = ring_bytes - ring.filled(produced, consumed).unwrap();
                let count = room.min(step % (ring_bytes + 1));
                for (start, len) in ring.pieces(produced, count) {
                    for i in start..start + len {
                        memory[i as usize] = next_in as u8;
                        next_in += 1;
                    }
                }
                produced = ring.advance(produced, count);
                let take = ring.filled(produced, consumed).unwrap().min(step % 5);
                for (start, len) in ring.pieces(consumed, take) {
                    for i in start..start + len {
                        assert_eq!(memory[i as usize], next_out as u8);
                        next_out += 1;
                    }
                }
                consumed = ring.advance(consumed, take);
            }
            assert!(next_out > ring_bytes);
        }
    }

    #[test]
    fn cursors_that_no_honest_peer_writes_are_refused() {
        let ring = ByteRing::new(10);
        assert!(ring.filled(20, 0).is_err());
        assert!(ring.filled(0, 20).is_err());
        assert!(ring.filled(11, 0).is_err());
        assert!(ring.filled(u32::MAX, 3).is_err());
        assert_eq!(ring.filled(10, 0), Ok(10));
        assert_eq!(ring.filled(0, 10), Ok(10));
        assert_eq!(ring.filled(5, 15), Ok(10));
        assert!(ring.filled(4, 15).is_ok());
        assert!(ring.filled(6, 15).is_err());
    }
}
