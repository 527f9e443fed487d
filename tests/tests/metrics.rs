//! `/metrics`: what is counted is what happened, and the text is what its readers expect.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::has_program;
use slotway_tests::http::{self, Connection};
use slotway_tests::http_corpus::PATH;
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn start(io: &str, role: &str, flags: &[&str]) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, flags)
}

slotway_tests::on_each_engine! {
    requests_are_counted_by_route_and_status_and_their_durations_with_them
    phases_are_measured_for_a_share_of_requests
    who_waits_and_how_long_is_told_while_it_waits
    who_waits_for_a_worker_that_has_gone_is_told_by_route
    bytes_connections_and_wakes_are_counted
}

fn requests_are_counted_by_route_and_status_and_their_durations_with_them(io: &str) {
    let (hub, _worker) = start(io, "echo", &[]);
    for n in 0..7 {
        http::get(hub.address, &format!("/api/items/{n}?secret=hush"));
    }
    for _ in 0..3 {
        assert_eq!(http::get(hub.address, "/nowhere/at-all").status, 404);
    }
    assert_eq!(
        http::request(hub.address, "PUT", "/api/items/1", b"").status,
        405
    );
    // A client that leaves before its response.
    let mut leaving = Connection::open(hub.address);
    leaving.send("GET /api/sleep/3000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("a worker has it", || {
        Scrape::of(hub.address).count("slotway_slots", &[("state", "in_use")]) > 0
    });
    drop(leaving);
    let of = |scrape: &Scrape, route, class| {
        let labels = [("route", route), ("status_class", class)];
        scrape.count("slotway_requests_total", &labels)
    };
    let mut scrape = Scrape::of(hub.address);
    wait_until("the client's leaving is counted", || {
        scrape = Scrape::of(hub.address);
        of(&scrape, "/api/sleep/{ms}", "aborted") > 0
    });
    let counted = [
        ("/api/items/{id}", "2xx", 7),
        ("none", "4xx", 4),
        ("/api/sleep/{ms}", "aborted", 1),
    ];
    for (route, class, count) in counted {
        assert_eq!(of(&scrape, route, class), count, "{}", scrape.text);
    }
    let items = [("route", "/api/items/{id}")];
    let name = |what: &str| format!("slotway_request_duration_seconds_{what}");
    assert_eq!(scrape.count(&name("count"), &items), 7);
    let infinite = [items[0], ("le", "+Inf")];
    assert_eq!(scrape.count(&name("bucket"), &infinite), 7);
    let sum = scrape.value(&name("sum"), &items);
    assert!((0.000_05..10.0).contains(&sum), "{sum}");
    assert_eq!(
        scrape.count("slotway_faults_total", &[("fault", "client_left")]),
        1
    );
    for secret in ["hush", "secret", "at-all", "/api/items/1"] {
        assert!(!scrape.text.contains(secret), "{secret}: {}", scrape.text);
    }
}

fn phases_are_measured_for_a_share_of_requests(io: &str) {
    let (hub, _worker) = start(io, "echo", &[]);
    let mut connection = Connection::open(hub.address);
    for _ in 0..160 {
        connection.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(connection.read_response("GET").unwrap().status, 200);
    }
    let scrape = Scrape::of(hub.address);
    let name = "slotway_request_phase_seconds_count";
    for phase in ["parse", "queue", "worker", "response", "write"] {
        let count = scrape.count(name, &[("phase", phase)]);
        assert!((9..=11).contains(&count), "{phase}: {count}");
    }
    // A worker's phase is within what the request took in all.
    let worker = scrape.value("slotway_request_phase_seconds_sum", &[("phase", "worker")]);
    let all = scrape.value("slotway_request_duration_seconds_sum", &[]);
    assert!(worker > 0.0 && worker < all, "{worker} {all}");
}

fn who_waits_and_how_long_is_told_while_it_waits(io: &str) {
    let (hub, _worker) = start(io, "echo", &["--slots", "1"]);
    let mut clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Connection::open(hub.address);
            client.send("GET /api/sleep/600 HTTP/1.1\r\nHost: h\r\n\r\n");
            client
        })
        .collect();
    let mut scrape = Scrape::of(hub.address);
    wait_until("three wait for 50 ms", || {
        scrape = Scrape::of(hub.address);
        scrape.count("slotway_queue_length", &[]) == 3
            && scrape.value("slotway_queue_age_seconds", &[]) >= 0.05
    });
    let route = [("route", "/api/sleep/{ms}")];
    assert_eq!(scrape.count("slotway_route_queue_length", &route), 3);
    assert_eq!(scrape.count("slotway_slots", &[("state", "free")]), 0);
    assert_eq!(scrape.count("slotway_slots", &[("state", "in_use")]), 1);
    for client in &mut clients {
        assert_eq!(client.read_response("GET").unwrap().status, 200);
    }
    let scrape = Scrape::of(hub.address);
    assert_eq!(scrape.count("slotway_queue_length", &[]), 0);
    assert_eq!(scrape.count("slotway_queue_age_seconds", &[]), 0);
}

