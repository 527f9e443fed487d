//! Where a connection of a thread has its place.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slotway_net::Stream;

use super::streams::StreamTally;

/// A connection's place, which outlives the connection.
pub(super) struct Place {
    pub(super) stream: RefCell<Option<Rc<Stream>>>,
    /// When the request under way was due and sent; 0 between requests.
    pub(super) due_ns: Cell<u64>,
    /// See `due_ns`.
    pub(super) sent_ns: Cell<u64>,
    pub(super) timed_out: Cell<bool>,
    /// Of an event stream.
    pub(super) tally: RefCell<StreamTally>,
}

impl Place {
    /// With a connection, or with none yet.
    pub(super) fn new(stream: Option<Rc<Stream>>) -> Self {
        Self {
            stream: RefCell::new(stream),
            due_ns: Cell::new(0),
            sent_ns: Cell::new(0),
            timed_out: Cell::new(false),
            tally: RefCell::default(),
        }
    }
}
