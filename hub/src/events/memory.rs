//! How much memory the events take that wait for clients: each counts once, however many
//! wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::events::frame::Frame;
use crate::limits::{EVENT_MEMORY_BYTES, EVENT_MEMORY_BYTES_MAX};

/// Counts the bytes of all events that wait.
#[derive(Debug, Default)]
pub struct EventMemory(Arc<AtomicUsize>);

/// Whether there is room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For everybody.
    Plenty,
    /// For clients that have got all before it.
    Short,
    /// For nobody.
    None,
}

/// An event that waits for a client, or for many.
#[derive(Debug)]
pub struct Held {
    /// What goes over the wire.
    pub text: Arc<str>,
    /// Its id.
    pub id: Option<Arc<str>>,
    all: Arc<AtomicUsize>,
}

impl EventMemory {
    /// Whether there is room for another event.
    pub fn room(&self) -> Room {
        match self.0.load(Ordering::Relaxed) {
            bytes if bytes < EVENT_MEMORY_BYTES => Room::Plenty,
            bytes if bytes < EVENT_MEMORY_BYTES_MAX => Room::Short,
            _ => Room::None,
        }
    }

    /// Counts an event, until the last client has it or has lost it.
    pub fn hold(&self, frame: &Frame) -> Held {
        self.0.fetch_add(frame.text.len(), Ordering::Relaxed);
        Held {
            text: Arc::clone(&frame.text),
            id: frame.id.clone(),
            all: Arc::clone(&self.0),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_let_go_of() {
        let memory = EventMemory::default();
        let frame = Frame {
            text: "x".repeat(EVENT_MEMORY_BYTES).into(),
            id: None,
        };
        assert_eq!(memory.room(), Room::Plenty);
        let one = memory.hold(&frame);
        assert_eq!(memory.room(), Room::Short);
        let held: Vec<_> = (0..EVENT_MEMORY_BYTES_MAX / EVENT_MEMORY_BYTES)
            .map(|_| memory.hold(&frame))
            .collect();
        assert_eq!(memory.room(), Room::None);
        drop((one, held));
        assert_eq!(memory.room(), Room::Plenty);
    }
}
