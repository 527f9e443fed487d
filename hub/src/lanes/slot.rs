//! The truth about every slot of a lane, in the hub's private memory.
//!
//! | phase       | who may touch the slot's memory      | leaves it by                      |
//! |-------------|--------------------------------------|-----------------------------------|
//! | Free        | nobody                               | `reserve`                         |
//! | Reserved    | hub writes the request               | `submitted`, `release`            |
//! | Submitted   | worker; hub writes body and cursors  | a response entry, `quarantine`    |
//! | Responded   | hub reads the whole response         | `release`                         |
//! | Streaming   | worker writes body, hub reads it     | `release`, `quarantine`           |
//! | Quarantined | worker, until it says it is done     | a response entry, `end_quarantine` |
//!
//! What a worker writes into the ring is a claim that [`SlotTable::on_entry`]
//! checks against the phase and the generation. Slots are re-used last in,
//! first out, so that the working set stays in cache.

use std::task::{Context, Poll, Waker};

use slotway_shm_proto::ring::{CompletionKind, Entry, NoticeGate};

use super::phase::Phase;
use super::violation::SlotViolation;

/// What a connection learns of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The whole response can be read.
    Responded,
    /// A cursor has moved, or the head of a response that streams is there.
    Changed,
    /// The deadline has passed.
    TimedOut,
}

/// What the caller of [`SlotTable::on_entry`] has to do.
#[derive(Debug)]
#[must_use]
pub enum EntryEffect {
    /// Wake whoever waits for the slot.
    Wake(Option<Waker>),
    /// The slot is free again; nobody waited.
    Freed {
        /// It counted apart.
        was_open: bool,
    },
    /// Look whether the quarantined slot's body has ended, and if so call
    /// [`SlotTable::end_quarantine`].
    LookForEnd,
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Slot {
    phase: Phase,
    generation: u32,
    deadline_ms: u64,
    expired: bool,
    changed: bool,
    /// The ring entry of a streamed response has been read: only then can the
    /// end word of its body end a quarantine, since the entry will not come
    /// any more.
    stream_begun: bool,
    /// Its response has no known end: it counts apart until it is free again.
    is_open: bool,
    waker: Option<Waker>,
    notices: NoticeGate,
    /// What is kept until it is free again.
    kept: Option<Kept>,
}

/// What goes when a slot is free again, whoever used it last.
pub type Kept = Box<dyn std::fmt::Debug>;

/// All slots of a lane.
#[derive(Debug)]
pub struct SlotTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots that are used by responses without a known end.
    open_count: u32,
    quarantined_count: u32,
}

/// What the slots of a lane are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotLoad {
    /// In any use.
    pub used: u32,
    /// Those of them that are used by responses without a known end.
    pub open_streams: u32,
    /// Those of them that nobody waits for.
    pub quarantined: u32,
}

impl SlotTable {
    /// `slot_count` free slots.
    pub fn new(slot_count: u32) -> Self {
        let slot = |_| Slot {
            phase: Phase::Free,
            generation: 0,
            deadline_ms: 0,
            expired: false,
            changed: false,
            stream_begun: false,
            is_open: false,
            waker: None,
            notices: NoticeGate::default(),
            kept: None,
        };
        Self {
            open_count: 0,
            quarantined_count: 0,
            slots: (0..slot_count).map(slot).collect(),
            free: (0..slot_count).rev().collect(),
        }
    }

