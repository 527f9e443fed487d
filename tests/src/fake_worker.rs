//! A worker made by hand, that does what the SDK would not.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::layout::{ResponseHead, response_flags};
use slotway_shm_proto::message::{FromHub, Goodbye, Hello};
use slotway_shm_proto::packet;
use slotway_shm_proto::region::WorkerRegions;
use slotway_shm_proto::registration::Register;
use slotway_shm_proto::ring::{
    CompletionKind, CompletionProducer, Entry, SubmissionIn, SubmissionKind,
};
use slotway_shm_proto::upgrade::{HAND_OVER_PACKET_BYTES_MAX, HandOver, Sockets};

use crate::http;
use crate::system::{HubPart, PATIENCE};

/// Connects to a hub's attach socket.
pub fn connect(hub: &HubPart) -> OwnedFd {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a Unix socket");
    let address = SocketAddrUnix::new(&hub.socket).expect("a path of ours");
    rustix::net::connect(&socket, &address).expect("the hub accepts workers");
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
        .expect("a socket option");
    socket
}

/// Registers a worker with `GET path`; its id.
pub fn register(hub: &HubPart, name: &str, path: &str) -> [u8; 32] {
    register_route(hub, name, path, false)
}

fn register_route(hub: &HubPart, name: &str, path: &str, sse: bool) -> [u8; 32] {
    let route = serde_json::json!({"method": "GET", "path": path, "sse": sse});
    register_routes(hub, name, &[route])
}

fn register_routes(hub: &HubPart, name: &str, routes: &[serde_json::Value]) -> [u8; 32] {
    register_document(
        hub,
        name,
        &serde_json::json!({"name": name, "routes": routes}),
    )
}

fn register_document(hub: &HubPart, name: &str, document: &serde_json::Value) -> [u8; 32] {
    let body = document.to_string();
    let response = http::request(hub.address, "POST", "/internal/register", body.as_bytes());
    assert_eq!(response.status, 200, "{}", response.text());
    let response: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(
        response["attach"],
        hub.socket.to_str().expect("a path of ours")
    );
    assert_eq!(response["shm_name"], format!("slotway-{name}"));
    response["worker_id"]
        .as_str()
        .expect("text")
        .as_bytes()
        .try_into()
        .expect("32 characters")
}

/// Whether a worker that registers so is told that another has its place.
pub fn is_told_that_it_is_replaced(hub: &HubPart, registration: &str) -> bool {
    let socket = connect(hub);
    for piece in Register::pieces(registration.as_bytes(), 1) {
        packet::send(&socket, &piece.to_packet(), &[]).expect("the hub reads");
    }
    let reply = packet::receive(&socket).expect("a reply");
    FromHub::from_packet(&reply.bytes) == Ok(FromHub::Goodbye(Goodbye::Replaced))
}

/// The hello of a worker with one thread.
pub fn hello(worker_id: [u8; 32]) -> Vec<u8> {
    Hello {
        worker_id,
        thread_count: 1,
    }
    .to_packet()
}

/// An attached session on lane 0. Never sleeps, so the hub need not ring it.
#[derive(Debug)]
pub struct FakeWorker {
    /// The session's connection.
    pub socket: OwnedFd,
    /// Its memory.
    pub regions: WorkerRegions,
    /// Its layout.
    pub geometry: Geometry,
    /// By which lane 0 is rung.
    pub eventfd: OwnedFd,
    completions: CompletionProducer,
}

impl FakeWorker {
    /// Registers `GET path` and attaches.
    pub fn attach(hub: &HubPart, name: &str, path: &str) -> Self {
        let worker = Self::attach_as(hub, register(hub, name, path));
        hub.part.wait_for_log(&format!("worker=\"{name}\""));
        worker
    }

    /// Like [`FakeWorker::attach`] with several routes, for so many workers that the hub's log
    /// leaves some out: the routes may not be live yet.
    pub fn attach_among_many(hub: &HubPart, name: &str, paths: &[String]) -> Self {
        let route = |path| serde_json::json!({"method": "GET", "path": path});
        let routes: Vec<_> = paths.iter().map(route).collect();
        Self::attach_as(hub, register_routes(hub, name, &routes))
    }

    /// Registers an event stream and attaches.
    pub fn attach_sse(hub: &HubPart, name: &str, path: &str) -> Self {
        let worker = Self::attach_as(hub, register_route(hub, name, path, true));
        hub.part.wait_for_log(&format!("worker=\"{name}\""));
        worker
    }

    /// Registers `GET path`, and that it takes clients' sockets, and attaches.
    pub fn attach_for_upgrades(hub: &HubPart, name: &str, path: &str) -> Self {
        let routes = serde_json::json!([{"method": "GET", "path": path}]);
        let document = serde_json::json!({"name": name, "routes": routes, "upgrades": true});
        let worker = Self::attach_as(hub, register_document(hub, name, &document));
        hub.part.wait_for_log(&format!("worker=\"{name}\""));
        worker
    }

    fn attach_as(hub: &HubPart, worker_id: [u8; 32]) -> Self {
        let socket = connect(hub);
        packet::send(&socket, &hello(worker_id), &[]).expect("the hub reads");
        let mut welcome = packet::receive(&socket).expect("the hub answers");
        let Ok(FromHub::Welcome { geometry, .. }) = FromHub::from_packet(&welcome.bytes) else {
            panic!("no welcome: {welcome:?}");
        };
        let eventfd = welcome.fds.remove(2);
        let fds: Vec<_> = welcome.fds.drain(..2).collect();
        let fds = fds.try_into().expect("two regions");
        let regions = WorkerRegions::map(&fds, &geometry).expect("the hub's regions");
        Self {
            socket,
            regions,
            geometry,
            eventfd,
            completions: CompletionProducer::default(),
        }
    }

