//! Words that belong to one use of a slot.

use crate::atomic::{Ordering, OwnU64, PeerU64};

/// A word tagged with the generation of the slot it speaks of, so that what an
/// earlier use left behind is never taken for news.
#[inline]
pub fn store_tagged(word: OwnU64<'_>, generation: u32, value: u32) {
    // Pairs with the Acquire load in `load_tagged`.
    word.store(
        u64::from(generation) << 32 | u64::from(value),
        Ordering::Release,
    );
}

/// The word's value if it speaks of `generation`, else nothing yet.
#[inline]
pub fn load_tagged(word: PeerU64<'_>, generation: u32) -> Option<u32> {
    let tagged = word.load(Ordering::Acquire);
    ((tagged >> 32) as u32 == generation).then_some(tagged as u32)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::atomic::AtomicU64;

    #[test]
    fn a_word_of_an_earlier_generation_reads_as_nothing_yet() {
        let word = AtomicU64::new(0);
        store_tagged(OwnU64::new(&word), 7, 99);
        assert_eq!(load_tagged(PeerU64::new(&word), 7), Some(99));
        assert_eq!(load_tagged(PeerU64::new(&word), 8), None);
    }
}
