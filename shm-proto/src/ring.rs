//! The two rings of a lane.
//!
//! The *submission ring* has one producer, a hub reactor, which publishes its
//! tail after the entries; the worker's threads claim entries one by one by
//! moving the head, a word of the worker's own. The *completion ring* has many
//! producers, the worker's threads, which reserve a position in the worker's
//! private memory and publish each entry by its sequence; a hub reactor
//! consumes in order and publishes its head.
//!
//! Neither producer ever waits for room: a slot has at most
//! [`RING_ENTRIES_PER_SLOT`](crate::limits::RING_ENTRIES_PER_SLOT) entries in
//! flight, because notices are coalesced with [`NoticeGate`].

use crate::atomic::{AtomicU32, Ordering, OwnU32, OwnWords, PeerU32, PeerWords, fence};

/// What an entry of the submission ring asks of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SubmissionKind {
    /// The slot holds a new request.
    Request = 1,
    /// A word of the slot has changed: more body, more room, or a cancel.
    Notice = 2,
}

/// What an entry of the completion ring tells the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CompletionKind {
    /// Answered, and the worker is done with the slot.
    Response = 1,
    /// The head is there; the body follows through the arena's ring.
    ResponseStream = 2,
    /// A word of the slot has changed: more body, more room, or the end.
    Notice = 3,
}

/// One entry as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// Slot of the lane; not checked against the lane's slot count.
    pub slot_index: u32,
    /// Generation of the slot that the entry speaks of.
    pub generation: u32,
    /// What it says.
    pub kind: K,
    /// Position in the ring, for [`NoticeGate`].
    pub position: u32,
}

/// What the other side wrote is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// No such kind.
    #[error("an entry has the unknown kind {0}")]
    UnknownKind(u32),
    /// Tail beyond the head by more than the ring holds.
    #[error("{0} entries published at once in a ring of {1}")]
    Overrun(u32, u32),
}

const WORDS_PER_ENTRY: usize = 2;

fn first_word(slot_index: u32, kind: u32) -> u64 {
    u64::from(slot_index) | u64::from(kind) << 32
}

fn second_word(generation: u32, position: u32) -> u64 {
    u64::from(generation) | u64::from(position.wrapping_add(1)) << 32
}

fn entry_index(position: u32, word_count: usize) -> usize {
    (position as usize & (word_count / WORDS_PER_ENTRY - 1)) * WORDS_PER_ENTRY
}

fn entry_count(word_count: usize) -> u32 {
    (word_count / WORDS_PER_ENTRY) as u32
}

/// The hub's words of a submission ring.
#[derive(Clone, Copy)]
pub struct SubmissionOut<'m> {
    /// Entries published.
    pub tail: OwnU32<'m>,
    /// The entries.
    pub entries: OwnWords<'m>,
}

/// Hub side of a submission ring.
#[derive(Debug, Default)]
pub struct SubmissionProducer {
    tail: u32,
}

impl SubmissionProducer {
    /// Publishes an entry and returns its position.
    #[inline]
    pub fn push(
        &mut self,
        ring: SubmissionOut<'_>,
        kind: SubmissionKind,
        slot_index: u32,
        generation: u32,
    ) -> u32 {
        let position = self.tail;
        let index = entry_index(position, ring.entries.word_count());
        ring.entries.store(
            index,
            first_word(slot_index, kind as u32),
            Ordering::Relaxed,
        );
        ring.entries.store(
            index + 1,
            second_word(generation, position),
            Ordering::Relaxed,
        );
        self.tail = position.wrapping_add(1);
        // Pairs with the Acquire load of the tail in `claim`.
        ring.tail.store(self.tail, Ordering::Release);
        position
    }
}

/// The worker's view of a submission ring.
#[derive(Clone, Copy)]
pub struct SubmissionIn<'m> {
    /// Entries the hub has published.
    pub tail: PeerU32<'m>,
    /// Entries this worker has claimed.
    pub head: OwnU32<'m>,
    /// The entries.
    pub entries: PeerWords<'m>,
}

