//! Probes, metrics and the status page: where they are answered, to whom, and while the hub
//! comes and goes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::http::{self, Connection, Response};
use slotway_tests::scrape::Scrape;
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, own_address, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// A hub with a listener for operations; returns the latter's address.
fn start_with_ops(io: &str, flags: &[&str]) -> (HubPart, SocketAddr) {
    let flags = [&["--io", io, "--ops", "127.0.0.1:0"], flags].concat();
    let hub = HubPart::start(program(), &flags);
    let ops = hub.other_address();
    (hub, ops)
}

fn is_page(response: &Response) -> bool {
    response.status == 200 && response.text().contains("<title>Slotway")
}

slotway_tests::on_each_engine! {
    a_listener_for_operations_answers_them_and_nothing_else_and_takes_them_from_clients
    operators_find_room_when_clients_have_taken_all
    a_probe_finds_room_among_all_who_hold_connections_to_the_listener_for_operations
    probes_say_whether_the_hub_and_a_route_take_requests
    readiness_goes_before_the_hub_and_can_be_asked_until_it_has_drained
    a_new_hub_gets_the_listener_for_operations
}

fn a_listener_for_operations_answers_them_and_nothing_else_and_takes_them_from_clients(io: &str) {
    let (hub, ops) = start_with_ops(io, &[]);
    let _worker = hub.start_worker("site", "site");
    assert_eq!(http::get(ops, "/live").text(), "live\n");
    assert_eq!(
        http::get(ops, "/ready").text(),
        "{\"ready\":true,\"why\":null}\n"
    );
    assert!(Scrape::of(ops).text.contains("slotway_build_info"));
    assert!(is_page(&http::get(ops, "/_slotway/")));
    assert_eq!(
        http::get(ops, "/_slotway").field("location"),
        Some("/_slotway/")
    );
    for path in [
        "/",
        "/health",
        "/internal/slots",
        "/events",
        "/metrics/x",
        "/_slotway/x",
    ] {
        assert_eq!(http::get(ops, path).status, 404, "{path}");
    }
    assert_eq!(http::request(ops, "POST", "/metrics", b"").status, 405);
    let head = http::request(ops, "HEAD", "/metrics", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for path in ["/live", "/ready", "/metrics"] {
        let response = http::get(hub.address, path);
        assert_eq!(
            response.text(),
            format!("site {path}"),
            "it is the worker's"
        );
    }
}

fn operators_find_room_when_clients_have_taken_all(io: &str) {
    let (hub, ops) = start_with_ops(io, &["--connections-max", "2"]);
    let held: Vec<_> = (0..5).map(|_| Connection::open(hub.address)).collect();
    hub.part.wait_for_log("the connection limit is reached");
    let scrape = Scrape::of(ops);
    assert_eq!(scrape.count("slotway_connections", &[]), 2);
    assert_eq!(scrape.count("slotway_connections_max", &[]), 2);
    drop(held);
}

fn a_probe_finds_room_among_all_who_hold_connections_to_the_listener_for_operations(io: &str) {
    let (hub, ops) = start_with_ops(io, &["--reactors", "1"]);
    let ask = |bytes: &str| {
        let mut connection = Connection::open(ops);
        connection.send(bytes);
        connection
    };
    let feed = "GET /_slotway/feed HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut pages: Vec<_> = (0..64).map(|_| ask(feed)).collect();
    for page in &mut pages {
        assert_eq!(page.read_head().unwrap().status, 200);
    }
    let silent: Vec<_> = (0..150).map(|_| ask("")).collect();
    assert_eq!(http::get(ops, "/live").status, 200);
    let halves: Vec<_> = (0..150).map(|_| ask("GET / HTT")).collect();
    assert_eq!(http::get(ops, "/ready").status, 200);
    assert!(Scrape::of(ops).text.contains("slotway_build_info"));
    drop((silent, halves));
    drop(hub);
}

fn probes_say_whether_the_hub_and_a_route_take_requests(io: &str) {
    let (hub, ops) = start_with_ops(io, &["--expect-worker", "echo", "--worker-grace", "0"]);
    let ready = |query: &str| {
        let response = http::get(ops, &format!("/ready{query}"));
        (response.status, response.text())
    };
    let (status, why) = ready("");
    assert_eq!(status, 503);
    assert!(
        why.contains("starting: worker echo has not attached"),
        "{why}"
    );
    let mut worker = hub.start_worker("echo", "echo");
    let _other = hub.start_worker("quiet", "quiet");
    assert_eq!(ready("").0, 200);
    for route in ["/quiet", "/api/items/%7Bid%7D", "/api/items/7"] {
        assert_eq!(ready(&format!("?route={route}")).0, 200, "{route}");
    }
    assert!(
        ready("?route=/nowhere")
            .1
            .contains("there is no route /nowhere")
    );
    worker.signal(Signal::KILL);
    worker.wait();
    wait_until("the route has lost its worker", || {
        let (status, why) = ready("?route=/api/items/%7Bid%7D");
        status == 503 && (why.contains("no worker of") || why.contains("has not attached"))
    });
    assert_eq!(http::get(ops, "/live").status, 200);
}

fn readiness_goes_before_the_hub_and_can_be_asked_until_it_has_drained(io: &str) {
    let (mut hub, ops) = start_with_ops(io, &["--shutdown-delay", "300ms"]);
    let _worker = hub.start_worker("echo", "echo");
    let mut last = Connection::open(hub.address);
    last.send("GET /api/sleep/3000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the worker has it", || {
        Scrape::of(ops).count("slotway_slots", &[("state", "in_use")]) == 1
    });
    hub.part.signal(Signal::TERM);
    let ready = || http::get(ops, "/ready").text();
    wait_until("it is about to stop", || ready().contains("about to stop"));
    assert_eq!(
        http::get(hub.address, "/api/items/1").status,
        200,
        "it serves on"
    );
    wait_until("it drains", || ready().contains("draining"));
    // Each reactor closes its own listener when it hears of it.
    wait_until("clients are refused", || {
        Connection::try_open(hub.address).is_err()
    });
    assert!(ready().contains("draining"));
    assert_eq!(http::get(ops, "/live").status, 200);
    assert_eq!(last.read_response("GET").unwrap().status, 200);
    assert!(hub.part.wait().success());
}

fn a_new_hub_gets_the_listener_for_operations(io: &str) {
    let folder = Folder::new();
    let path = folder.path().join("ops.sock");
    let unix = format!("unix:{}", path.display());
    let (mut hub, ops) = start_with_ops(io, &["--ops", &unix]);
    let _worker = hub.start_worker("echo", "echo");
    let old = Scrape::of(ops);
    // The old hub stays for it, with the listeners that clients have left it.
    let mut slow = Connection::open(hub.address);
    slow.send("GET /api/sleep/3000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the worker has it", || {
        Scrape::of(ops).count("slotway_slots", &[("state", "in_use")]) == 1
    });
    let _new = Successor::take_over(&hub, hub.part.pid());
    let started = |scrape: &Scrape| scrape.value("process_start_time_seconds", &[]);
    let is_new = || started(&Scrape::of(ops)) > started(&old);
    // Half of the connections would reach the old one, which goes on for its request.
    wait_until("no other answers", || (0..20).all(|_| is_new()));
    slow.stream().set_nonblocking(true).unwrap();
    assert!(
        slow.stream().peek(&mut [0]).is_err(),
        "the old one still has its request"
    );
    slow.stream().set_nonblocking(false).unwrap();
    let new = Scrape::of(ops);
    assert_eq!(slow.read_response("GET").unwrap().status, 200);
    assert!(hub.part.wait().success());
    assert_eq!(new.count("slotway_sessions", &[("state", "live")]), 1);
    let mut socket = UnixStream::connect(&path).unwrap();
    socket
        .write_all(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("live\n"), "{text}");
}

#[test]
fn without_a_listener_of_their_own_they_are_for_clients_on_this_host() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("site", "site");
    for path in ["/live", "/ready", "/metrics", "/_slotway/"] {
        let own = http::get(hub.address, path);
        assert_eq!(own.status, 200, "{path}");
        assert!(!own.text().starts_with("site "), "{path}");
    }
    // A proxy speaks for somebody who may be anywhere; what he may not have is the worker's.
    for path in ["/metrics", "/_slotway/"] {
        let other = http::get_with(hub.address, path, "X-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!(other.text(), format!("site {path}"));
    }
    let bare = http::get_with(hub.address, "/ready", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(bare.text(), "ready\n");
}

#[test]
fn pages_of_other_origins_and_other_names_of_this_host_are_refused() {
    let (hub, ops) = start_with_ops("auto", &[]);
    let public = HubPart::start(program(), &[]);
    let name = |address: SocketAddr| format!("localhost:{}", address.port());
    for address in [ops, public.address] {
        let own = name(address);
        let refused = [
            "Origin: http://evil.example\r\n".to_owned(),
            "Origin: null\r\n".to_owned(),
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n".to_owned(),
            "Sec-Fetch-Site: same-site\r\n".to_owned(),
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"
                .to_owned(),
            "Host: evil.example\r\n".to_owned(),
            format!("Host: {own}\r\nOrigin: http://{own}.evil.example\r\n"),
        ];
        let allowed = [
            String::new(),
            format!("Host: {own}\r\nOrigin: http://{own}\r\nSec-Fetch-Site: same-origin\r\n"),
            "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n".to_owned(),
            // A link on another page, which the user has followed.
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
                .to_owned(),
        ];
        for path in [
            "/metrics",
            "/_slotway/",
            "/_slotway/feed",
            "/_slotway/tables",
        ] {
            for fields in &refused {
                let response = http::get_with(address, path, fields);
                assert_eq!(response.status, 403, "{path} {fields}");
            }
        }
        for path in ["/metrics", "/_slotway/", "/_slotway/tables"] {
            for fields in &allowed {
                let response = http::get_with(address, path, fields);
                assert_eq!(response.status, 200, "{path} {fields}");
            }
        }
    }
    drop(hub);
}

#[test]
fn the_listener_for_operations_is_asked_under_names_that_are_its_own() {
    let (_hub, ops) = start_with_ops("auto", &["--ops-name", "hub.example,other.example"]);
    let status = |host: &str| {
        let fields = format!("Host: {host}\r\n");
        http::get_with(ops, "/metrics", &fields).status
    };
    let own = rustix::system::uname();
    let own = own.nodename().to_str().unwrap();
    for host in [
        "10.1.2.3:9100",
        "[fd00::1]",
        own,
        "HUB.example:80",
        "other.example",
    ] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "hub.example.evil.example",
        "x.localhost.evil",
    ] {
        assert_eq!(status(host), 403, "{host}");
    }
}

#[test]
fn a_page_cannot_be_framed_and_runs_its_own_script_alone() {
    let hub = HubPart::start(program(), &[]);
    let page = http::get(hub.address, "/_slotway/");
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    let again = http::get(hub.address, "/_slotway/");
    assert_ne!(
        again.field("content-security-policy"),
        Some(policy),
        "a nonce is used once"
    );
    // A worker's name is text, whatever it is.
    let name = "<script>alert(1)</script>\"'&";
    let worker = hub.begin_worker("echo", name, &[]);
    hub.part.wait_for_log("attached");
    let page = http::get(hub.address, "/_slotway/").text();
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    drop(worker);
}

#[test]
fn the_status_page_can_be_turned_off() {
    let hub = HubPart::start(program(), &["--status", "off"]);
    assert_eq!(http::get(hub.address, "/_slotway/").status, 404);
    assert_eq!(http::get(hub.address, "/metrics").status, 200);
}

#[test]
fn a_worker_s_route_of_just_that_path_goes_first_and_the_page_s_is_reserved() {
    let hub = HubPart::start(program(), &[]);
    let register = |path: &str| {
        let document = format!(r#"{{"name":"w","routes":[{{"method":"GET","path":"{path}"}}]}}"#);
        http::request(
            hub.address,
            "POST",
            "/internal/register",
            document.as_bytes(),
        )
    };
    for path in ["/metrics", "/ready", "/live"] {
        assert_eq!(register(path).status, 200, "{path}");
    }
    assert_eq!(register("/_slotway/x").status, 400);
    let _worker = hub.start_worker("own-metrics", "own");
    assert_eq!(http::get(hub.address, "/metrics").text(), "mine");
    assert_eq!(http::get(hub.address, "/ready").status, 200);
}

#[test]
fn a_probe_needs_no_secret_and_learns_nothing() {
    let Some(address) = own_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let flags = [
        "--bind",
        &address.to_string(),
        "--port",
        "0",
        "--expect-worker",
        "hidden",
    ];
    let hub = HubPart::start_with_secret(program(), &flags, "0123456789abcdef");
    let (live, ready) = (
        http::get(hub.address, "/live"),
        http::get(hub.address, "/ready"),
    );
    assert_eq!((live.status, live.text().as_str()), (200, "live\n"));
    assert_eq!((ready.status, ready.text().as_str()), (503, "not ready\n"));
    let asked = http::get(hub.address, "/ready?route=/x");
    assert_eq!(asked.text(), "not ready\n");
    for path in ["/metrics", "/_slotway/", "/health"] {
        assert_eq!(http::get(hub.address, path).status, 401, "{path}");
    }
    let told = http::get_with(
        hub.address,
        "/metrics",
        "X-Hub-Secret: 0123456789abcdef\r\n",
    );
    assert!(!told.text().contains("slotway_"), "they are for this host");
}

#[test]
fn only_so_many_status_pages_are_told_what_happens() {
    let hub = HubPart::start(program(), &[]);
    let open = || {
        let mut feed = Connection::open(hub.address);
        feed.send("GET /_slotway/feed HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = feed.read_head().unwrap();
        (feed, head.status)
    };
    let feeds: Vec<_> = (0..64).map(|_| open()).collect();
    assert!(feeds.iter().all(|(_, status)| *status == 200));
    assert_eq!(open().1, 503);
    drop(feeds);
    std::thread::sleep(Duration::from_millis(100));
    wait_until("there is room again", || open().1 == 200);
}
