//! The hub's own paths: who may ask, what is refused with which words, and what they
//! say.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};
use slotway_tests::http::{self, Connection, Response};
use slotway_tests::system::{Folder, HubPart, Part, own_address, wait_until};

const SECRET: &str = "sixteen or more characters";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn post(address: SocketAddr, path: &str, document: &str) -> Response {
    http::request(address, "POST", path, document.as_bytes())
}

fn ask(address: SocketAddr, request: &str) -> Response {
    let mut connection = Connection::open(address);
    connection.send(request);
    let method = request.split(' ').next().unwrap_or_default();
    connection.read_response(method).expect("a response")
}

/// The error of an answer, and the field that it names.
fn error_of(response: &Response) -> (String, Option<String>) {
    let document: Value = serde_json::from_slice(&response.body).expect("JSON");
    let text = |name: &str| document[name].as_str().map(str::to_owned);
    (text("error").expect("an error"), text("field"))
}

/// What is wrong with a document: status, the field that is named if one is, and a word
/// of the reason.
type Wrong<'w> = (&'w str, u16, Option<&'w str>, &'w str);

fn are_refused(hub: &HubPart, path: &str, cases: &[Wrong<'_>]) {
    for (document, status, field, why) in cases {
        let response = post(hub.address, path, document);
        let shown = &document[..document.len().min(100)];
        assert_eq!(response.status, *status, "{shown}: {}", response.text());
        let (error, named) = error_of(&response);
        assert!(error.contains(why), "{shown}: {error}");
        assert_eq!(named.as_deref(), *field, "{shown}: {error}");
    }
}

#[test]
fn a_wrong_registration_is_refused_with_its_field_and_does_nothing() {
    let hub = HubPart::start(program(), &[]);
    let path = "/internal/register";
    let wrong: &[Wrong<'_>] = &[
        ("{", 400, None, "EOF"),
        (r#"{"name":"w"}"#, 400, None, "missing field `routes`"),
        (r#"{"name":7,"routes":[]}"#, 400, Some("name"), "a string"),
    ];
    are_refused(&hub, path, wrong);
    let long_name = json!({"name": "x".repeat(200), "routes": []}).to_string();
    are_refused(&hub, path, &[(&long_name, 400, Some("name"), "128")]);
    for (route, field, why) in [
        (
            json!({"method": "GET", "path": 7}),
            "routes[0].path",
            "string",
        ),
        (
            json!({"method": "GET", "path": "/x", "sse": "yes"}),
            "routes[0].sse",
            "boolean",
        ),
        (
            json!({"method": "PUT", "path": "/x", "sse": true}),
            "routes[0].sse",
            "GET",
        ),
        (
            json!({"method": "GET", "path": "/internal/x"}),
            "routes[0].path",
            "reserved",
        ),
        (
            json!({"method": "GET", "path": "/health"}),
            "routes[0].path",
            "reserved",
        ),
        (
            json!({"method": "GET", "path": "/events/x"}),
            "routes[0].path",
            "reserved",
        ),
        (
            json!({"method": "GET", "path": "/__ping__"}),
            "routes[0].path",
            "reserved",
        ),
    ] {
        let document = json!({"name": "w", "routes": [route]}).to_string();
        are_refused(&hub, path, &[(&document, 400, Some(field), why)]);
    }
    let twice = json!({"method": "GET", "path": "/x"});
    let document = json!({"name": "w", "routes": [twice, twice]}).to_string();
    are_refused(&hub, path, &[(&document, 400, Some("routes[1]"), "twice")]);
    assert_eq!(http::get(hub.address, path).status, 405);
    assert_eq!(http::get(hub.address, "/internal/nonsense").status, 404);
    let health: Value = serde_json::from_str(&hub.health()).unwrap();
    assert_eq!(health, json!({"ok": true, "workers": []}));
}

#[test]
fn a_wrong_event_is_refused_with_its_field() {
    let hub = HubPart::start(program(), &[]);
    let long = "x".repeat(300_000);
    let emitted = |source: &str, data: &str| {
        json!({"source": source, "event_type": "e", "data": data}).to_string()
    };
    let wrong: &[Wrong<'_>] = &[
        ("[]", 400, None, "not an event"),
        (r#"{"source":"s","event_type":"e"}"#, 400, None, "`data`"),
        (
            r#"{"source":"s","event_type":"e","data":{}}"#,
            400,
            Some("data"),
            "string",
        ),
        (
            r#"{"source":"s","event_type":"","data":""}"#,
            400,
            Some("event_type"),
            "empty",
        ),
        (&emitted(&long[..300], ""), 400, Some("source"), "256"),
        (&emitted("s", &long), 413, Some("data"), "bytes"),
    ];
    are_refused(&hub, "/internal/emit", wrong);
    let quoted = format!("\"{}\"", "x".repeat(100_000));
    let refused = post(hub.address, "/internal/emit", &quoted);
    assert!(refused.body.len() < 1000, "it does not send all of it back");
    let too_large = "x".repeat((1 << 20) + 1);
    assert_eq!(post(hub.address, "/internal/emit", &too_large).status, 413);

    let pushed = |more: &str| format!(r#"{{"event_type":"e","data":""{more}}}"#);
    let wrong: &[Wrong<'_>] = &[
        (&pushed(""), 400, Some("path"), "needed"),
        (
            &pushed(r#","path":"/x","pattern":"/x""#),
            400,
            Some("path"),
            "only one",
        ),
        (
            &pushed(r#","path":"/x","params":{}"#),
            400,
            Some("params"),
            "pattern",
        ),
        (
            &pushed(r#","pattern":"/x","params":{"a":1}"#),
            400,
            Some("params.a"),
            "string",
        ),
        (
            &pushed(r#","path":"/x","id":"\u0000""#),
            400,
            Some("id"),
            "NUL",
        ),
        (
            &pushed(r#","path":"/x","retry":-1"#),
            400,
            Some("retry"),
            "integer",
        ),
        (
            r#"{"path":"/x","event_type":"e\nid: 1","data":""}"#,
            400,
            Some("event_type"),
            "line end",
        ),
        (&pushed(r#","path":"/x""#), 404, None, "no client matches"),
    ];
    are_refused(&hub, "/internal/sse-push", wrong);
}

#[test]
fn a_path_is_an_event_stream_for_all_its_workers_or_for_none() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("sse", "rooms");
    let register = |name: &str, path: &str, sse: bool| {
        let route = json!({"method": "GET", "path": path, "sse": sse});
        let document = json!({"name": name, "routes": [route], "shares_routes": true});
        post(hub.address, "/internal/register", &document.to_string())
    };
    let refused = register("other", "/sse/{room}", false);
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(
        refused.text().contains("event stream"),
        "{}",
        refused.text()
    );
    assert_eq!(register("other", "/sse-told", true).status, 409);
    assert_eq!(
        register("other", "/sse/{other}", true).status,
        409,
        "as ever"
    );
    assert_eq!(register("other", "/sse/{room}", true).status, 200);
    assert_eq!(
        register("rooms", "/sse/{room}", false).status,
        200,
        "it replaces its own"
    );
}

#[test]
fn slots_are_told_with_what_they_are_in() {
    let hub = HubPart::start(
        program(),
        &["--slots", "2", "--streams", "1", "--reactors", "2"],
    );
    let _worker = hub.start_worker("echo", "echo");
    let slots = || -> Value {
        let response = http::get(hub.address, "/internal/slots");
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).unwrap()
    };
    let numbers = |told: &Value| {
        let worker = &told["workers"][0];
        ["total", "free", "in_use"].map(|name| worker[name].as_u64().unwrap())
    };
    let told = slots();
    assert_eq!(numbers(&told), [6, 6, 0]);
    assert_eq!(told["workers"][0]["name"], "echo");
    let mut slow = Connection::open(hub.address);
    slow.send("GET /api/sleep/300 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the request is with the worker", || {
        numbers(&slots()) == [6, 5, 1]
    });
    let told = slots();
    let states = told["workers"][0]["slots"].as_array().unwrap();
    let submitted: Vec<_> = states
        .iter()
        .filter(|slot| slot["state"] == "submitted")
        .collect();
    assert_eq!((states.len(), submitted.len()), (1, 1));
    // The seed's names stand beside these.
    assert_eq!(told["workers"][0]["total_slots"], 6);
    assert_eq!(submitted[0]["index"], submitted[0]["slot"]);
    assert_eq!(submitted[0]["generation"], 1);
    assert_eq!(slow.read_response("GET").unwrap().status, 200);
    wait_until("it is free again", || numbers(&slots()) == [6, 6, 0]);
}

#[test]
fn internal_paths_are_not_for_web_pages() {
    let hub = HubPart::start(program(), &["--cors-allow-origin", "*"]);
    let document = json!({"name": "w", "routes": [{"method": "GET", "path": "/x"}]}).to_string();
    let length = document.len();
    for field in [
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let request = format!(
            "POST /internal/register HTTP/1.1\r\nHost: localhost\r\n{field}\r\nContent-Length: {length}\r\n\r\n{document}"
        );
        let refused = ask(hub.address, &request);
        assert_eq!(refused.status, 403, "{field}: {}", refused.text());
        let slots = format!("GET /internal/slots HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n");
        assert_eq!(ask(hub.address, &slots).status, 403, "{field}");
    }
    // What a proxy passes on may come from anywhere.
    for field in [
        "X-Forwarded-For: 192.0.2.9",
        "Forwarded: for=192.0.2.9",
        "Via: 1.1 p",
    ] {
        let slots = format!("GET /internal/slots HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n");
        assert_eq!(ask(hub.address, &slots).status, 403, "{field}");
    }
    // Typed into a browser's address bar.
    let typed = "GET /internal/slots HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\n\r\n";
    assert_eq!(ask(hub.address, typed).status, 200);
}

fn ask_over_unix(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("the hub listens");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn internal_paths_can_be_moved_to_the_unix_socket_and_workers_find_them_there() {
    let folder = Folder::new();
    let path = folder.path().join("http.sock");
    let unix = format!("unix:{}", path.display());
    let flags = [
        "--internal",
        "socket",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &unix,
    ];
    let hub = HubPart::start_listening(program(), &flags);
    let refused = post(hub.address, "/internal/register", "{}");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("Unix socket"), "{}", refused.text());
    let _worker = hub.start_worker_over_http(&unix, "sse", "rooms", &[]);
    let close = "Host: h\r\nConnection: close\r\n\r\n";
    let slots = ask_over_unix(&path, &format!("GET /internal/slots HTTP/1.1\r\n{close}"));
    assert!(slots.contains("\"rooms\""), "{slots}");
    assert_eq!(http::get(hub.address, "/sse-told").text(), "[]");
    // Its pushes go there too.
    let mut stream = slotway_tests::event_stream::EventStream::open(hub.address, "/sse/a");
    assert_eq!(http::get(hub.address, "/sse-push/a/news").status, 200);
    assert_eq!(stream.event().event_type, "news");
}

#[test]
fn cross_origin_requests_are_answered_where_they_are_allowed() {
    let allowed = "https://app.example";
    let hub = HubPart::start(program(), &["--cors-allow-origin", allowed]);
    let _worker = hub.start_worker("sse", "rooms");
    let preflight = |origin: &str, path: &str| {
        ask(
            hub.address,
            &format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: GET\r\n\
                 Access-Control-Request-Headers: x-one, x-two\r\n\r\n"
            ),
        )
    };
    let response = preflight(allowed, "/sse-told");
    assert_eq!(response.status, 204);
    for (field, value) in [
        ("access-control-allow-origin", allowed),
        ("access-control-allow-methods", "GET, HEAD"),
        ("access-control-allow-headers", "x-one, x-two"),
        ("vary", "Origin"),
    ] {
        assert_eq!(
            response.field(field),
            Some(value),
            "{field}: {}",
            response.fields
        );
    }
    assert_eq!(preflight(allowed, "/nowhere").status, 404);
    let refused = preflight("https://evil.example", "/sse-told");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.field("access-control-allow-origin"), None);
    let get = |origin: &str, path: &str| {
        let fields = format!("Host: h\r\nOrigin: {origin}\r\nConnection: close");
        ask(
            hub.address,
            &format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n"),
        )
    };
    for path in ["/sse-told", "/health", "/nowhere"] {
        let response = get(allowed, path);
        let told = response.field("access-control-allow-origin");
        assert_eq!(told, Some(allowed), "{path}");
        let other = get("https://evil.example", path);
        assert_eq!(other.field("access-control-allow-origin"), None, "{path}");
    }
    let vary = http::get(hub.address, "/health");
    assert_eq!(vary.field("vary"), Some("Origin"));
    // What one request was granted is not the next one's.
    let mut two = Connection::open(hub.address);
    two.send(format!(
        "GET /health HTTP/1.1\r\nHost: h\r\nOrigin: {allowed}\r\n\r\n"
    ));
    two.read_response("GET").unwrap();
    two.send("FOO / HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\n\r\n");
    let second = two.read_response("FOO").unwrap();
    assert_eq!(
        (second.status, second.field("access-control-allow-origin")),
        (501, None)
    );
    let fields = format!("Origin: {allowed}\r\n");
    let stream =
        slotway_tests::event_stream::EventStream::open_with(hub.address, "/sse/a", &fields);
    assert_eq!(
        stream.head.field("access-control-allow-origin"),
        Some(allowed)
    );

    let silent = HubPart::start(program(), &[]);
    let response = ask(
        silent.address,
        &format!("GET /health HTTP/1.1\r\nHost: h\r\nOrigin: {allowed}\r\n\r\n"),
    );
    assert_eq!(
        response.field("access-control-allow-origin"),
        None,
        "off by default"
    );
}

#[test]
fn a_hub_that_others_can_reach_does_not_start_without_a_secret() {
    for secret in ["", "   ", "fifteen chars.."] {
        let arguments = ["--port", "0", "--bind", "0.0.0.0"];
        let mut hub = Part::start_with(program(), "hub", &arguments, ("HUB_SECRET", secret));
        assert_eq!(hub.wait().code(), Some(2), "{secret:?}");
        hub.wait_for_log("HUB_SECRET");
    }
}

#[test]
fn peers_from_elsewhere_must_send_the_secret_which_no_worker_sees() {
    let Some(own) = own_address() else {
        println!("this machine has loopback addresses alone: nothing to try");
        return;
    };
    let public = format!("{own}:0");
    let flags = ["--listen", "127.0.0.1:0", "--listen", &public];
    let hub = HubPart::start_with_secret(program(), &flags, &format!(" {SECRET}\n"));
    let _worker = hub.start_worker("odd", "odd");
    let public: SocketAddr = hub.other_address();
    assert_eq!(public.ip(), own);
    let get = |path: &str, fields: &str| {
        ask(
            public,
            &format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"),
        )
    };
    let right = format!("X-Hub-Secret: {SECRET}\r\n");
    for path in [
        "/health",
        "/odd/describe/a/b",
        "/internal/slots",
        "/events/x/y",
        "/nowhere",
    ] {
        for wrong in [
            "",
            "X-Hub-Secret: \r\n",
            "X-Hub-Secret: sixteen or more charactert\r\n",
        ] {
            let refused = get(path, wrong);
            assert_eq!(refused.status, 401, "{path} {wrong:?}");
            assert!(refused.text().contains("X-Hub-Secret"));
        }
        assert_ne!(get(path, &right).status, 401, "{path}");
        // What others say of themselves changes nothing.
        let forged = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n";
        assert_eq!(get(path, forged).status, 401, "{path}");
    }
    let described = get("/odd/describe/a/b", &right).text();
    assert!(
        !described.to_ascii_lowercase().contains("hub-secret"),
        "{described}"
    );
    assert!(!described.contains(SECRET), "{described}");
    assert_eq!(
        http::get(hub.address, "/health").status,
        200,
        "on this host none is needed"
    );
    let from_here = format!("GET /odd/describe/a/b HTTP/1.1\r\nHost: h\r\n{right}\r\n");
    let described = ask(hub.address, &from_here).text();
    assert!(!described.contains(SECRET), "{described}");
}

#[test]
fn the_seed_s_region_size_is_accepted_and_said_to_be_ignored() {
    let hub = HubPart::start(program(), &["--region-size", "64M"]);
    hub.part.wait_for_log("--region-size is ignored");
    assert_eq!(http::get(hub.address, "/health").status, 200);
}