impl SubmissionIn<'_> {
    /// Whether there is an entry to claim.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }

    /// Claims the next entry for the calling thread.
    #[inline]
    pub fn claim(&self) -> Option<Result<Entry<SubmissionKind>, RingError>> {
        loop {
            // Acquire pairs with the AcqRel of another thread's claim, so that
            // the tail read next is not older than the head.
            let head = self.head.load(Ordering::Acquire);
            // Pairs with the Release store in `push`.
            let tail = self.tail.load(Ordering::Acquire);
            if head == tail {
                return None;
            }
            let count = entry_count(self.entries.word_count());
            if tail.wrapping_sub(head) > count {
                return Some(Err(RingError::Overrun(tail.wrapping_sub(head), count)));
            }
            let index = entry_index(head, self.entries.word_count());
            let first = self.entries.load(index, Ordering::Relaxed);
            let second = self.entries.load(index + 1, Ordering::Relaxed);
            // The hub re-uses the entry only after it has seen the head beyond
            // it, so what was read is whole if the claim succeeds.
            if !self.head.advance(head, head.wrapping_add(1)) {
                continue;
            }
            let kind = match (first >> 32) as u32 {
                1 => SubmissionKind::Request,
                2 => {
                    // The reader's fence of `NoticeGate`: after the head,
                    // before the words.
                    fence(Ordering::SeqCst);
                    SubmissionKind::Notice
                }
                other => return Some(Err(RingError::UnknownKind(other))),
            };
            return Some(Ok(Entry {
                slot_index: first as u32,
                generation: second as u32,
                kind,
                position: head,
            }));
        }
    }
}

/// Worker side of a completion ring, shared by the worker's threads; lives in
/// the worker's private memory.
#[derive(Debug)]
pub struct CompletionProducer {
    reserved: AtomicU32,
}

impl Default for CompletionProducer {
    fn default() -> Self {
        Self {
            reserved: AtomicU32::new(0),
        }
    }
}

impl CompletionProducer {
    /// Publishes an entry and returns its position.
    #[inline]
    pub fn push(
        &self,
        entries: OwnWords<'_>,
        kind: CompletionKind,
        slot_index: u32,
        generation: u32,
    ) -> u32 {
        let position = self.reserved.fetch_add(1, Ordering::Relaxed);
        let index = entry_index(position, entries.word_count());
        entries.store(
            index,
            first_word(slot_index, kind as u32),
            Ordering::Relaxed,
        );
        // Pairs with the Acquire load in `pop`.
        entries.store(
            index + 1,
            second_word(generation, position),
            Ordering::Release,
        );
        position
    }
}

/// Hub side of a completion ring.
#[derive(Debug, Default)]
pub struct CompletionConsumer {
    head: u32,
}

impl CompletionConsumer {
    /// Whether there is an entry to take.
    #[inline]
    pub fn is_empty(&self, entries: PeerWords<'_>) -> bool {
        let index = entry_index(self.head, entries.word_count());
        (entries.load(index + 1, Ordering::Acquire) >> 32) as u32 != self.head.wrapping_add(1)
    }

    /// Takes the next entry, if it has been published.
    #[inline]
    pub fn pop(
        &mut self,
        entries: PeerWords<'_>,
    ) -> Option<Result<Entry<CompletionKind>, RingError>> {
        let index = entry_index(self.head, entries.word_count());
        // Pairs with the Release store in `CompletionProducer::push`.
        let second = entries.load(index + 1, Ordering::Acquire);
        if (second >> 32) as u32 != self.head.wrapping_add(1) {
            return None;
        }
        let first = entries.load(index, Ordering::Relaxed);
        let position = self.head;
        self.head = position.wrapping_add(1);
        let kind = match (first >> 32) as u32 {
            1 => CompletionKind::Response,
            2 => CompletionKind::ResponseStream,
            3 => CompletionKind::Notice,
            other => return Some(Err(RingError::UnknownKind(other))),
        };
        Some(Ok(Entry {
            slot_index: first as u32,
            generation: second as u32,
            kind,
            position,
        }))
    }

