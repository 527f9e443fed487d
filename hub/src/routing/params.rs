//! Where the values of a pattern's parameters stand in a path.

use slotway_shm_proto::layout::Span;
use slotway_shm_proto::limits::ROUTE_PARAM_COUNT_MAX;

use crate::limits::LINE_BYTES_MAX;

// Every connection has room for them, so they are small.
const _: () = assert!(LINE_BYTES_MAX <= u16::MAX as usize);

/// Raw values, as the client sent them, in the pattern's order. Of one path, to which the
/// spans are relative.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Offset and length.
    spans: [(u16, u16); ROUTE_PARAM_COUNT_MAX],
    count: u16,
}

impl Params {
    /// All of them, from the start of the path.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let spans = self.spans[..usize::from(self.count)].iter();
        spans.map(|(offset, bytes)| Span {
            offset: u32::from(*offset),
            bytes: u32::from(*bytes),
        })
    }

    /// All of them, as they stand in the path.
    pub fn values<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        self.spans()
            .map(move |span| &path[span.offset as usize..][..span.bytes as usize])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds one, at its offset in the path; a pattern has no more than there is room for,
    /// and no path is longer than a request line.
    pub(super) fn push(&mut self, offset: usize, value: &str) {
        self.spans[self.len()] = (offset as u16, value.len() as u16);
        self.count += 1;
    }

    /// Takes the last one back.
    pub(super) fn pop(&mut self) {
        self.count -= 1;
    }
}
