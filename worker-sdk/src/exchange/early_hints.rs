//! Interim responses of status 103 (RFC 8297), sent before the response is known.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use slotway_shm_proto::field::{is_the_hubs, is_token_byte, is_value_byte};
use slotway_shm_proto::layout::{Interim, RequestWords, ResponseWords};
use slotway_shm_proto::limits::INTERIM_BYTES_MAX;
use slotway_shm_proto::tagged::{load_tagged, store_tagged};

use super::request::Request;

/// Why an interim response was not sent. The response that follows is none the worse for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintsNotSent {
    /// Not fields, or those of the connection, which are the hub's.
    #[error("a header field that is none, or that only the hub sets")]
    Invalid,
    /// More than an interim response may have.
    #[error("header fields of more than {INTERIM_BYTES_MAX} bytes")]
    TooLarge,
    /// The response has been begun.
    #[error("the response has been begun")]
    TooLate,
    /// The hub has yet to send the last one.
    #[error("the last interim response has not been sent yet")]
    Busy,
}

impl Request {
    /// Sends an interim response with these fields, usually `link`, at once: 103 (Early Hints). A client
    /// of HTTP/1.0 does not get it, and one whose response comes before the hub has looked need not.
    ///
    /// ```
    /// use slotway_worker_sdk::Request;
    /// use slotway_worker_sdk::response::Response;
    ///
    /// async fn page(request: Request) -> Response {
    ///     // A page is the same without.
    ///     let _ = request.early_hints(&[("link", "</style.css>; rel=preload; as=style")]);
    ///     let text = render().await;
    ///     request.response(200).bytes("text/html", text.as_bytes())
    /// }
    /// # async fn render() -> String { String::new() }
    /// ```
    pub fn early_hints(&self, fields: &[(&str, &str)]) -> Result<(), HintsNotSent> {
        let mut section = Vec::new();
        for (name, value) in fields {
            let is_field = !name.is_empty()
                && name.bytes().all(is_token_byte)
                && value.bytes().all(is_value_byte);
            if !is_field || is_the_hubs(name.as_bytes()) {
                return Err(HintsNotSent::Invalid);
            }
            for part in [name, ": ", value, "\r\n"] {
                section.extend_from_slice(part.as_bytes());
            }
        }
        if section.len() > INTERIM_BYTES_MAX as usize {
            return Err(HintsNotSent::TooLarge);
        }
        // Nobody writes a response meanwhile, which could reach to where this is.
        self.response_lock
            .begin()
            .map_err(|_| HintsNotSent::TooLate)?;
        let sent = self.send_hints(&section);
        self.response_lock.abandon();
        sent
    }

    fn send_hints(&self, section: &[u8]) -> Result<(), HintsNotSent> {
        let (session, key) = (&self.session, self.key);
        let number = self.interim_count.load(Ordering::Relaxed);
        let taken = session.request_word(key, offset_of!(RequestWords, interim_taken));
        let taken = load_tagged(taken, key.generation).unwrap_or(0);
        if u32::from(number) != taken || number == u16::MAX {
            return Err(HintsNotSent::Busy);
        }
        let arena = session.offsets(key).response_arena;
        let start = arena + u64::from(session.geometry.arena_bytes() - INTERIM_BYTES_MAX);
        session.regions.responses.write(start, section);
        self.interim_count.store(number + 1, Ordering::Relaxed);
        let interim = Interim {
            number: number + 1,
            fields_bytes: section.len() as u16,
        };
        let word = session.response_word(key, offset_of!(ResponseWords, interim));
        store_tagged(word, key.generation, interim.to_word());
        let mut state = session.lock_transfer(key);
        state.begin(key);
        session.notify(key, &mut state.notices);
        session.ring(key.lane_index);
        Ok(())
    }

    /// How much of the response's arena the response may use.
    pub(crate) fn response_arena_bytes(&self) -> u32 {
        let arena_bytes = self.session.geometry.arena_bytes();
        match self.interim_count.load(Ordering::Relaxed) {
            0 => arena_bytes,
            _ => arena_bytes - INTERIM_BYTES_MAX,
        }
    }
}
