//! The duty to respond to one request, which nobody gets out of: a ticket that is
//! dropped without a response sends 500.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slotway_shm_proto::ByteRing;
use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::layout::{BODY_BYTES_UNKNOWN, ResponseHead, response_flags};

use slotway_shm_proto::packet;

use super::hold::{Hold, complete, let_go};
use super::response::{Body, Response, body_offset};
use crate::clock;
use crate::session::{Session, SlotKey, stream, transfer};

/// The duty to respond to one request.
pub(crate) struct Ticket {
    session: Arc<Session>,
    key: SlotKey,
    /// Request and response of an async handler each hold the slot.
    is_held: bool,
    /// Of the response's head.
    flags: u32,
    /// The handler reads the request's body itself.
    pub reads_body: bool,
    taken_ns: Option<u64>,
    /// How much of the arena its response may use.
    arena_bytes: u32,
    done: bool,
}

/// Whether a response went to the hub, so that its lane has to be rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Published {
    /// It did.
    Yes,
    /// The request holds it back; dropping that publishes and rings.
    HeldBack,
}

impl Ticket {
    /// For a request that was just taken.
    pub fn new(session: Arc<Session>, key: SlotKey, wants_times: bool) -> Self {
        let taken_ns = wants_times.then(clock::monotonic_ns);
        Self {
            arena_bytes: session.geometry.arena_bytes(),
            session,
            key,
            is_held: false,
            flags: 0,
            reads_body: false,
            taken_ns,
            done: false,
        }
    }

    pub fn lane_index(&self) -> u32 {
        self.key.lane_index
    }

    /// What an async handler's request carries.
    pub fn hold(&mut self) -> Hold {
        self.is_held = true;
        let holds = &self.session.slot(self.key).holds;
        holds.store(2, Ordering::Relaxed);
        Hold {
            session: Arc::clone(&self.session),
            key: self.key,
        }
    }

    /// Gives the response.
    pub fn respond(mut self, response: Response) -> Published {
        let fault = response.fault.or_else(|| {
            let own = response.session_id == self.session.id && response.key == self.key;
            (!own).then_some("a response to another request")
        });
        match fault {
            None => {
                self.arena_bytes = response.arena_bytes;
                self.publish(response.status, response.fields_bytes, response.body)
            }
            Some(why) => {
                stream::forget(&self.session, self.key);
                tracing::error!("500: the handler returned {why}");
                self.fail(500, "", "the handler's response was not valid")
            }
        }
    }

    /// Responds with 500.
    pub fn respond_failed(mut self, why: &str) -> Published {
        stream::forget(&self.session, self.key);
        self.fail(500, "", why)
    }

    /// Responds with 503, since the bodies of other requests take all memory.
    pub fn respond_no_room(mut self) -> Published {
        let why = "the worker has no memory for the body; try again later";
        self.fail(503, "retry-after: 1\r\n", why)
    }

    /// Responds to the hub's question whether this worker is alive.
    pub fn respond_ping(mut self) -> Published {
        self.publish(200, 0, Body::InSlot(0))
    }

    /// Responds to a request that nobody waits for, so that its slot comes back.
    pub fn respond_abandoned(mut self) -> Published {
        self.publish(503, 0, Body::InSlot(0))
    }

    fn fail(&mut self, status: u16, field: &str, why: &str) -> Published {
        let fields = format!("content-type: application/json\r\n{field}");
        let body = serde_json::json!({ "error": why }).to_string();
        let arena = self.session.offsets(self.key).response_arena;
        let responses = &self.session.regions.responses;
        responses.write(arena, fields.as_bytes());
        let fields_bytes = fields.len() as u32;
        responses.write(
            arena + u64::from(body_offset(fields_bytes)),
            body.as_bytes(),
        );
        if status == 500 {
            self.session.meter.failed();
            self.flags = response_flags::FAILED;
        }
        self.publish(status, fields_bytes, Body::InSlot(body.len() as u32))
    }

    /// Before the response, which says how much of it is meant.
    fn send_file(&self, file: &File, offset: u64) -> io::Result<()> {
        let message = FileBody {
            slot: self.key,
            offset,
        };
        let connection = &self.session.connection;
        packet::send(connection, &message.to_packet(), &[file.as_fd()])
    }

    fn publish(&mut self, status: u16, fields_bytes: u32, body: Body) -> Published {
        self.done = true;
        let body_offset = body_offset(fields_bytes);
        let mut head = ResponseHead {
            generation: self.key.generation,
            status: u32::from(status),
            fields_bytes,
            body_offset,
            flags: self.flags,
            ..ResponseHead::default()
        };
        if let Some(taken_ns) = self.taken_ns {
            head.taken_ns = taken_ns;
            head.responded_ns = clock::monotonic_ns();
        }
        let streams = matches!(body, Body::Written { .. } | Body::Spilled(_));
        match body {
            Body::OfRequest(part) => {
                head.flags |= response_flags::BODY_IN_REQUEST;
                head.body_offset = part.offset;
                head.body_bytes = u64::from(part.bytes);
                self.session.write_head(self.key, &head);
            }
            Body::File(file, range) => {
                head.flags |= response_flags::BODY_IS_FILE;
                head.body_bytes = range.end - range.start;
                if let Err(error) = self.send_file(&file, range.start) {
                    tracing::error!("500: a file could not be handed to the hub: {error}");
                    return self.fail(500, "", "the response's file could not be sent");
                }
                self.session.write_head(self.key, &head);
            }
            Body::Upgrade(guard) => {
                head.flags |= response_flags::UPGRADES;
                self.session.write_head(self.key, &head);
                guard.keep();
            }
            Body::InSlot(bytes) => {
                head.body_bytes = u64::from(bytes);
                self.session.write_head(self.key, &head);
            }
            Body::Written { length } => {
                head.body_bytes = length.unwrap_or(BODY_BYTES_UNKNOWN);
                head.body_ring_bytes = self.arena_bytes - body_offset;
                self.session.write_head(self.key, &head);
            }
            Body::Spilled(body) => {
                head.body_bytes = body.len() as u64;
                head.body_ring_bytes = self.arena_bytes - body_offset;
                self.session.write_head(self.key, &head);
                let ring = ByteRing::new(head.body_ring_bytes);
                transfer::begin_push(&self.session, self.key, body_offset, ring, body);
            }
        }
        if self.reads_body && !streams {
            // From here on the slot is not that body's any more.
            stream::end_in(&self.session, self.key);
        }
        if self.is_held && !let_go(&self.session, self.key) {
            return Published::HeldBack;
        }
        complete(&self.session, self.key, streams);
        Published::Yes
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            tracing::error!("500: a handler panicked, or its task was dropped");
            stream::forget(&self.session, self.key);
            if self.fail(500, "", "the handler panicked") == Published::Yes {
                self.session.ring(self.key.lane_index);
            }
        }
    }
}
