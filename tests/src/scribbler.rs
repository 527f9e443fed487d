//! A worker that writes nonsense over all of the memory that is its own to write,
//! some of it plausible, as fast as it can.

use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slotway_shm_proto::layout::ResponseHead;
use slotway_shm_proto::ring::CompletionKind;

use crate::fake_worker::FakeWorker;

/// Scribbles until the hub has ended the session, or for so many rounds. Says whether
/// the session was ended.
pub fn scribble(worker: &FakeWorker, random: &mut Rng, round_count: u32) -> bool {
    for _ in 0..round_count {
        match random.u32(..4) {
            0 => random_words(worker, random),
            1 => flipping_heads(worker, random),
            2 => invented_completions(worker, random),
            _ => small_words(worker, random),
        }
        if is_over(worker) {
            return true;
        }
    }
    false
}

/// Whether the hub has closed the session's connection, or said goodbye on it.
pub fn is_over(worker: &FakeWorker) -> bool {
    let mut fds = [PollFd::new(&worker.socket, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

fn any_word(worker: &FakeWorker, random: &mut Rng) -> u64 {
    random.u64(..worker.geometry.responses_bytes() / 8) * 8
}

fn random_words(worker: &FakeWorker, random: &mut Rng) {
    for _ in 0..200 {
        let place = any_word(worker, random);
        let word = random.u64(..).to_ne_bytes();
        worker.regions.responses.write(place, &word);
    }
}

/// Words that look like cursors, ends, generations and sequence numbers.
fn small_words(worker: &FakeWorker, random: &mut Rng) {
    for _ in 0..200 {
        let place = any_word(worker, random);
        let word = u64::from(random.u32(..64)) << 32 | u64::from(random.u32(..300_000));
        worker.regions.responses.write(place, &word.to_ne_bytes());
    }
}

/// Heads whose lengths change between legal and huge while the hub may read them.
fn flipping_heads(worker: &FakeWorker, random: &mut Rng) {
    let slot_index = random.u32(..worker.geometry.slot_count());
    let generation = random.u32(1..64);
    let head = |bytes: u64, offset: u32| ResponseHead {
        generation,
        status: 200,
        body_offset: offset,
        body_bytes: bytes,
        ..ResponseHead::default()
    };
    for _ in 0..50 {
        worker.write_head(slot_index, &head(5, 8));
        worker.write_head(slot_index, &head(u64::MAX, u32::MAX - 3));
    }
    worker.write_head(slot_index, &head(5, 8));
    if random.bool() {
        worker.complete(CompletionKind::Response, slot_index, generation);
    }
}

fn invented_completions(worker: &FakeWorker, random: &mut Rng) {
    let kinds = [
        CompletionKind::Response,
        CompletionKind::ResponseStream,
        CompletionKind::Notice,
    ];
    let kind = kinds[random.usize(..kinds.len())];
    let slot_index = random.u32(..worker.geometry.slot_count() * 2);
    worker.complete(kind, slot_index, random.u32(..64));
}
