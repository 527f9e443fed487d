//! Who registers, and who may not: the attach socket, where the system says who is at
//! the other end, and what other users of this host try. Those tests need root, to become
//! somebody else, and say so where they cannot.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::json;
use slotway_shm_proto::message::{FromHub, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::registration::{NotRegistered, Register};
use slotway_tests::fake_worker::connect;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{Folder, HubPart, wait_until};
use slotway_tests::users::{NOBODY, as_user};
use slotway_worker_sdk::{HubWorker, RunError};

slotway_tests::on_each_engine! {
    a_worker_registers_and_attaches_in_one_go
    a_wrong_document_is_refused_as_over_http
    a_refused_worker_reads_why_whatever_else_it_has_sent
    another_user_may_use_routes_and_nothing_internal
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn send_document(hub: &HubPart, document: &[u8]) -> OwnedFd {
    let socket = connect(hub);
    for piece in Register::pieces(document, 1) {
        packet::send(&socket, &piece.to_packet(), &[]).unwrap();
    }
    socket
}

fn receive(socket: &OwnedFd) -> packet::Packet {
    packet::receive_up_to(socket, 4096).unwrap()
}

fn document(name: &str, route_count: usize) -> Vec<u8> {
    let routes: Vec<_> = (0..route_count)
        .map(|n| json!({"method": "GET", "path": format!("/{name}/{n}/{{id}}")}))
        .collect();
    json!({"name": name, "routes": routes})
        .to_string()
        .into_bytes()
}

fn a_worker_registers_and_attaches_in_one_go(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "1"]);
    // In one piece, and in several.
    for (name, count) in [("small", 1), ("large", 1000)] {
        let document = document(name, count);
        assert_eq!(document.len() > 32 * 1024, name == "large");
        let socket = send_document(&hub, &document);
        let welcome = receive(&socket);
        let said = FromHub::from_packet(&welcome.bytes);
        assert!(matches!(said, Ok(FromHub::Welcome { .. })), "{said:?}");
        assert_eq!(welcome.fds.len(), 3);
        // Its routes go live: nobody answers, but somebody could.
        wait_until("it is attached", || hub.health().contains(name));
        let last = format!("/{name}/{}/x", count - 1);
        assert_eq!(http::get(hub.address, &last).status, 504);
    }
    // No reservation, no request over HTTP.
    let worker = hub.start_worker("echo", "echo");
    worker.wait_for_log("attached");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

fn a_refused_worker_reads_why_whatever_else_it_has_sent(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    for _ in 0..20 {
        let socket = connect(&hub);
        // Some may come too late.
        let _ = (0..8).try_for_each(|_| packet::send(&socket, b"no message", &[]));
        let said = FromHub::from_packet(&receive(&socket).bytes);
        assert_eq!(said, Ok(FromHub::Refused(Refusal::Garbage)));
    }
}

fn a_wrong_document_is_refused_as_over_http(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let refused = |document: &[u8]| {
        let packet = receive(&send_document(&hub, document));
        NotRegistered::from_packet(&packet.bytes)
            .unwrap()
            .expect("it is refused")
    };
    let over_http = http::request(hub.address, "POST", "/internal/register", b"{}");
    let over_socket = refused(b"{}");
    assert_eq!(over_socket.status, 400);
    assert_eq!(over_socket.text, over_http.text().trim());
    assert_eq!(refused(b"").status, 400);
    let route = |path: &str| {
        let routes = [json!({"method": "GET", "path": path})];
        json!({"name": path, "routes": routes})
            .to_string()
            .into_bytes()
    };
    let first = send_document(&hub, &route("/a/{x}/b"));
    assert_eq!(receive(&first).fds.len(), 3);
    let conflict = refused(&route("/a/{y}/b"));
    assert_eq!(conflict.status, 409, "{}", conflict.text);
    // One that never ends.
    let socket = connect(&hub);
    let piece = Register {
        thread_count: 1,
        is_last: false,
        piece: &[b' '; 16 * 1024],
    };
    let sent = (0..1000).try_for_each(|_| packet::send(&socket, &piece.to_packet(), &[]));
    assert!(sent.is_err(), "the hub closes");
    let said = receive(&socket);
    let said = NotRegistered::from_packet(&said.bytes).unwrap().unwrap();
    assert_eq!(said.status, 413, "{}", said.text);
    // And a worker of the SDK says what the hub said.
    let worker = HubWorker::new(&hub.url(), "sdk", ())
        .hub_socket(&hub.socket)
        .get("/a/{z}/b", || ());
    match worker.run_blocking() {
        Err(RunError::Registration { status, response }) => {
            assert!(
                status == 409 && response.contains("/a/{z}/b"),
                "{status} {response}"
            );
        }
        other => panic!("{other:?}"),
    }
}

fn another_user_may_use_routes_and_nothing_internal(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    let ask = |method: &str, path: &str, body: &str| {
        let mut connection = Connection::open(hub.address);
        let length = body.len();
        connection.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        connection.read_response(method).unwrap()
    };
    let event = json!({"source": "s", "event_type": "e", "data": "d"}).to_string();
    let push = json!({"path": "/x", "event_type": "e", "data": "d"}).to_string();
    let registration = String::from_utf8(document("n", 1)).unwrap();
    let internal = [
        ("POST", "/internal/emit", &event),
        ("POST", "/internal/sse-push", &push),
        ("POST", "/internal/register", &registration),
        ("GET", "/internal/slots", &String::new()),
    ];
    let tried = as_user(NOBODY, &[], || {
        assert_eq!(ask("GET", "/api/items/1", "").status, 200);
        for (method, path, body) in internal {
            let response = ask(method, path, body);
            assert_eq!(response.status, 403, "{path}: {}", response.text());
            assert!(response.text().contains("user"), "{}", response.text());
        }
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let address = SocketAddrUnix::new(&hub.socket).unwrap();
        assert!(rustix::net::connect(socket.unwrap(), &address).is_err());
    });
    if tried.is_some() {
        // The hub's own user may.
        assert_eq!(ask("POST", "/internal/emit", &event).status, 200);
    }
}

#[test]
fn a_worker_does_not_attach_to_an_impostor() {
    let folder = Folder::new();
    let path = folder.path().join("attach.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let listener = as_user(NOBODY, &[], || {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        socket.unwrap()
    });
    let Some(listener) = listener else { return };
    // Only root can put it there; who listens is another matter.
    rustix::net::bind(&listener, &address).unwrap();
    let listening = as_user(NOBODY, &[], || rustix::net::listen(&listener, 8).unwrap());
    assert!(listening.is_some());
    let worker = HubWorker::new("http://127.0.0.1:1", "w", ())
        .hub_socket(&path)
        .get("/secret", || ());
    let running = worker.start().unwrap();
    for _ in 0..2 {
        // It comes, looks who is there, and goes without a word; the real hub may come yet.
        let impostor = rustix::net::accept(&listener).unwrap();
        let read = rustix::net::recv(&impostor, &mut [0; 64][..], RecvFlags::empty());
        assert_eq!(read.map(|(count, _)| count), Ok(0));
    }
    running.stop();
    running.wait().unwrap();
}

#[test]
fn a_worker_that_may_not_use_the_attach_socket_ends_and_says_whose_it_is() {
    let hub = HubPart::start(program(), &[]);
    // The folder lets it in, the socket does not.
    let folder = hub.socket.parent().unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, all).unwrap();
    let refused = as_user(NOBODY, &[], || {
        let worker = HubWorker::new(&hub.url(), "w", ()).hub_socket(&hub.socket);
        worker.get("/x", || ()).run_blocking()
    });
    let Some(refused) = refused else { return };
    let why = refused.unwrap_err().to_string();
    let own = rustix::process::geteuid().as_raw();
    assert!(
        why.contains(&format!("({own})")) && why.contains(&format!("user {NOBODY}")),
        "{why}"
    );
}
