//! Workers and hubs that crash, hang, come late or come twice.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// Whether a process has any session's memory mapped.
fn maps_sessions(part: &Part) -> bool {
    let maps = format!("/proc/{}/maps", part.pid().as_raw_nonzero());
    std::fs::read_to_string(maps)
        .expect("it runs")
        .contains("memfd:slotway-")
}

slotway_tests::on_each_engine! {
    a_killed_worker_leaves_502_no_routes_no_memory_and_no_descriptors
    a_worker_that_does_not_answer_in_time_is_504_and_its_late_answer_reaches_nobody
    a_request_whose_deadline_passed_before_the_worker_came_to_it_is_not_run
    without_a_queue_the_answer_is_503_with_retry_after_at_once_when_every_slot_is_in_use
    a_worker_that_hangs_with_most_of_its_slots_is_put_out
    a_worker_of_the_same_name_takes_over_while_the_older_finishes_what_it_has
    a_client_that_leaves_gives_its_slot_back
    sigterm_finishes_what_is_in_flight_then_ends_with_0_and_leaves_no_file
    ctrl_c_ends_an_idle_hub
    a_second_hub_on_the_address_or_the_socket_is_refused_with_a_clear_message
    a_child_that_holds_the_connection_does_not_hide_the_crash
    nothing_named_stands_in_dev_shm
    instrumentation_logs_where_the_time_went
}

