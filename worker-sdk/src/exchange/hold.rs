//! Who has yet to let go of a slot before its response may be published.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use slotway_shm_proto::ring::CompletionKind;

use crate::session::{Session, SlotKey, transfer};

/// A request of an async handler, which may outlive its response: the slot is
/// the request's until both are done with it.
pub(crate) struct Hold {
    pub session: Arc<Session>,
    pub key: SlotKey,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let_go(&self.session, self.key) {
            complete(
                &self.session,
                self.key,
                transfer::has_body_to_send(&self.session, self.key),
            );
            self.session.ring(self.key.lane_index);
        }
    }
}

/// Lets go of a held slot; true for the last.
pub(super) fn let_go(session: &Session, key: SlotKey) -> bool {
    // What either wrote or read comes before what the last one publishes.
    session.slot(key).holds.fetch_sub(1, Ordering::AcqRel) == 1
}

/// Publishes a response that has been written.
pub(super) fn complete(session: &Session, key: SlotKey, streams: bool) {
    if streams {
        session.publish(key, CompletionKind::ResponseStream);
        transfer::go_on_pushing(session, key);
    } else {
        session.publish(key, CompletionKind::Response);
    }
}