    /// Slots in any use.
    pub fn used_count(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    /// Phase and generation of each.
    pub fn states(&self) -> Vec<(Phase, u32)> {
        let states = self.slots.iter();
        states.map(|slot| (slot.phase, slot.generation)).collect()
    }

    /// What its slots are in.
    pub fn load(&self) -> SlotLoad {
        SlotLoad {
            used: self.used_count(),
            open_streams: self.open_count,
            quarantined: self.quarantined_count,
        }
    }

    /// Slots in use, but for those of responses without a known end.
    #[inline]
    pub fn request_count(&self) -> u32 {
        self.used_count() - self.open_count
    }

    /// The slot's response has no known end: it counts apart until it is free. False: as many
    /// as may do so.
    pub fn begin_open(&mut self, slot_index: u32, count_max: u32) -> bool {
        let begins = self.open_count < count_max;
        if begins {
            let slot = &mut self.slots[slot_index as usize];
            self.open_count += u32::from(!std::mem::replace(&mut slot.is_open, true));
        }
        begins
    }

    /// What is kept until the slot is free again.
    pub fn kept(&mut self, slot_index: u32) -> &mut Option<Kept> {
        &mut self.slots[slot_index as usize].kept
    }

    /// Says whether it counted apart.
    #[inline]
    fn free(&mut self, slot_index: u32) -> bool {
        let slot = &mut self.slots[slot_index as usize];
        self.quarantined_count -= u32::from(slot.phase == Phase::Quarantined);
        slot.phase = Phase::Free;
        slot.waker = None;
        slot.kept = None;
        let was_open = std::mem::take(&mut slot.is_open);
        self.open_count -= u32::from(was_open);
        self.free.push(slot_index);
        was_open
    }

    /// Quarantined slots that the worker should have been done with by now: those of
    /// responses without a known end apart from all others.
    pub fn overdue_counts(&self, now_ms: u64) -> (u32, u32) {
        let mut counts = [0; 2];
        for slot in &self.slots {
            let is_overdue = slot.phase == Phase::Quarantined && slot.deadline_ms <= now_ms;
            counts[usize::from(slot.is_open)] += u32::from(is_overdue);
        }
        counts.into()
    }

    /// Takes a free slot: its index and its new generation, which is never 0.
    #[inline]
    pub fn reserve(&mut self) -> Option<(u32, u32)> {
        let slot_index = self.free.pop()?;
        let slot = &mut self.slots[slot_index as usize];
        debug_assert_eq!(slot.phase, Phase::Free);
        slot.phase = Phase::Reserved;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.expired = false;
        slot.changed = false;
        slot.stream_begun = false;
        slot.notices.reset();
        Some((slot_index, slot.generation))
    }

    /// The worker has the slot from now on.
    #[inline]
    pub fn submitted(&mut self, slot_index: u32, deadline_ms: u64) {
        let slot = &mut self.slots[slot_index as usize];
        debug_assert_eq!(slot.phase, Phase::Reserved);
        slot.phase = Phase::Submitted;
        slot.deadline_ms = deadline_ms;
    }

    /// Gives a slot more time, while bytes move.
    pub fn set_deadline(&mut self, slot_index: u32, deadline_ms: u64) {
        let slot = &mut self.slots[slot_index as usize];
        slot.deadline_ms = deadline_ms;
        slot.expired = false;
    }

    /// The hub is done with a slot that the worker is done with. Says whether it counted
    /// apart.
    #[inline]
    pub fn release(&mut self, slot_index: u32) -> bool {
        let slot = &self.slots[slot_index as usize];
        debug_assert!(!matches!(slot.phase, Phase::Free | Phase::Quarantined));
        self.free(slot_index)
    }

    /// Nobody waits for the slot any more. A worker that is not done with it by
    /// `overdue_ms` hangs.
    pub fn quarantine(&mut self, slot_index: u32, overdue_ms: u64) {
        let slot = &mut self.slots[slot_index as usize];
        debug_assert!(matches!(slot.phase, Phase::Submitted | Phase::Streaming));
        self.quarantined_count += 1;
        slot.phase = Phase::Quarantined;
        slot.deadline_ms = overdue_ms;
        slot.waker = None;
    }

    /// The worker is done with a quarantined slot. Says whether it counted apart.
    pub fn end_quarantine(&mut self, slot_index: u32) -> bool {
        let slot = &self.slots[slot_index as usize];
        debug_assert_eq!(slot.phase, Phase::Quarantined);
        self.free(slot_index)
    }

    /// The slot's phase.
    pub fn phase(&self, slot_index: u32) -> Phase {
        self.slots[slot_index as usize].phase
    }

    /// The slot's generation.
    pub fn generation(&self, slot_index: u32) -> u32 {
        self.slots[slot_index as usize].generation
    }

    /// Whether the end of its body ends the slot's quarantine.
    pub fn awaits_end(&self, slot_index: u32) -> bool {
        let slot = &self.slots[slot_index as usize];
        slot.phase == Phase::Quarantined && slot.stream_begun
    }

    /// The gate of notices about the slot.
    pub fn notices(&mut self, slot_index: u32) -> &mut NoticeGate {
        &mut self.slots[slot_index as usize].notices
    }

    /// Judges one completion entry.
    #[inline]
    pub fn on_entry(&mut self, entry: Entry<CompletionKind>) -> Result<EntryEffect, SlotViolation> {
        let slot_count = self.slots.len() as u32;
        let slot_index = entry.slot_index;
        let slot = self
            .slots
            .get_mut(slot_index as usize)
            .ok_or(SlotViolation::NoSuchSlot {
                slot_index,
                slot_count,
            })?;
        let same = slot.generation == entry.generation;
        match (entry.kind, slot.phase) {
            (CompletionKind::Response, Phase::Submitted) if same => {
                slot.phase = Phase::Responded;
                Ok(EntryEffect::Wake(slot.waker.take()))
            }
            (CompletionKind::ResponseStream, Phase::Submitted) if same => {
                slot.phase = Phase::Streaming;
                slot.stream_begun = true;
                slot.changed = true;
                Ok(EntryEffect::Wake(slot.waker.take()))
            }
            (CompletionKind::Response, Phase::Quarantined) if same => {
                let was_open = self.end_quarantine(slot_index);
                Ok(EntryEffect::Freed { was_open })
            }
            (CompletionKind::ResponseStream, Phase::Quarantined) if same && !slot.stream_begun => {
                slot.stream_begun = true;
                Ok(EntryEffect::LookForEnd)
            }
            (CompletionKind::Notice, Phase::Quarantined) if same => Ok(EntryEffect::LookForEnd),
            (CompletionKind::Notice, Phase::Submitted | Phase::Streaming) if same => {
                slot.changed = true;
                Ok(EntryEffect::Wake(slot.waker.take()))
            }
            // A notice may be overtaken by what it was about.
            (CompletionKind::Notice, _) => Ok(EntryEffect::Nothing),
            (CompletionKind::Response | CompletionKind::ResponseStream, phase) => {
                Err(SlotViolation::NotAsked {
                    slot_index,
                    seen: entry.generation,
                    expected: slot.generation,
                    phase,
                })
            }
        }
    }

    /// What has happened to a slot since its connection asked last; else the
    /// task is woken when something does.
    #[inline]
    pub fn poll_event(&mut self, slot_index: u32, cx: &mut Context<'_>) -> Poll<Event> {
        let slot = &mut self.slots[slot_index as usize];
        match slot.phase {
            Phase::Responded => return Poll::Ready(Event::Responded),
            Phase::Streaming | Phase::Submitted if slot.expired => {
                return Poll::Ready(Event::TimedOut);
            }
            _ if std::mem::take(&mut slot.changed) => return Poll::Ready(Event::Changed),
            _ => {}
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Marks what is past its deadline and wakes its connections. Returns the
    /// earliest deadline that is left.
    pub fn expire(&mut self, now_ms: u64) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        for slot in &mut self.slots {
            if !matches!(slot.phase, Phase::Submitted | Phase::Streaming) || slot.expired {
                continue;
            }
            if slot.deadline_ms <= now_ms {
                slot.expired = true;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            } else {
                earliest = Some(earliest.map_or(slot.deadline_ms, |ms| ms.min(slot.deadline_ms)));
            }
        }
        earliest
    }

    /// Wakes every connection that waits: the session is over.
    pub fn wake_all(&mut self) {
        for slot in &mut self.slots {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot_index: u32, generation: u32, kind: CompletionKind) -> Entry<CompletionKind> {
        Entry {
            slot_index,
            generation,
            kind,
            position: 0,
        }
    }

    fn poll(table: &mut SlotTable, slot_index: u32) -> Poll<Event> {
        table.poll_event(slot_index, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_slot_that_was_freed_last_is_used_first_in_a_new_generation() {
        let mut table = SlotTable::new(3);
        let (first, generation) = table.reserve().unwrap();
        table.submitted(first, 100);
        let response = entry(first, generation, CompletionKind::Response);
        assert!(matches!(table.on_entry(response), Ok(EntryEffect::Wake(_))));
        assert_eq!(poll(&mut table, first), Poll::Ready(Event::Responded));
        table.release(first);
        assert_eq!(table.reserve(), Some((first, generation + 1)));
    }

    #[test]
    fn an_answer_to_another_generation_or_slot_or_to_nothing_is_a_violation() {
        let mut table = SlotTable::new(2);
        let (slot, generation) = table.reserve().unwrap();
        assert!(
            table
                .on_entry(entry(slot, generation, CompletionKind::Response))
                .is_err()
        );
        table.submitted(slot, 100);
        assert!(
            table
                .on_entry(entry(slot, generation + 1, CompletionKind::Response))
                .is_err()
        );
        assert!(
            table
                .on_entry(entry(1, 0, CompletionKind::Response))
                .is_err()
        );
        assert!(matches!(
            table.on_entry(entry(2, 1, CompletionKind::Response)),
            Err(SlotViolation::NoSuchSlot {
                slot_index: 2,
                slot_count: 2
            })
        ));
        let response = entry(slot, generation, CompletionKind::Response);
        assert!(table.on_entry(response).is_ok());
        assert!(table.on_entry(response).is_err(), "answered twice");
    }

    #[test]
    fn a_quarantined_slot_comes_back_only_with_the_answer_to_its_generation() {
        let mut table = SlotTable::new(1);
        let (slot, generation) = table.reserve().unwrap();
        table.submitted(slot, 10);
        assert_eq!(table.expire(9), Some(10));
        assert_eq!(poll(&mut table, slot), Poll::Pending);
        assert_eq!(table.expire(10), None);
        assert_eq!(poll(&mut table, slot), Poll::Ready(Event::TimedOut));
        table.quarantine(slot, 20);
        assert_eq!(table.reserve(), None);
        assert_eq!(table.overdue_counts(19), (0, 0));
        assert_eq!(table.overdue_counts(20), (1, 0));
        assert!(
            table
                .on_entry(entry(slot, generation + 1, CompletionKind::Response))
                .is_err()
        );
        let response = entry(slot, generation, CompletionKind::Response);
        assert!(matches!(
            table.on_entry(response),
            Ok(EntryEffect::Freed { .. })
        ));
        assert_eq!(table.reserve(), Some((slot, generation + 1)));
    }

    #[test]
    fn a_quarantined_stream_comes_back_when_its_end_has_been_seen() {
        let mut table = SlotTable::new(1);
        let (slot, generation) = table.reserve().unwrap();
        table.submitted(slot, 10);
        let _ = table
            .on_entry(entry(slot, generation, CompletionKind::ResponseStream))
            .unwrap();
        table.quarantine(slot, 20);
        let notice = entry(slot, generation, CompletionKind::Notice);
        assert!(matches!(
            table.on_entry(notice),
            Ok(EntryEffect::LookForEnd)
        ));
        table.end_quarantine(slot);
        assert!(
            matches!(table.on_entry(notice), Ok(EntryEffect::Nothing)),
            "a late notice"
        );
        assert_eq!(table.used_count(), 0);
    }

    #[test]
    fn a_quarantined_slot_does_not_come_back_before_its_stream_was_announced() {
        let mut table = SlotTable::new(1);
        let (slot, generation) = table.reserve().unwrap();
        table.submitted(slot, 10);
        table.quarantine(slot, 20);
        assert!(
            !table.awaits_end(slot),
            "the announcement is still in the ring"
        );
        let stream = entry(slot, generation, CompletionKind::ResponseStream);
        assert!(matches!(
            table.on_entry(stream),
            Ok(EntryEffect::LookForEnd)
        ));
        assert!(table.awaits_end(slot));
        assert!(table.on_entry(stream).is_err(), "announced twice");
    }

    #[test]
    fn generations_skip_zero_when_they_wrap() {
        let mut table = SlotTable::new(1);
        table.slots[0].generation = u32::MAX;
        assert_eq!(table.reserve(), Some((0, 1)));
    }
}
