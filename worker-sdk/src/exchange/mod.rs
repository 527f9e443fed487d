//! One request and its response, in the slot where the hub has put it.
//!
//! [`request`] is read in place ([`in_place`], [`pattern`], [`cancellation`]), [`early_hints`] go before the response, [`response`]
//! is written in place (guarded by [`response_lock`]), [`ticket`] is the duty to respond
//! exactly once, [`upgrade`] a client's connection that a handler takes over, [`hold`] keeps a slot until both sides are done with it, and
//! [`request_body`] and [`body_sender`] are bodies under way ([`block_on`] for those who wait
//! for them on a thread).

mod block_on;
pub(crate) mod body_sender;
pub(crate) mod cancellation;
pub(crate) mod early_hints;
mod hold;
#[allow(unsafe_code)]
mod in_place;
pub(crate) mod pattern;
pub(crate) mod request;
#[cfg(feature = "tokio")]
pub(crate) mod request_body;
pub(crate) mod response;
mod response_lock;
pub(crate) mod ticket;
pub(crate) mod upgrade;
