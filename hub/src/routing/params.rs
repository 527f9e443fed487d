//! Where the values of a pattern's parameters stand in a path.

use slotway_shm_proto::layout::Span;
use slotway_shm_proto::limits::ROUTE_PARAM_COUNT_MAX;

/// Raw values, as the client sent them, in the pattern's order. Of one path, to which the
/// spans are relative.
#[derive(Clone, Debug, Default)]
pub struct Params {
    spans: [Span; ROUTE_PARAM_COUNT_MAX],
    count: usize,
}

impl Params {
    /// All of them, from the start of the path.
    pub fn spans(&self) -> &[Span] {
        &self.spans[..self.count]
    }

    /// All of them, as they stand in the path.
    pub fn values<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        let spans = self.spans().iter();
        spans.map(move |span| &path[span.offset as usize..][..span.bytes as usize])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds one, at its offset in the path; a pattern has no more than there is room for.
    pub(super) fn push(&mut self, offset: usize, value: &str) {
        self.spans[self.count] = Span {
            offset: offset as u32,
            bytes: value.len() as u32,
        };
        self.count += 1;
    }

    /// Takes the last one back.
    pub(super) fn pop(&mut self) {
        self.count -= 1;
    }
}
