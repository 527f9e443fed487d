//! Streams that a service keeps open for as long as their clients stay: they take nothing
//! from its other requests.

use std::path::Path;

use slotway_tests::event_stream::EventStream;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_thousand_open_streams_of_a_service_stop_none_of_its_other_requests
    streams_beyond_their_number_are_503_and_the_others_stay
    a_worker_with_open_streams_gets_its_share_of_the_requests
}

fn open(hub: &HubPart) -> EventStream {
    let mut stream = EventStream::open(hub.address, "/open");
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.event().data, "open");
    stream
}

fn a_thousand_open_streams_of_a_service_stop_none_of_its_other_requests(io: &str) {
    slotway_tests::fd_limit::raise_fd_limit();
    let hub = HubPart::start(program(), &["--io", io, "--slots", "2", "--timeout", "5s"]);
    let worker = hub.start_worker("axum-service", "axum");
    let streams: Vec<_> = (0..1000).map(|_| open(&hub)).collect();
    for _ in 0..50 {
        assert_eq!(http::get(hub.address, "/").text(), "Hello, World!");
    }
    drop(streams);
    let in_use = || http::get(hub.address, "/internal/slots").text();
    wait_until("the slots are free", || in_use().contains("\"in_use\":0"));
    // That clients leave is nothing to warn of.
    for log in [hub.part.log(), worker.log()] {
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
    assert_eq!(http::get(hub.address, "/").status, 200);
}

fn streams_beyond_their_number_are_503_and_the_others_stay(io: &str) {
    let flags = ["--io", io, "--streams", "3", "--timeout", "10s"];
    let hub = HubPart::start(program(), &flags);
    let _worker = hub.start_worker("axum-service", "axum");
    let mut streams: Vec<_> = (0..3).map(|_| open(&hub)).collect();
    let mut further = Connection::open(hub.address);
    further.send("GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
    let refused = further.read_response("GET").unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("--streams"), "{}", refused.text());
    hub.part
        .wait_for_log("503: as many of its responses without a known length stream");
    assert_eq!(http::get(hub.address, "/").text(), "Hello, World!");
    streams.pop();
    wait_until("there is room for another", || {
        EventStream::open(hub.address, "/open").head.status == 200
    });
}

fn a_worker_with_open_streams_gets_its_share_of_the_requests(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "1", "--queue", "0"]);
    let _old = hub.start_worker_with("axum-service", "axum", &["instance"]);
    let _streams: Vec<_> = (0..5).map(|_| open(&hub)).collect();
    let _new = hub.start_worker_with("axum-service", "axum", &["instance"]);
    // The new one has no slot left.
    let mut held = Connection::open(hub.address);
    held.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("a worker has it", || {
        let slots = http::get(hub.address, "/internal/slots").text();
        slots.contains("\"in_use\":5") && slots.contains("\"in_use\":1")
            || slots.contains("\"in_use\":6")
    });
    for _ in 0..20 {
        assert_eq!(http::get(hub.address, "/").status, 200);
    }
}
