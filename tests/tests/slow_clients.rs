//! Clients that send or read slowly: they hold no slot that others wait for, and those
//! that get on are not cut off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, PATIENCE};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    slow_uploads_leave_slots_to_others_and_are_ended_with_a_clear_answer
    slow_readers_leave_slots_to_others_and_make_room_for_those_that_are_quick
    slow_clients_are_served_while_nobody_waits_for_their_slots
    a_client_that_reads_slowly_and_gets_on_is_not_reset
}

const SLOTS: [&str; 2] = ["--slots", "4"];

/// Every request of another client is answered meanwhile.
fn others_are_served(hub: &HubPart, time: Duration) {
    let start = Instant::now();
    let mut other = Connection::open(hub.address);
    while start.elapsed() < time {
        other.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(other.read_response("GET").unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn slow_uploads_leave_slots_to_others_and_are_ended_with_a_clear_answer(io: &str) {
    let hub = HubPart::start(program(), &[&["--io", io], &SLOTS[..]].concat());
    let _worker = hub.start_worker("echo", "echo");
    let mut slow: Vec<_> = (0..10).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut slow {
        connection.send("POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
        connection.send(vec![b'x'; 40_000]);
    }
    others_are_served(&hub, Duration::from_millis(500));
    // It waits for a place, and gets one once the slow are known to be.
    let body = vec![b'y'; 1_000_000];
    let echoed = http::request(hub.address, "POST", "/api/echo", &body);
    assert_eq!((echoed.status, echoed.body == body), (200, true));
    // Each makes room for the next; the last ones are in nobody's way.
    for connection in &mut slow[..5] {
        let ended = connection.read_response("POST").unwrap();
        assert_eq!(ended.status, 408, "{}", ended.text());
    }
    hub.part.wait_for_log("too slow for a slot");
    others_are_served(&hub, Duration::from_millis(50));
}

/// Asks for a large answer with a small receive buffer.
fn ask_and_read_nothing(hub: &HubPart, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(hub.address).unwrap();
    sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /api/bytes/{bytes} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn slow_readers_leave_slots_to_others_and_make_room_for_those_that_are_quick(io: &str) {
    let hub = HubPart::start(program(), &[&["--io", io], &SLOTS[..]].concat());
    let _worker = hub.start_worker("echo", "echo");
    let slow: Vec<_> = (0..10)
        .map(|_| ask_and_read_nothing(&hub, 20_000_000))
        .collect();
    others_are_served(&hub, Duration::from_millis(500));
    let downloaded = http::get(hub.address, "/api/bytes/5000000");
    assert_eq!((downloaded.status, downloaded.body.len()), (200, 5_000_000));
    others_are_served(&hub, Duration::from_millis(50));
    hub.part.wait_for_log("too slow for a slot");
    drop(slow);
}

fn slow_clients_are_served_while_nobody_waits_for_their_slots(io: &str) {
    let hub = HubPart::start(program(), &[&["--io", io], &SLOTS[..]].concat());
    let _worker = hub.start_worker("echo", "echo");
    let mut connection = Connection::open(hub.address);
    let length = 200_000;
    connection.send(format!(
        "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
    ));
    // Far below the pace that is asked for when others wait.
    for piece in 0..20 {
        if piece > 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        connection.send(vec![b'x'; if piece == 0 { length - 19 } else { 1 }]);
    }
    let echoed = connection.read_response("POST").unwrap();
    assert_eq!((echoed.status, echoed.body.len()), (200, length));
}

fn a_client_that_reads_slowly_and_gets_on_is_not_reset(io: &str) {
    let flags = ["--io", io, "--write-timeout", "3"];
    let hub = HubPart::start(program(), &flags);
    let _worker = hub.start_worker("echo", "echo");
    let bytes = 700_000;
    // With a large buffer its system acknowledges in steps that are seconds apart.
    let mut stream = ask_and_read_nothing(&hub, bytes);
    // Slowly for several times the timeout, then all of it.
    let mut all = 0;
    let mut piece = [0; 6_000];
    for _ in 0..40 {
        all += stream.read(&mut piece).expect("it is not reset");
        std::thread::sleep(Duration::from_millis(200));
    }
    while all < bytes {
        all += stream.read(&mut piece).expect("it is not reset");
    }
}