fn who_waits_for_a_worker_that_has_gone_is_told_by_route(io: &str) {
    let (hub, worker) = start(io, "echo", &["--worker-grace", "20s"]);
    drop(worker);
    hub.part.wait_for_log("gone: its ");
    let mut client = Connection::open(hub.address);
    client.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    let route = [("route", "/api/items/{id}"), ("method", "GET")];
    wait_until("it waits", || {
        let text = Scrape::of(hub.address);
        text.text.contains("slotway_route_queue_length{")
            && text.count("slotway_route_queue_length", &route) == 1
    });
    let _next = hub.start_worker("echo", "echo");
    assert_eq!(client.read_response("GET").unwrap().status, 200);
}

fn bytes_connections_and_wakes_are_counted(io: &str) {
    let (hub, _worker) = start(io, "echo", &[]);
    let before = Scrape::of(hub.address);
    let body = vec![b'x'; 300_000];
    let response = http::request(hub.address, "POST", "/api/echo", &body);
    assert_eq!(response.body.len(), body.len());
    let after = Scrape::of(hub.address);
    let more = |name: &str| after.count(name, &[]) - before.count(name, &[]);
    for name in ["slotway_received_bytes_total", "slotway_sent_bytes_total"] {
        // And the heads, and the scrape itself.
        let bytes = more(name);
        assert!((300_000..350_000).contains(&bytes), "{name}: {bytes}");
    }
    assert_eq!(more("slotway_connections_accepted_total"), 2);
    assert!(more("slotway_worker_wakes_total") >= 1);
    assert_eq!(after.count("slotway_lost_wakes_total", &[]), 0);
    assert_eq!(
        after.count("slotway_connections", &[]),
        1,
        "the one that asks"
    );
}

#[test]
fn sessions_and_how_they_ended_are_counted() {
    let (hub, mut worker) = start("auto", "echo", &[]);
    let scrape = Scrape::of(hub.address);
    assert_eq!(scrape.count("slotway_sessions", &[("state", "live")]), 1);
    assert_eq!(scrape.count("slotway_instances", &[("worker", "echo")]), 1);
    worker.signal(Signal::KILL);
    worker.wait();
    let ended =
        |cause| Scrape::of(hub.address).count("slotway_sessions_ended_total", &[("cause", cause)]);
    wait_until("its crash is counted", || ended("crashed") == 1);
    let mut worker = hub.start_worker("sse", "rooms");
    worker.signal(Signal::TERM);
    worker.wait();
    wait_until("its leaving is counted", || ended("left") == 1);
    assert_eq!(ended("crashed"), 1);
}

#[test]
fn an_event_stream_is_counted_when_it_begins_and_a_cut_response_as_aborted() {
    let (hub, mut worker) = start("auto", "sse", &[]);
    let mut stream = Connection::open(hub.address);
    stream.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(stream.read_head().unwrap().status, 200);
    let scrape = Scrape::of(hub.address);
    assert_eq!(scrape.count("slotway_event_stream_clients", &[]), 1);
    assert_eq!(scrape.count("slotway_event_streams_total", &[]), 1);
    let own = [("route", "hub"), ("status_class", "2xx")];
    assert!(scrape.count("slotway_requests_total", &own) >= 1);
    drop(stream);
    wait_until("it has left", || {
        Scrape::of(hub.address).count("slotway_event_stream_clients", &[]) == 0
    });
    worker.signal(Signal::KILL);
    worker.wait();
}

#[test]
fn promtool_finds_nothing_wrong_and_openmetrics_ends_as_it_must() {
    let (hub, _worker) = start("auto", "odd", &[]);
    http::get(hub.address, PATH);
    http::get(hub.address, "/\"quoted\"");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let open = http::get_with(hub.address, "/metrics", accept);
    let content_type = open.field("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.text().ends_with("# EOF\n"));
    assert!(open.text().contains("# TYPE slotway_requests counter\n"));
    let plain = http::get(hub.address, "/metrics");
    let content_type = plain.field("content-type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    if !has_program("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was found");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(&plain.body).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_client_that_does_not_read_its_metrics_is_dropped() {
    let flags = ["--write-timeout", "200ms", "--connections-max", "100"];
    let (hub, _worker) = start("auto", "echo", &flags);
    let mut idle = Connection::open(hub.address);
    // Pipelined until nothing more is taken.
    idle.stream()
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    while idle.try_send(&request).is_ok() {}
    wait_until("it is dropped", || {
        Scrape::of(hub.address).count("slotway_connections", &[]) == 1
    });
}
