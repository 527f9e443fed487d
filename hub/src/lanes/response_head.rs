//! A worker's response, judged: the private copy of its head becomes a
//! [`WorkerResponse`] whose ranges are known to lie in the arena.

use slotway_shm_proto::ByteRing;
use slotway_shm_proto::field::SWITCHING_PROTOCOLS;
use slotway_shm_proto::layout::{BODY_BYTES_UNKNOWN, ResponseHead, response_flags};
use slotway_shm_proto::limits::{
    BODY_RING_BYTES_MIN, RESPONSE_FIELDS_BYTES_MAX, RESPONSE_STATUSES,
};

use crate::lanes::violation::Violation;

/// A part of one of a slot's arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaPart {
    /// It is the request's arena: the worker answers with what came.
    pub is_requests: bool,
    /// From the arena's start.
    pub offset: u32,
    /// Length.
    pub bytes: u32,
}

/// Where the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// All of it in an arena.
    Whole(ArenaPart),
    /// So many bytes of a file.
    File(u64),
    /// Through a ring in the arena.
    Stream {
        /// The ring's place, from the arena's start.
        offset: u32,
        /// The ring.
        ring: ByteRing,
        /// Length of the body, if the worker knows it.
        bytes: Option<u64>,
    },
}

/// A checked head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerResponse {
    /// Status, or `None` if it is none that a worker may response.
    pub status: Option<u16>,
    /// The field section starts the arena.
    pub fields_bytes: u32,
    /// The body.
    pub body: ResponseBody,
    /// It stands for a handler that has failed.
    pub has_failed: bool,
    /// Times, as the worker read them; for instrumentation only.
    pub times_ns: (u64, u64),
}

/// Checks a head against the slot it came from.
pub fn check(
    head: &ResponseHead,
    generation: u32,
    arena_bytes: u32,
    streams: bool,
) -> Result<WorkerResponse, Violation> {
    if head.generation != generation {
        return Err(Violation::Head("generation"));
    }
    if head.fields_bytes > RESPONSE_FIELDS_BYTES_MAX || head.fields_bytes > arena_bytes {
        return Err(Violation::Head("field section"));
    }
    let is_requests = head.flags & response_flags::BODY_IN_REQUEST != 0;
    if is_requests && streams {
        return Err(Violation::Head("body that streams from the request"));
    }
    // Behind its fields, if it shares their arena.
    let least = if is_requests { 0 } else { head.fields_bytes };
    if head.body_offset < least || head.body_offset > arena_bytes {
        return Err(Violation::Head("body offset"));
    }
    let room = arena_bytes - head.body_offset;
    let body = if head.flags & response_flags::BODY_IS_FILE != 0 {
        if streams || is_requests {
            return Err(Violation::Head("body that is a file and another"));
        }
        ResponseBody::File(head.body_bytes)
    } else if streams {
        if !(BODY_RING_BYTES_MIN..=room).contains(&head.body_ring_bytes) {
            return Err(Violation::Head("body ring"));
        }
        ResponseBody::Stream {
            offset: head.body_offset,
            ring: ByteRing::new(head.body_ring_bytes),
            bytes: (head.body_bytes != BODY_BYTES_UNKNOWN).then_some(head.body_bytes),
        }
    } else {
        if head.body_bytes > u64::from(room) {
            return Err(Violation::Head("body"));
        }
        ResponseBody::Whole(ArenaPart {
            is_requests,
            offset: head.body_offset,
            bytes: head.body_bytes as u32,
        })
    };
    let may_be = if head.flags & response_flags::UPGRADES != 0 {
        head.status == u32::from(SWITCHING_PROTOCOLS) && !streams
    } else {
        RESPONSE_STATUSES.contains(&head.status)
    };
    let status = may_be.then_some(head.status as u16);
    Ok(WorkerResponse {
        status,
        fields_bytes: head.fields_bytes,
        body,
        has_failed: head.flags & response_flags::FAILED != 0,
        times_ns: (head.taken_ns, head.responded_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA: u32 = 65_536;

    fn head() -> ResponseHead {
        ResponseHead {
            generation: 7,
            status: 200,
            fields_bytes: 20,
            body_offset: 24,
            body_bytes: 100,
            ..ResponseHead::default()
        }
    }

    #[test]
    fn an_honest_head_is_an_answer() {
        let response = check(&head(), 7, ARENA, false).unwrap();
        assert_eq!(
            response.body,
            ResponseBody::Whole(ArenaPart {
                is_requests: false,
                offset: 24,
                bytes: 100
            })
        );
        let of_request = ResponseHead {
            flags: response_flags::BODY_IN_REQUEST,
            body_offset: 8,
            ..head()
        };
        assert_eq!(
            check(&of_request, 7, ARENA, false).unwrap().body,
            ResponseBody::Whole(ArenaPart {
                is_requests: true,
                offset: 8,
                bytes: 100
            })
        );
        assert!(check(&of_request, 7, ARENA, true).is_err());
        let head = ResponseHead {
            body_ring_bytes: ARENA - 24,
            body_bytes: 1 << 40,
            ..head()
        };
        assert!(check(&head, 7, ARENA, true).is_ok());
    }

    #[test]
    fn every_range_outside_the_arena_is_a_violation() {
        let bad = [
            ResponseHead {
                generation: 6,
                ..head()
            },
            ResponseHead {
                fields_bytes: ARENA + 1,
                body_offset: ARENA + 1,
                ..head()
            },
            ResponseHead {
                fields_bytes: 25,
                ..head()
            },
            ResponseHead {
                body_offset: ARENA + 1,
                ..head()
            },
            ResponseHead {
                body_offset: u32::MAX,
                ..head()
            },
            ResponseHead {
                body_bytes: u64::from(ARENA - 24) + 1,
                ..head()
            },
            ResponseHead {
                body_bytes: u64::MAX,
                ..head()
            },
            ResponseHead {
                flags: response_flags::BODY_IN_REQUEST,
                body_offset: ARENA - 99,
                ..head()
            },
        ];
        for head in bad {
            assert!(check(&head, 7, ARENA, false).is_err(), "{head:?}");
        }
        for body_ring_bytes in [0, 1, ARENA - 23, u32::MAX] {
            let head = ResponseHead {
                body_ring_bytes,
                ..head()
            };
            assert!(check(&head, 7, ARENA, true).is_err(), "{body_ring_bytes}");
        }
    }

    #[test]
    fn a_status_that_no_worker_may_answer_is_none() {
        for status in [0, 101, 199, 600, 999, u32::MAX] {
            let head = ResponseHead { status, ..head() };
            assert_eq!(check(&head, 7, ARENA, false).unwrap().status, None);
        }
        let upgrade = |status| ResponseHead {
            status,
            flags: response_flags::UPGRADES,
            body_ring_bytes: ARENA - 24,
            ..head()
        };
        let status = |status, streams| check(&upgrade(status), 7, ARENA, streams).unwrap().status;
        assert_eq!(status(101, false), Some(101));
        assert_eq!(status(101, true), None);
        assert_eq!(status(200, false), None);
    }
}
