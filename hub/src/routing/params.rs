//! The values of a pattern's parameters in a path.

use slotway_shm_proto::limits::ROUTE_PARAM_COUNT_MAX;

/// Raw values, as the client sent them, in the pattern's order.
#[derive(Clone, Copy, Debug)]
pub struct Params<'p> {
    values: [&'p str; ROUTE_PARAM_COUNT_MAX],
    count: usize,
}

impl Default for Params<'_> {
    fn default() -> Self {
        Self {
            values: [""; ROUTE_PARAM_COUNT_MAX],
            count: 0,
        }
    }
}

impl<'p> Params<'p> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.values[..self.count].iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Adds one; a pattern has no more than there is room for.
    pub(super) fn push(&mut self, value: &'p str) {
        self.values[self.count] = value;
        self.count += 1;
    }

    /// Takes the last one back.
    pub(super) fn pop(&mut self) {
        self.count -= 1;
    }
}
