//! Whether a request was ever begun with. Its worker takes it before the handler
//! runs; the hub gives up on it, and may then hand it to another worker only if
//! it was not taken and never will be.
//!
//! ```text
//! worker: taken = generation             hub: cancelled = generation
//!         fence(SeqCst)                       fence(SeqCst)
//!         cancelled? then do not run          taken? then do not hand on
//! ```
//!
//! Of the two fences one comes first, so at least one side sees the other: the
//! request runs here, or elsewhere, or (if both see it) nowhere, but never twice.

use crate::atomic::{Ordering, OwnU64, PeerU64, fence};
use crate::tagged::{load_tagged, store_tagged};

/// Value of the `cancelled` word: nobody waits for the response.
pub const CANCELLED: u32 = 1;

/// Value of the `cancelled` word: the client has closed its side, so it may have
/// left; a response can still be delivered.
pub const CLIENT_CLOSED: u32 = 2;

const TAKEN: u32 = 1;

/// The worker is about to run a handler. False: the hub has given up, and the
/// handler must not run.
#[inline]
#[must_use]
pub fn take(taken: OwnU64<'_>, cancelled: PeerU64<'_>, generation: u32) -> bool {
    store_tagged(taken, generation, TAKEN);
    fence(Ordering::SeqCst);
    load_tagged(cancelled, generation) != Some(CANCELLED)
}

/// The hub gives up on a request. True: its worker has not begun with it and never
/// will.
pub fn give_up(cancelled: OwnU64<'_>, taken: PeerU64<'_>, generation: u32) -> bool {
    store_tagged(cancelled, generation, CANCELLED);
    fence(Ordering::SeqCst);
    load_tagged(taken, generation).is_none()
}
