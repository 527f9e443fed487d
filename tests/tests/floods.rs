//! One party that floods the hub, and the others, who must not notice: sessions, messages
//! and lines of the log have bounds.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use slotway_shm_proto::message::{FromHub, Leaving, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::registration::Register;
use slotway_tests::fake_worker::connect;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{Folder, HubPart, wait_until, write_script};

slotway_tests::on_each_engine! {
    one_process_cannot_take_the_descriptors_of_the_others
    a_flood_of_leavings_is_one_leaving
    what_the_attach_socket_is_told_cannot_flood_the_log
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// Attaches a worker with one route that it does not serve; the hub's word, and the
/// connection.
fn attach(hub: &HubPart, name: &str) -> (FromHub, std::os::fd::OwnedFd) {
    let route = json!({"method": "GET", "path": format!("/{name}")});
    let document = json!({"name": name, "routes": [route]}).to_string();
    let socket = connect(hub);
    for piece in Register::pieces(document.as_bytes(), 1) {
        packet::send(&socket, &piece.to_packet(), &[]).unwrap();
    }
    let response = packet::receive(&socket).unwrap();
    (FromHub::from_packet(&response.bytes).unwrap(), socket)
}

fn one_process_cannot_take_the_descriptors_of_the_others(io: &str) {
    let folder = Folder::new();
    let few = folder.path().join("few-files");
    let script = format!(
        "#!/bin/sh\nulimit -n 256\nexec {} \"$@\"\n",
        program().display()
    );
    write_script(&few, &script);
    let hub = HubPart::start(&few, &["--io", io, "--reactors", "1"]);
    // That it has few is not found out by the first who is refused.
    hub.part.wait_for_log("ulimit -n");
    let mut sessions = Vec::new();
    let refused = (0..512).find_map(|n| match attach(&hub, &format!("greedy{n}")) {
        (FromHub::Welcome { .. }, socket) => {
            sessions.push(socket);
            None
        }
        (said, _) => Some(said),
    });
    assert_eq!(refused, Some(FromHub::Refused(Refusal::TooMany)));
    assert!(sessions.len() >= 4, "{}", sessions.len());
    hub.part.wait_for_log("the limit of open files allows");
    // Another worker, and more clients than one.
    let _worker = hub.start_worker("echo", "echo");
    let mut clients: Vec<_> = (0..50).map(|_| Connection::open(hub.address)).collect();
    for client in &mut clients {
        client.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_response("GET").unwrap().status, 200);
    }
    // Who lets go may come again.
    sessions.clear();
    let start = Instant::now();
    while !matches!(attach(&hub, "again").0, FromHub::Welcome { .. }) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{}",
            hub.part.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn a_flood_of_leavings_is_one_leaving(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    let (said, socket) = attach(&hub, "leaver");
    assert!(matches!(said, FromHub::Welcome { .. }));
    wait_until("it is attached", || hub.health().contains("leaver"));
    // It has a request, so that its session drains for as long as that takes.
    let mut held = Connection::open(hub.address);
    held.send("GET /leaver HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("a slot is in use", || {
        let slots = http::get(hub.address, "/internal/slots");
        slots.text().contains("\"in_use\":1")
    });
    let leaving = Leaving.to_packet();
    let flood = std::thread::spawn(move || {
        let start = Instant::now();
        let mut sent = 0_u32;
        while start.elapsed() < Duration::from_secs(1)
            && packet::send(&socket, &leaving, &[]).is_ok()
        {
            sent += 1;
        }
        (sent, socket)
    });
    let mut asked = 0;
    while !flood.is_finished() {
        assert_eq!(http::get(hub.address, "/health").status, 200);
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        asked += 1;
    }
    let (sent, socket) = flood.join().unwrap();
    assert!(sent > 100 && asked > 5, "{sent} sent, {asked} asked");
    let leavings = hub.part.log().matches("leaver").count();
    assert!(leavings < 10, "{}", hub.part.log());
    drop(socket);
    assert_eq!(held.read_response("GET").unwrap().status, 503);
}

fn what_the_attach_socket_is_told_cannot_flood_the_log(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let before = hub.part.log().lines().count();
    for _ in 0..2000 {
        let socket = connect(&hub);
        packet::send(&socket, b"garbage", &[]).unwrap();
        assert!(!packet::receive(&socket).unwrap().bytes.is_empty());
    }
    let lines = hub.part.log().lines().count() - before;
    assert!(lines < 200, "{lines} lines");
    // What was left out is said, and the hub is well.
    hub.part.wait_for_log("left out");
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}
