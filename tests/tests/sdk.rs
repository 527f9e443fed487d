//! The worker SDK as its users have it: the examples of its README, extractors, workers
//! without a runtime.

use std::path::Path;

use rustix::process::Signal;
use slotway_tests::event_stream::EventStream;
use slotway_tests::http::{self, Connection, Response};
use slotway_tests::successor::Successor;
use slotway_tests::system::{HubPart, free_port, wait_until};
use slotway_worker_sdk::{HubWorker, Method, RunError};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn ask(hub: &HubPart, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let mut connection = Connection::open(hub.address);
    let length = body.len();
    connection.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    connection.read_response(method).expect("a response")
}

slotway_tests::on_each_engine! {
    a_worker_on_the_seeds_api_answers_as_it_did_there
}

fn a_worker_on_the_seeds_api_answers_as_it_did_there(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("seed", "seed");
    let user = http::get(hub.address, "/api/users/7?full=1");
    assert_eq!(user.text(), r#"{"id":"7","query":"full=1","request":1}"#);
    assert_eq!(user.field("content-type"), Some("application/json"));
    let created = http::request(hub.address, "POST", "/api/users", br#"{"name":"a"}"#);
    assert_eq!(
        (created.status, created.text().as_str()),
        (201, r#"{"name":"a"}"#)
    );
    let refused = http::request(hub.address, "POST", "/api/users", b"{");
    assert_eq!(refused.status, 400);
    assert!(refused.text().starts_with(r#"{"error":"#));
    assert_eq!(http::get(hub.address, "/api/status/418").status, 418);
}

/// What waits to become whole has a bound, and who is beyond it is told so.
#[test]
fn a_worker_collects_so_many_bytes_of_bodies_and_no_more() {
    const MIB: usize = 1024 * 1024;
    let hub = HubPart::start(program(), &[]);
    let worker = HubWorker::new(&hub.url(), "collector", ())
        .hub_socket(&hub.socket)
        .collected_bytes_max(3 * MIB)
        .in_place(Method::Post, "/length", |(), request| {
            let length = request.body().len();
            request.response(200).text(length)
        });
    let running = worker.start().unwrap();
    wait_until("it is attached", || hub.health().contains("collector"));
    // Two that have come for the most part, and hold most of the memory.
    let mut stalled: Vec<_> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(hub.address);
            connection.send(format!(
                "POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: {MIB}\r\n\r\n"
            ));
            connection.send(vec![b'x'; MIB - 1]);
            connection
        })
        .collect();
    let whole = "x".repeat(2 * MIB);
    let start = std::time::Instant::now();
    let refused = loop {
        // Until what the stalled ones have sent has arrived.
        let response = ask(&hub, "POST", "/length", "", &whole);
        if response.status != 200 || start.elapsed().as_secs() > 5 {
            break response;
        }
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert!(refused.text().contains("no memory"), "{}", refused.text());
    // What fits is served, and so are those that hold the memory, and then others.
    assert_eq!(ask(&hub, "POST", "/length", "", "small").text(), "5");
    for connection in &mut stalled {
        connection.send("x");
        let response = connection.read_response("POST").unwrap();
        assert_eq!(response.text(), MIB.to_string());
    }
    assert_eq!(ask(&hub, "POST", "/length", "", &whole).status, 200);
    running.stop();
    running.wait().unwrap();
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn the_readme_has_the_examples_as_they_are() {
    let readme = include_str!("../../worker-sdk/README.md");
    for example in [
        include_str!("../../worker-sdk/examples/axum_service.rs"),
        include_str!("../../worker-sdk/examples/items.rs"),
    ] {
        assert!(readme.contains(example.trim_end()), "{example}");
    }
}

#[test]
fn the_readmes_axum_service_runs() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("readme-axum", "");
    assert_eq!(http::get(hub.address, "/").text(), "hello from axum\n");
    assert_eq!(
        http::get(hub.address, "/users/1").text(),
        r#"{"id":1,"name":"Ada"}"#
    );
    assert_eq!(http::get(hub.address, "/users/2").status, 404);
    assert!(hub.health().contains("\"demo\""), "the program's name");
}

#[test]
fn the_readmes_items_and_their_changes_run() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("readme-items", "items");
    let mut changes = EventStream::open(hub.address, "/items/changes");
    let added = ask(&hub, "POST", "/items", JSON, r#"{"name":"a hammer"}"#);
    assert_eq!((added.status, added.text().as_str()), (201, "0"));
    let event = changes.event();
    assert_eq!(
        (event.event_type.as_str(), event.data.as_str()),
        ("added", "a hammer")
    );
    assert_eq!(event.id.as_deref(), Some("0"));
    let found = http::get(hub.address, "/items/0");
    assert_eq!(found.text(), r#"{"name":"a hammer"}"#);
    let missing = http::get(hub.address, "/items/1");
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (404, r#"{"error":"no such item"}"#)
    );
}

#[test]
fn arguments_are_made_of_the_request_and_errors_are_json() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("extractors", "x");
    let order = r#"{"name":"n","count":2}"#;
    let cases = [
        ("GET", "/x/state", "", "", 200, "the state"),
        ("GET", "/x/one/41", "", "", 200, "42"),
        ("GET", "/x/one/x", "", "", 400, "path parameter"),
        ("GET", "/x/two/7/a%20b", "", "", 200, "7 a b"),
        ("GET", "/x/two/256/b", "", "", 400, "256"),
        ("GET", "/x/map/1/2/3", "", "", 200, r#"{"a":"1","b":"2/3"}"#),
        ("GET", "/x/page?page=3", "", "", 200, "3 None"),
        ("GET", "/x/page?page=3&size=%35", "", "", 200, "3 Some(5)"),
        ("GET", "/x/page?page=x", "", "", 400, "page"),
        ("GET", "/x/page", "", "", 400, "missing field `page`"),
        ("POST", "/x/order", JSON, order, 201, order),
        ("POST", "/x/order", "", order, 415, "application/json"),
        ("POST", "/x/order", JSON, "{", 400, "body"),
        (
            "POST",
            "/x/order",
            JSON,
            r#"{"name":"n","count":-1}"#,
            422,
            "count",
        ),
        (
            "POST",
            "/x/order",
            JSON,
            r#"{"name":"n","count":2} x"#,
            400,
            "trailing",
        ),
        ("POST", "/x/text", "", "caf\u{e9}", 200, "caf\u{e9}"),
        ("POST", "/x/bytes", "", "bytes", 200, "bytes"),
        ("GET", "/x/headers", "X-One: 1\r\n", "", 200, "1"),
        ("GET", "/x/key", "X-Api-Key: k\r\n", "", 200, "k"),
        ("GET", "/x/key", "", "", 401, "x-api-key is missing"),
        ("GET", "/x/maybe", "", "", 200, "nobody"),
        ("GET", "/x/maybe", "X-Api-Key: k\r\n", "", 200, "k"),
        ("GET", "/x/page-maybe", "", "", 200, "none"),
        ("GET", "/x/page-maybe?page=2", "", "", 200, "2"),
        ("GET", "/x/page-maybe?page=x", "", "", 400, "page"),
        ("POST", "/x/order-maybe", "", "", 200, "none"),
        ("POST", "/x/order-maybe", JSON, order, 200, "n"),
        ("POST", "/x/order-maybe", JSON, "{", 400, "body"),
        ("GET", "/x/mistake/1/2", "", "", 500, "internal error"),
        ("GET", "/x/later", "", "", 200, "later"),
        ("GET", "/x/teapot", "", "", 418, "a teapot"),
        ("GET", "/x/nothing", "", "", 200, ""),
        ("OPTIONS", "/x/method", "", "", 200, "OPTIONS"),
        ("GET", "/x/cancelled", "", "", 200, "false"),
        ("POST", "/x/count/a", "", "12345", 200, "a 5"),
    ];
    for (method, path, fields, body, status, expected) in cases {
        let response = ask(&hub, method, path, fields, body);
        let what = format!("{method} {path} {body}: {}", response.text());
        assert_eq!(response.status, status, "{what}");
        if status < 400 || status == 418 {
            assert_eq!(response.text(), expected, "{what}");
        } else {
            let document: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            let error = document["error"].as_str().unwrap();
            assert!(error.contains(expected), "{what}");
        }
    }
    let mut not_text = Connection::open(hub.address);
    not_text.send(b"POST /x/text HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n\xff\xfe");
    assert_eq!(not_text.read_response("POST").unwrap().status, 400);
    let large = "y".repeat(3_000_000);
    let counted = ask(&hub, "POST", "/x/count/large", "", &large);
    assert_eq!(counted.text(), "large 3000000");
}

/// In this process, which has no runtime.
#[test]
fn a_worker_without_a_runtime_serves_and_stops() {
    let hub = HubPart::start(program(), &[]);
    let worker = HubWorker::new(&hub.url(), "plain", 7)
        .in_place(Method::Get, "/plain", |seven, request| {
            request.response(200).text(seven)
        })
        .spin(std::time::Duration::from_micros(50))
        .threads(2)
        .start()
        .unwrap();
    wait_until("it has attached", || hub.health().contains("plain"));
    assert_eq!(http::get(hub.address, "/plain").text(), "7");
    assert!(!worker.has_ended());
    let stopper = worker.stopper();
    std::thread::spawn(move || stopper.stop());
    worker.wait().unwrap();
    assert_eq!(http::get(hub.address, "/plain").status, 503);
}

#[test]
fn a_worker_that_is_told_to_stop_again_and_again_still_finishes_what_it_has() {
    for upgrades in [false, true] {
        let mut hub = HubPart::start(program(), &[]);
        let (entered, has_entered) = std::sync::mpsc::channel();
        let worker = HubWorker::new(&hub.url(), "slow", ())
            .get("/slow", move || {
                entered.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(500));
                "finished"
            })
            .start()
            .unwrap();
        wait_until("it has attached", || hub.health().contains("slow"));
        let mut slow = Connection::open(hub.address);
        slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        has_entered.recv().unwrap();
        let _new = upgrades.then(|| {
            let new = Successor::take_over(&hub, hub.part.pid());
            hub.part.wait_for_log("a new hub has taken over");
            new
        });
        for _ in 0..5 {
            worker.stop();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(slow.read_response("GET").unwrap().text(), "finished");
        worker.wait().unwrap();
        if upgrades {
            assert!(hub.part.wait().success());
        }
    }
}

#[test]
fn a_worker_that_is_dropped_is_gone() {
    let hub = HubPart::start(program(), &[]);
    let worker = HubWorker::new(&hub.url(), "dropped", ())
        .get("/plain", || ())
        .start()
        .unwrap();
    wait_until("it has attached", || hub.health().contains("dropped"));
    drop(worker);
    wait_until("it is gone", || !hub.health().contains("dropped"));
}

#[test]
fn a_worker_that_the_hub_refuses_says_why() {
    let hub = HubPart::start(program(), &[]);
    let worker = HubWorker::new(&hub.url(), "w", ()).get("/health", || ());
    let error = worker.run_blocking().unwrap_err();
    assert!(
        matches!(error, RunError::Registration { status: 400, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("reserved"), "{error}");
}

#[test]
fn a_worker_survives_that_its_hub_is_killed_and_started_again() {
    let port = free_port().to_string();
    let mut hub = HubPart::start_listening(program(), &["--port", &port]);
    let worker = HubWorker::new(&hub.url(), "survivor", ()).get("/survivor", || "here");
    let emitter = worker.emitter();
    let worker = worker.start().unwrap();
    wait_until("it has attached", || hub.health().contains("survivor"));
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    let again = HubPart::start_listening(program(), &["--port", &port]);
    wait_until("it is back", || again.health().contains("survivor"));
    assert_eq!(http::get(again.address, "/survivor").text(), "here");
    let mut events = EventStream::open(again.address, "/events");
    emitter.emit_blocking("back", "").unwrap();
    assert_eq!(events.event().event_type, "back");
    worker.stop();
    worker.wait().unwrap();
}