fn a_killed_worker_leaves_502_no_routes_no_memory_and_no_descriptors(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    assert_eq!(http::get(hub.address, "/api/items/1").status, 404);
    let fds_before = hub.part.open_fd_count();
    for _ in 0..3 {
        let mut worker = hub.start_worker("echo", "echo");
        let mut waiting: Vec<_> = (0..8).map(|_| Connection::open(hub.address)).collect();
        for connection in &mut waiting {
            connection.send("GET /api/sleep/60000 HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        // All are in the worker's hands once this one is answered.
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        worker.signal(Signal::KILL);
        for connection in &mut waiting {
            let response = connection.read_response("GET").unwrap();
            assert_eq!(response.status, 502);
            assert!(response.text().contains("went away"));
            // The connection is good for another request.
            connection.send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(connection.read_response("GET").unwrap().status, 200);
        }
        worker.wait();
        assert_eq!(http::get(hub.address, "/api/items/1").status, 503);
        drop(waiting);
        wait_until("the memory is freed", || !maps_sessions(&hub.part));
        hub.part.await_fds(fds_before);
    }
}

fn a_worker_that_does_not_answer_in_time_is_504_and_its_late_answer_reaches_nobody(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "1", "--slots", "4"]);
    let _worker = hub.start_worker("echo", "echo");
    let mut slow: Vec<_> = (0..2).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut slow {
        connection.send("GET /api/sleep/1500 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for connection in &mut slow {
        assert_eq!(connection.read_response("GET").unwrap().status, 504);
    }
    // The late answers come while these are asked.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1200) {
        for connection in &mut slow {
            connection.send("GET /api/items/9 HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(connection.read_response("GET").unwrap().text(), "item 9");
        }
    }
    // All four slots are free again.
    let mut all: Vec<_> = (0..4).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut all {
        connection.send("GET /api/sleep/200 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for connection in &mut all {
        assert_eq!(connection.read_response("GET").unwrap().status, 200);
    }
}

fn a_request_whose_deadline_passed_before_the_worker_came_to_it_is_not_run(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "1"]);
    let worker = hub.start_worker("odd", "odd");
    assert_eq!(http::get(hub.address, "/odd/block/0").status, 200);
    worker.suspend();
    let mut connection = Connection::open(hub.address);
    connection.send("GET /odd/block/0 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(connection.read_response("GET").unwrap().status, 504);
    worker.signal(Signal::CONT);
    assert_eq!(http::get(hub.address, "/odd/runs").text(), "1");
}

fn without_a_queue_the_answer_is_503_with_retry_after_at_once_when_every_slot_is_in_use(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "2", "--queue", "0"]);
    let _worker = hub.start_worker("echo", "echo");
    let mut busy: Vec<_> = (0..2).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut busy {
        connection.send("GET /api/sleep/500 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let mut other = Connection::open(hub.address);
    wait_until("both slots are taken", || {
        other.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = other.read_response("GET").unwrap();
        response.status == 503 && response.field("retry-after") == Some("1")
    });
    for connection in &mut busy {
        assert_eq!(connection.read_response("GET").unwrap().status, 200);
    }
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

fn a_worker_that_hangs_with_most_of_its_slots_is_put_out(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "4", "--timeout", "1"]);
    let worker = hub.start_worker("echo", "echo");
    worker.suspend();
    let mut stuck: Vec<_> = (0..4).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut stuck {
        connection.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for connection in &mut stuck {
        assert_eq!(connection.read_response("GET").unwrap().status, 504);
    }
    hub.part.wait_for_log("too many unanswered requests");
    wait_until("its routes are gone", || {
        http::get(hub.address, "/api/items/1").status == 503
    });
    let _second = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

fn a_worker_of_the_same_name_takes_over_while_the_older_finishes_what_it_has(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let mut older = hub.start_worker("echo", "echo");
    let mut slow = Connection::open(hub.address);
    slow.send("GET /api/sleep/400 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    let _newer = hub.start_worker("echo", "echo");
    for _ in 0..50 {
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    }
    assert_eq!(slow.read_response("GET").unwrap().text(), "slept 400 ms");
    assert!(older.wait().success());
    older.wait_for_log("replaced by a worker of the same name");
    assert_eq!(hub.health().matches("\"name\":\"echo\"").count(), 1);
}

fn a_client_that_leaves_gives_its_slot_back(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "2"]);
    let _worker = hub.start_worker("echo", "echo");
    for n in 0..20 {
        let mut connection = Connection::open(hub.address);
        // In the middle of an upload and in the middle of a download.
        if n % 2 == 0 {
            connection.send("POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
            connection.send(vec![b'x'; 300_000]);
        } else {
            connection.send("GET /api/bytes/90000000 HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut connection = Connection::open(hub.address);
    let body = vec![b'y'; 500_000];
    for _ in 0..2 {
        wait_until("a slot is free", || {
            connection.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
            connection.read_response("GET").unwrap().status == 200
        });
        assert_eq!(
            http::request(hub.address, "POST", "/api/echo", &body).body,
            body
        );
    }
}

fn sigterm_finishes_what_is_in_flight_then_ends_with_0_and_leaves_no_file(io: &str) {
    let mut hub = HubPart::start(program(), &["--io", io]);
    let worker = hub.start_worker("echo", "echo");
    let mut idle = Connection::open(hub.address);
    idle.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.read_response("GET").unwrap().status, 200);
    let mut slow = Connection::open(hub.address);
    slow.send("GET /api/sleep/500 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    hub.part.signal(Signal::TERM);
    let response = slow.read_response("GET").unwrap();
    assert_eq!(
        (response.status, response.field("connection")),
        (200, Some("close"))
    );
    assert!(idle.is_closed());
    assert!(hub.part.wait().success(), "{}", hub.part.log());
    hub.part.wait_for_log("lost_wakes=0");
    assert!(!hub.socket.exists());
    worker.wait_for_log("the hub is stopping");
}

fn ctrl_c_ends_an_idle_hub(io: &str) {
    let mut hub = HubPart::start(program(), &["--io", io]);
    hub.part.signal(Signal::INT);
    assert!(hub.part.wait().success());
}

#[test]
fn a_worker_comes_back_to_a_hub_that_was_killed_and_started_again() {
    let folder = Folder::new();
    let socket = folder.path().join("a.sock");
    let socket = socket.to_str().unwrap();
    let mut first = Part::start(program(), "hub", &["--port", "0", "--socket", socket]);
    let address = slotway_tests::system::address_in(&first.first_line()).unwrap();
    let worker = Part::start(program(), "echo", &[&format!("http://{address}"), "echo"]);
    first.wait_for_log("attached worker");
    first.signal(Signal::KILL);
    first.wait();
    assert!(
        Path::new(socket).exists(),
        "a killed hub leaves its socket file behind"
    );
    let port = address.port().to_string();
    let mut second = Part::start(program(), "hub", &["--port", &port, "--socket", socket]);
    assert!(second.first_line().contains(&port), "{}", second.log());
    second.wait_for_log("attached worker");
    assert_eq!(http::get(address, "/api/items/5").text(), "item 5");
    drop(worker);
}

fn a_second_hub_on_the_address_or_the_socket_is_refused_with_a_clear_message(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--reactors", "2"]);
    let port = hub.address.port().to_string();
    let folder = Folder::new();
    let other = folder.path().join("other.sock");
    let mut same_port = Part::start(
        program(),
        "hub",
        &["--port", &port, "--socket", other.to_str().unwrap()],
    );
    assert_eq!(same_port.wait().code(), Some(1));
    same_port.wait_for_log("is in use by");
    let socket = hub.socket.to_str().unwrap();
    let mut same_socket = Part::start(program(), "hub", &["--port", "0", "--socket", socket]);
    assert_eq!(same_socket.wait().code(), Some(1));
    same_socket.wait_for_log("belongs to another slotway-hub");
    // Neither harmed the first.
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

#[test]
fn where_io_uring_is_refused_the_hub_serves_on_epoll_and_says_why() {
    let hub = HubPart::start_role(program(), "hub-without-uring", &[]);
    hub.part
        .wait_for_log("using epoll: the system refuses io_uring");
    hub.part.wait_for_log("seccomp");
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

#[test]
fn where_io_uring_is_asked_for_by_name_and_refused_the_hub_ends_with_1() {
    let folder = Folder::new();
    let socket = folder.path().join("a.sock");
    let flags = [
        "--io",
        "uring",
        "--port",
        "0",
        "--socket",
        socket.to_str().unwrap(),
    ];
    let mut hub = Part::start(program(), "hub-without-uring", &flags);
    assert_eq!(hub.wait().code(), Some(1));
    hub.wait_for_log("the system refuses io_uring");
    hub.wait_for_log("seccomp");
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
    assert!(!socket.exists());
}

#[test]
fn wrong_flags_are_named_and_end_with_2() {
    for (flags, expected) in [
        (["--slots", "0"], "slots per lane"),
        (["--arena-bytes", "100"], "arenas of 100 bytes"),
        (["--reactors", "65"], "65 lanes"),
        (["--timeout", "0"], "--timeout"),
        (["--bind", "nonsense"], "--bind"),
    ] {
        let mut hub = Part::start(program(), "hub", &flags);
        assert_eq!(hub.wait().code(), Some(2), "{flags:?}");
        hub.wait_for_log(expected);
    }
}

fn nothing_named_stands_in_dev_shm(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    if let Ok(entries) = std::fs::read_dir("/dev/shm") {
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.contains("slotway"), "{name}");
        }
    }
}

fn instrumentation_logs_where_the_time_went(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--instrumentation"]);
    let _worker = hub.start_worker("echo", "echo");
    wait_until("phases are logged", || {
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        hub.part.log().contains("phases p50/p99")
    });
    let log = hub.part.log();
    for phase in ["parse", "queue", "worker", "return", "write"] {
        assert!(log.contains(phase), "{phase} is missing in {log}");
    }
}

fn a_child_that_holds_the_connection_does_not_hide_the_crash(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let mut worker = hub.start_worker("odd", "parent");
    // This process holds them as a child would that was forked.
    let held = worker.duplicate_sockets();
    assert!(!held.is_empty());
    let mut asked = Connection::open(hub.address);
    asked.send("GET /odd/block/9000 HTTP/1.1\r\nHost: h\r\n\r\n");
    let runs = || http::get(hub.address, "/odd/runs").text();
    wait_until("the handler runs", || runs() == "1");
    let start = Instant::now();
    worker.signal(Signal::KILL);
    assert_eq!(asked.read_response("GET").unwrap().status, 502);
    println!("noticed after {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "not by a deadline"
    );
    hub.part.wait_for_log("its process ended");
    worker.wait();
}
