//! Whom the hub believes what: clients that strip what a proxy says of them, names that
//! others have pointed at this host, peers that do not know the secret.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::json;
use slotway_tests::http::{Connection, Response};
use slotway_tests::system::{HubPart, Part, own_address};

const SECRET: &str = "sixteen or more characters";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_client_cannot_strip_what_a_proxy_says_of_it
    internal_paths_are_answered_under_names_of_this_host_alone
    without_the_secret_nothing_but_401_can_be_learnt
}

fn ask(address: SocketAddr, request: &str) -> Response {
    let mut connection = Connection::open(address);
    connection.send(request);
    let method = request.trim_start().split(' ').next().unwrap_or_default();
    connection.read_response(method).expect("a response")
}

fn a_client_cannot_strip_what_a_proxy_says_of_it(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--trusted-proxy", "127.0.0.0/8"]);
    let _worker = hub.start_worker("odd", "odd");
    let document = json!({"source": "s", "event_type": "e", "data": "d"}).to_string();
    let length = document.len();
    // As a stock HAProxy with `option forwardfor` passes them on.
    for (field, value) in [
        ("X-Forwarded-For", "192.0.2.9"),
        ("Forwarded", "for=192.0.2.9"),
        ("X-Real-IP", "192.0.2.9"),
        ("Via", "1.1 proxy"),
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        for connection in ["", &format!("Connection: {field}\r\n")] {
            let refused = ask(
                hub.address,
                &format!(
                    "POST /internal/emit HTTP/1.1\r\nHost: localhost\r\n{field}: {value}\r\n\
                     {connection}Content-Length: {length}\r\n\r\n{document}"
                ),
            );
            let expected = if connection.is_empty() { 403 } else { 400 };
            assert_eq!(refused.status, expected, "{field}: {}", refused.text());
        }
    }
    let seen = ask(
        hub.address,
        "GET /odd/describe/a/b HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.9\r\n\
         X-Forwarded-Proto: https\r\nConnection: X-Forwarded-For, X-Forwarded-Proto\r\n\r\n",
    );
    assert_eq!(seen.status, 400, "{}", seen.text());
    assert!(seen.text().contains("names an end-to-end field"));
    // What is the connection's own is still dropped.
    let described = ask(
        hub.address,
        "GET /odd/describe/a/b HTTP/1.1\r\nHost: h\r\nX-Hop: 1\r\nTE: trailers\r\n\
         Connection: X-Hop, TE\r\n\r\n",
    );
    assert_eq!(described.status, 200);
    assert!(!described.text().contains("x-hop"), "{}", described.text());
}

fn internal_paths_are_answered_under_names_of_this_host_alone(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let slots = |host: &str| {
        let request = format!("GET /internal/slots HTTP/1.1\r\nHost: {host}\r\n\r\n");
        ask(hub.address, &request)
    };
    for own in [
        "localhost",
        "localhost:3200",
        "127.0.0.1",
        "[::1]:80",
        "hub.localhost",
    ] {
        assert_eq!(slots(own).status, 200, "{own}");
    }
    for other in [
        "evil.example",
        "evil.example:3200",
        "192.0.2.1",
        "localhost.evil.example",
    ] {
        let refused = slots(other);
        assert_eq!(refused.status, 403, "{other}");
        assert!(refused.text().contains("localhost"), "{}", refused.text());
        let health = format!("GET /health HTTP/1.1\r\nHost: {other}\r\n\r\n");
        assert_eq!(ask(hub.address, &health).status, 200, "{other}");
    }
    let old = ask(hub.address, "GET /internal/slots HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200, "a browser always sends Host");
}

fn without_the_secret_nothing_but_401_can_be_learnt(io: &str) {
    let Some(own) = own_address() else {
        println!("this machine has loopback addresses alone: nothing to try");
        return;
    };
    let public = format!("{own}:0");
    let flags = ["--io", io, "--head-timeout", "1", "--listen", &public];
    let hub = HubPart::start_with_secret(program(), &flags, SECRET);
    let secret = format!("X-Hub-Secret: {SECRET}\r\n");
    let long = "x".repeat(40_000);
    for (request, status) in [
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n", 200),
        ("BREW / HTTP/1.1\r\nHost: h\r\n", 501),
        ("GET /a#b HTTP/1.1\r\nHost: h\r\n", 400),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n", 417),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n",
            501,
        ),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n", 404),
    ] {
        let refused = ask(hub.address, &format!("{request}\r\n"));
        assert_eq!(refused.status, 401, "{request:?}");
        let told = ask(hub.address, &format!("{request}{secret}\r\n"));
        assert_eq!(told.status, status, "{request:?}");
    }
    let bad_head = ask(hub.address, "HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(bad_head.status, 401);
    for unfinished in [
        "GET / HTTP/1.1\r\nHost: h\r\n".to_owned(),
        format!("GET /{long}"),
    ] {
        assert_eq!(ask(hub.address, &unfinished).status, 401);
    }
}

/// What a worker sends to a hub that is not on loopback, and to one that is.
#[test]
fn a_worker_tells_a_hub_on_another_host_the_secret_and_nobody_else() {
    for (address, tells) in [("127.0.0.1", false), ("[::ffff:127.0.0.1]", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{address}:{}", listener.local_addr().unwrap().port());
        let variables = [("HUB_SECRET", SECRET), ("HUB_SOCKET", "")];
        let _worker = Part::start_in(program(), "quiet", &[&url, "w"], &variables);
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = vec![0; 4096];
        let bytes = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..bytes]);
        assert!(
            head.starts_with("POST /internal/register HTTP/1.1\r\n"),
            "{head}"
        );
        assert_eq!(
            head.contains(&format!("X-Hub-Secret: {SECRET}\r\n")),
            tells,
            "{head}"
        );
    }
}