    /// Position of the next entry.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// Tells the worker how far the hub has read. To be called before the
    /// words are read that a notice spoke of: see [`NoticeGate`].
    #[inline]
    pub fn publish_head(&self, head: OwnU32<'_>) {
        head.store(self.head, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Lets at most one notice per slot be in flight in a ring.
///
/// The sender changes a word, passes the gate, and sends a notice if the gate
/// says so; it says no while the last notice has not been read, since the
/// reader looks at the words *after* it has published that it read the notice.
/// Both sides put a `SeqCst` fence in between, so that either the sender sees
/// the notice read, or the reader sees the changed word.
#[derive(Debug, Default)]
pub struct NoticeGate {
    /// Position of the last notice.
    last: Option<u32>,
}

impl NoticeGate {
    /// Whether a notice must be sent, given the reader's published head and
    /// the entries of the ring.
    #[inline]
    #[must_use]
    pub fn must_send(&mut self, reader_head: PeerU32<'_>, entry_count: u32) -> bool {
        let Some(last) = self.last else { return true };
        fence(Ordering::SeqCst);
        let head = reader_head.load(Ordering::Acquire);
        // Not read yet iff it is one of those that wait in the ring.
        last.wrapping_sub(head) >= entry_count
    }

    /// Forgets the last notice; for a new use of the slot. At most one notice
    /// of the use before is still unread then: see
    /// [`RING_ENTRIES_PER_SLOT`](crate::limits::RING_ENTRIES_PER_SLOT).
    #[inline]
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Notes where the notice went.
    #[inline]
    pub fn sent(&mut self, position: u32) {
        self.last = Some(position);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::atomic::AtomicU64;

    fn words(entry_count: usize) -> Vec<AtomicU64> {
        (0..entry_count * WORDS_PER_ENTRY)
            .map(|_| AtomicU64::new(0))
            .collect()
    }

    #[test]
    fn entries_arrive_in_order_over_many_laps_and_across_the_wrap_of_the_position() {
        let (tail, head, memory) = (AtomicU32::new(0), AtomicU32::new(0), words(4));
        let mut producer = SubmissionProducer { tail: u32::MAX - 5 };
        head.store(u32::MAX - 5, Ordering::Relaxed);
        tail.store(u32::MAX - 5, Ordering::Relaxed);
        let out = SubmissionOut {
            tail: OwnU32::new(&tail),
            entries: OwnWords::new(&memory),
        };
        let inn = SubmissionIn {
            tail: PeerU32::new(&tail),
            head: OwnU32::new(&head),
            entries: PeerWords::new(&memory),
        };
        for round in 0..20 {
            for i in 0..4 {
                producer.push(out, SubmissionKind::Request, i, round);
            }
            for i in 0..4 {
                let entry = inn.claim().unwrap().unwrap();
                assert_eq!((entry.slot_index, entry.generation), (i, round));
            }
            assert!(inn.claim().is_none());
        }
    }

    #[test]
    fn completions_are_seen_only_when_published_and_across_the_wrap_of_the_sequence() {
        let memory = words(4);
        let start = u32::MAX - 5;
        let producer = CompletionProducer {
            reserved: AtomicU32::new(start),
        };
        let mut consumer = CompletionConsumer { head: start };
        for round in 0..20 {
            assert!(consumer.pop(PeerWords::new(&memory)).is_none());
            for i in 0..4 {
                producer.push(OwnWords::new(&memory), CompletionKind::Response, i, round);
            }
            for i in 0..4 {
                assert!(!consumer.is_empty(PeerWords::new(&memory)));
                let entry = consumer.pop(PeerWords::new(&memory)).unwrap().unwrap();
                assert_eq!((entry.slot_index, entry.generation), (i, round));
            }
        }
    }

    #[test]
    fn a_kind_that_there_is_not_and_a_tail_beyond_the_ring_are_errors_not_panics() {
        let memory = words(2);
        memory[0].store(9 << 32, Ordering::Relaxed);
        memory[1].store(1 << 32, Ordering::Relaxed);
        let mut consumer = CompletionConsumer::default();
        assert_eq!(
            consumer.pop(PeerWords::new(&memory)),
            Some(Err(RingError::UnknownKind(9)))
        );

        let (tail, head) = (AtomicU32::new(3), AtomicU32::new(0));
        let inn = SubmissionIn {
            tail: PeerU32::new(&tail),
            head: OwnU32::new(&head),
            entries: PeerWords::new(&memory),
        };
        assert_eq!(inn.claim(), Some(Err(RingError::Overrun(3, 2))));
    }

    #[test]
    fn a_second_notice_is_held_back_until_the_first_has_been_read() {
        let head = AtomicU32::new(0);
        let mut gate = NoticeGate::default();
        assert!(gate.must_send(PeerU32::new(&head), 8));
        gate.sent(0);
        assert!(!gate.must_send(PeerU32::new(&head), 8));
        head.store(1, Ordering::Relaxed);
        assert!(gate.must_send(PeerU32::new(&head), 8));
        // However long ago it was.
        for long_after in [1 << 30, 1 << 31, u32::MAX - 100] {
            head.store(long_after, Ordering::Relaxed);
            assert!(gate.must_send(PeerU32::new(&head), 8), "{long_after}");
        }
        head.store(0, Ordering::Relaxed);
        gate.reset();
        assert!(gate.must_send(PeerU32::new(&head), 8));
    }
}