    /// What stands in the arena of a request, as text.
    pub fn request_text(&self, entry: &Entry<SubmissionKind>) -> String {
        let lane = self.geometry.lane(0);
        let arena = self.geometry.slot(&lane, entry.slot_index).request_arena;
        let mut bytes = Vec::new();
        let count = self.geometry.arena_bytes() as usize;
        self.regions.requests.append_to(arena, count, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the next submission.
    pub fn take(&self) -> Entry<SubmissionKind> {
        let lane = self.geometry.lane(0);
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        let ring = SubmissionIn {
            tail: self.regions.requests.u32_at(lane.submission_tail),
            head: self.regions.responses.u32_at(lane.submission_head),
            entries: self
                .regions
                .requests
                .words_at(lane.submission_entries, word_count),
        };
        let start = std::time::Instant::now();
        loop {
            if let Some(entry) = ring.claim() {
                return entry.expect("the hub's ring is sound");
            }
            assert!(start.elapsed() < PATIENCE, "no submission comes");
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }

    /// Writes a response head into a slot.
    pub fn write_head(&self, slot_index: u32, head: &ResponseHead) {
        let slot = self.geometry.slot(&self.geometry.lane(0), slot_index);
        self.regions.responses.write_head(slot.response_head, head);
    }

    /// Writes a head and publishes it as the whole response to a request.
    pub fn respond(&self, request: &Entry<SubmissionKind>, head: &ResponseHead) {
        self.write_head(request.slot_index, head);
        self.complete(
            CompletionKind::Response,
            request.slot_index,
            request.generation,
        );
    }

    /// Publishes a whole response.
    pub fn respond_with(
        &self,
        request: &Entry<SubmissionKind>,
        status: u32,
        fields: &str,
        body: &[u8],
    ) {
        self.write_arena(request.slot_index, 0, fields.as_bytes());
        self.write_arena(request.slot_index, fields.len() as u32, body);
        let head = ResponseHead {
            generation: request.generation,
            status,
            fields_bytes: fields.len() as u32,
            body_offset: fields.len() as u32,
            body_bytes: body.len() as u64,
            ..ResponseHead::default()
        };
        self.respond(request, &head);
    }

    /// Publishes a 101, with the flag that it needs or without.
    pub fn respond_101(&self, request: &Entry<SubmissionKind>, has_flag: bool, fields: &str) {
        self.write_arena(request.slot_index, 0, fields.as_bytes());
        let head = ResponseHead {
            generation: request.generation,
            status: 101,
            fields_bytes: fields.len() as u32,
            body_offset: fields.len() as u32,
            flags: if has_flag {
                response_flags::UPGRADES
            } else {
                0
            },
            ..ResponseHead::default()
        };
        self.respond(request, &head);
    }

    /// Waits for the client's socket that a 101 was for, and what the client has sent behind its
    /// request; `None` if the hub says that it does not come. What is of earlier ones is skipped.
    pub fn take_socket(&self, request: &Entry<SubmissionKind>) -> Option<(OwnedFd, Vec<u8>)> {
        loop {
            let mut packet = packet::receive_up_to(&self.socket, HAND_OVER_PACKET_BYTES_MAX)
                .expect("the hub says what becomes of it");
            let message = HandOver::from_packet(&packet.bytes).expect("a message");
            let message = message.expect("a hand-over");
            let slot = message.slot;
            if (slot.slot_index, slot.generation) != (request.slot_index, request.generation) {
                continue;
            }
            assert_eq!(packet.fds.len(), usize::from(message.has_socket));
            return Some((packet.fds.pop()?, message.first_bytes.to_vec()));
        }
    }

    /// Sends a file for a response.
    pub fn send_file(&self, message: FileBody, file: &std::fs::File) {
        packet::send(&self.socket, &message.to_packet(), &[file.as_fd()]).expect("the hub reads");
    }

    /// Says that it holds so many sockets of earlier sessions.
    pub fn say_held(&self, count: u32) {
        let packet = Sockets::Held(count).to_packet();
        packet::send(&self.socket, &packet, &[]).expect("the hub reads");
    }

    /// Says that so many sockets have ended: of the hub's, and of earlier sessions.
    pub fn say_released(&self, handed: u32, brought: u32) {
        let packet = Sockets::Released { handed, brought }.to_packet();
        packet::send(&self.socket, &packet, &[]).expect("the hub reads");
    }

    /// Writes into a slot's response arena.
    pub fn write_arena(&self, slot_index: u32, offset: u32, bytes: &[u8]) {
        let slot = self.geometry.slot(&self.geometry.lane(0), slot_index);
        self.regions
            .responses
            .write(slot.response_arena + u64::from(offset), bytes);
    }

    /// Publishes a completion and rings.
    pub fn complete(&self, kind: CompletionKind, slot_index: u32, generation: u32) {
        let lane = self.geometry.lane(0);
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        let entries = self
            .regions
            .responses
            .words_at(lane.completion_entries, word_count);
        self.completions.push(entries, kind, slot_index, generation);
        slotway_shm_proto::doorbell::ring_eventfd(&self.eventfd).expect("an eventfd");
    }
}
