//! Services that are down, restart, or have not come yet.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slotway_tests::event_stream::EventStream;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_route_whose_worker_has_gone_is_503_and_what_never_was_is_404
    requests_wait_for_a_worker_that_restarts
    a_client_of_an_event_stream_waits_for_a_worker_that_restarts
    a_worker_that_is_expected_makes_unknown_paths_503_until_it_is_there
    a_hub_says_that_it_is_unready_before_it_stops
}

fn a_route_whose_worker_has_gone_is_503_and_what_never_was_is_404(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--worker-grace", "0"]);
    let mut worker = hub.start_worker("echo", "echo");
    worker.signal(Signal::KILL);
    worker.wait();
    wait_until("it is gone", || !hub.health().contains("\"echo\""));
    let gone = http::get(hub.address, "/api/items/1");
    assert_eq!((gone.status, gone.field("retry-after")), (503, Some("1")));
    hub.part
        .wait_for_log("503: a request for GET /api/items/{id} found no worker");
    assert_eq!(
        http::request(hub.address, "POST", "/api/echo", b"x").status,
        503
    );
    assert_eq!(http::get(hub.address, "/api/nothing").status, 404);
    assert_eq!(
        http::request(hub.address, "PUT", "/api/echo", b"x").status,
        405
    );
    let _again = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    // Its name now stands for other routes, so the former ones are nobody's.
    let _other = hub.start_worker_with("site", "echo", &["/other"]);
    wait_until("it has replaced it", || {
        http::get(hub.address, "/api/items/1").status == 404
    });
}

fn requests_wait_for_a_worker_that_restarts(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--worker-grace", "20s"]);
    let mut worker = hub.start_worker("echo", "echo");
    let mut begun = Connection::open(hub.address);
    begun.send("GET /api/sleep/60000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    worker.signal(Signal::KILL);
    worker.wait();
    let mut waiting: Vec<_> = (0..20).map(|_| Connection::open(hub.address)).collect();
    for (n, connection) in waiting.iter_mut().enumerate() {
        connection.send(if n % 2 == 0 {
            "GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n"
        } else {
            "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nitem 1"
        });
    }
    std::thread::sleep(Duration::from_millis(200));
    let _again = hub.start_worker("echo", "echo");
    for connection in &mut waiting {
        assert_eq!(connection.read_response("GET").unwrap().text(), "item 1");
    }
    // What the dead one had begun with is lost: it may have been done.
    assert_eq!(begun.read_response("GET").unwrap().status, 502);
}

fn a_client_of_an_event_stream_waits_for_a_worker_that_restarts(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--worker-grace", "20s"]);
    let mut worker = hub.start_worker("sse", "rooms");
    worker.signal(Signal::KILL);
    worker.wait();
    wait_until("it is gone", || !hub.health().contains("\"rooms\""));
    let asked = EventStream::begin(hub.address, "/sse/a", "");
    std::thread::sleep(Duration::from_millis(100));
    let _again = hub.start_worker("sse", "rooms");
    assert_eq!(asked.finish().head.status, 200);
}

fn a_worker_that_is_expected_makes_unknown_paths_503_until_it_is_there(io: &str) {
    let flags = ["--io", io, "--expect-worker", "echo", "--worker-grace", "0"];
    let hub = HubPart::start(program(), &flags);
    let early = http::get(hub.address, "/api/items/1");
    assert_eq!(early.status, 503, "{}", early.text());
    hub.part
        .wait_for_log("503: it is expected and has not attached yet");
    let health = http::get(hub.address, "/health");
    assert_eq!(health.status, 503);
    assert!(
        health.text().contains(r#""missing":["echo"]"#),
        "{}",
        health.text()
    );
    let mut worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/nothing").status, 404);
    assert_eq!(http::get(hub.address, "/health").status, 200);
    assert_eq!(http::get(hub.address, "/health?worker=echo").status, 200);
    let other = http::get(hub.address, "/health?worker=echo&worker=a%20b");
    assert_eq!(other.status, 503);
    assert!(
        other.text().contains(r#""missing":["a b"]"#),
        "{}",
        other.text()
    );
    worker.signal(Signal::KILL);
    worker.wait();
    wait_until("it is missed", || {
        http::get(hub.address, "/health").status == 503
    });
}

fn a_hub_says_that_it_is_unready_before_it_stops(io: &str) {
    let mut hub = HubPart::start(program(), &["--io", io, "--shutdown-delay", "700ms"]);
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/health").status, 200);
    hub.part.signal(Signal::TERM);
    let told = Instant::now();
    wait_until("it is unready", || {
        http::get(hub.address, "/health").status == 503
    });
    while told.elapsed() < Duration::from_millis(400) {
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    }
    assert!(hub.part.wait().success());
    assert!(told.elapsed() >= Duration::from_millis(700));
}
