//! The one door to atomics: std's, or loom's when a model is being checked,
//! behind two wrappers that say who may write.
//!
//! [`OwnU32`] and [`OwnU64`] are words that this process writes; [`PeerU32`]
//! and [`PeerU64`] are words that the other process writes and that are mapped
//! read-only here, so a store would be a fault: they only load.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

macro_rules! shared_word {
    ($own:ident, $peer:ident, $atomic:ident, $int:ty) => {
        /// A word of shared memory that this process, and no other, writes.
        #[derive(Clone, Copy, Debug)]
        pub struct $own<'m>(&'m $atomic);

        impl<'m> $own<'m> {
            /// The caller writes the word, and no other process does.
            pub fn new(word: &'m $atomic) -> Self {
                Self(word)
            }

            /// The word itself, for calls of the system.
            #[cfg(not(loom))]
            #[allow(dead_code, reason = "futexes are 32 bits wide")]
            pub(crate) fn word(self) -> &'m $atomic {
                self.0
            }

            /// Stores with `ordering` (Relaxed or Release).
            #[inline]
            pub fn store(self, value: $int, ordering: Ordering) {
                self.0.store(value, ordering);
            }

            /// Loads what this process stored last.
            #[inline]
            pub fn load(self, ordering: Ordering) -> $int {
                self.0.load(ordering)
            }

            /// Adds one and returns the value before; threads of this process
            /// may do so at the same time.
            #[inline]
            pub fn fetch_add_one(self, ordering: Ordering) -> $int {
                self.0.fetch_add(1, ordering)
            }

            /// Moves the word from `current` to `next` unless another thread
            /// of this process was quicker.
            #[inline]
            pub fn advance(self, current: $int, next: $int) -> bool {
                self.0
                    .compare_exchange(current, next, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            }
        }

        /// A word of shared memory that the other process writes.
        #[derive(Clone, Copy, Debug)]
        pub struct $peer<'m>(&'m $atomic);

        impl<'m> $peer<'m> {
            /// The word may lie in memory that is mapped read-only: nothing here writes.
            pub fn new(word: &'m $atomic) -> Self {
                Self(word)
            }

            /// The word itself, for calls of the system that do not write it.
            #[cfg(not(loom))]
            #[allow(dead_code, reason = "futexes are 32 bits wide")]
            pub(crate) fn word(self) -> &'m $atomic {
                self.0
            }

            /// Loads it once; what it means must be checked by the caller.
            #[inline]
            pub fn load(self, ordering: Ordering) -> $int {
                self.0.load(ordering)
            }
        }
    };
}

shared_word!(OwnU32, PeerU32, AtomicU32, u32);
shared_word!(OwnU64, PeerU64, AtomicU64, u64);

/// An array of words that this process writes.
#[derive(Clone, Copy, Debug)]
pub struct OwnWords<'m>(&'m [AtomicU64]);

/// An array of words that the other process writes.
#[derive(Clone, Copy, Debug)]
pub struct PeerWords<'m>(&'m [AtomicU64]);

impl<'m> OwnWords<'m> {
    /// The caller writes the words, and no other process does.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        Self(words)
    }

    /// Words in the array.
    #[inline]
    pub fn word_count(self) -> usize {
        self.0.len()
    }

    /// Stores one word.
    #[inline]
    pub fn store(self, index: usize, value: u64, ordering: Ordering) {
        self.0[index].store(value, ordering);
    }
}

impl<'m> PeerWords<'m> {
    /// The words may lie in memory that is mapped read-only: nothing here writes.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        Self(words)
    }

    /// Words in the array.
    #[inline]
    pub fn word_count(self) -> usize {
        self.0.len()
    }

    /// Loads one word.
    #[inline]
    pub fn load(self, index: usize, ordering: Ordering) -> u64 {
        self.0[index].load(ordering)
    }
}
