//! An axum service behaves behind the hub as it does under `axum::serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::axum_app::DOWNLOAD;
use slotway_tests::event_stream::EventStream;
use slotway_tests::http::{self, Connection, Response};
use slotway_tests::system::{HubPart, Part, address_in, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// The same service twice.
struct Both {
    hub: HubPart,
    worker: Part,
    axum: SocketAddr,
    _axum: Part,
}

impl Both {
    fn start() -> Self {
        let flags = ["--body-bytes-max", "100000000"];
        let hub = HubPart::start(program(), &flags);
        let worker = hub.start_worker("axum-service", "app");
        let mut axum = Part::start(program(), "axum-app", &[]);
        let address = address_in(&axum.first_line()).expect("it listens");
        Self {
            hub,
            worker,
            axum: address,
            _axum: axum,
        }
    }

    /// Asks both.
    fn ask(&self, request: &[u8]) -> [Response; 2] {
        let method = request
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        let method = std::str::from_utf8(method).unwrap();
        [self.hub.address, self.axum].map(|address| {
            let mut connection = Connection::open(address);
            connection.send(request);
            connection.read_response(method).expect("a response")
        })
    }
}

/// Fields that are the connection's, or told in another way by either.
fn fields_of(response: &Response) -> Vec<String> {
    let mut fields: Vec<_> = response
        .fields
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a field");
            format!("{}: {}", name.to_ascii_lowercase(), value.trim())
        })
        .filter(|line| !line.starts_with("date:") && !line.starts_with("connection:"))
        .collect();
    fields.sort();
    fields
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let framing = match body {
        "" => String::new(),
        _ => format!("Content-Length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: app\r\n{fields}{framing}\r\n{body}").into_bytes()
}

#[test]
fn the_examples_of_axum_answer_as_under_axum_serve() {
    let both = Both::start();
    let json = "Content-Type: application/json\r\n";
    let cases = [
        ("GET", "/", "", ""),
        ("HEAD", "/", "", ""),
        ("POST", "/", "", ""),
        ("OPTIONS", "/users/1", "", ""),
        ("POST", "/users", json, r#"{"username":"jimmy"}"#),
        ("POST", "/users", json, r#"{"username":7}"#),
        ("POST", "/users", json, "{"),
        ("POST", "/users", "", r#"{"username":"jimmy"}"#),
        ("GET", "/users/42", "", ""),
        ("GET", "/users/x", "", ""),
        ("GET", "/users/%34%32", "", ""),
        ("DELETE", "/users/42", "", ""),
        ("GET", "/list?page=2&per_page=10", "", ""),
        ("GET", "/list", "", ""),
        ("GET", "/list?page=x", "", ""),
        ("GET", "/list?per_page=%31", "", ""),
        ("GET", "/sse", "Accept: text/event-stream\r\n", ""),
        ("GET", "/download", "", ""),
        ("HEAD", "/download", "", ""),
        ("GET", "/sized", "", ""),
        ("HEAD", "/sized", "", ""),
        ("POST", "/count", "", "some bytes"),
        ("POST", "/echo", "", "the same again"),
        ("GET", "/cookies", "", ""),
        (
            "GET",
            "/headers?x",
            "X-One: 1\r\nX-One: 2\r\nX-Latin: caf\u{e9}\r\nCookie: a=b\r\n",
            "",
        ),
        ("GET", "/old", "", ""),
        ("GET", "/peer", "", ""),
        ("GET", "/state", "", ""),
        ("GET", "/nowhere", "", ""),
        ("PATCH", "/nowhere/at/all?x=y", "", ""),
        ("GET", "//", "", ""),
        ("GET", "/users/", "", ""),
        ("GET", "/caf%E9", "", ""),
        ("GET", "/%ff", "", ""),
        ("GET", "/a%zz", "", ""),
        ("GET", "/users/%ff", "", ""),
        ("POST", "/echo-stream", "", "the same again"),
        ("QUERY", "/users/1", "", "what?"),
        ("PURGE", "/any", "", ""),
        ("PROPFIND", "/nowhere", "", ""),
        ("brew", "/any", "", ""),
    ];
    for (method, path, fields, body) in cases {
        let [ours, axums] = both.ask(&request(method, path, fields, body));
        let what = format!("{method} {path}");
        assert_eq!(ours.status, axums.status, "{what}: {}", ours.text());
        assert_eq!(fields_of(&ours), fields_of(&axums), "{what}");
        assert_eq!(ours.text(), axums.text(), "{what}");
    }
}

#[test]
fn a_service_may_answer_while_it_reads() {
    let both = Both::start();
    for bytes in [200_000, 5_000_000] {
        let body: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
        for address in [both.hub.address, both.axum] {
            let mut connection = Connection::open(address);
            let mut writer = connection.stream().try_clone().unwrap();
            let sent = [
                request(
                    "POST",
                    "/echo-stream",
                    &format!("Content-Length: {bytes}\r\n"),
                    "",
                ),
                body.clone(),
            ]
            .concat();
            let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent));
            let response = connection.read_response("POST").unwrap();
            writing.join().unwrap().unwrap();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{} of {bytes}", response.body.len());
        }
    }
}

#[test]
fn large_bodies_stream_both_ways() {
    let both = Both::start();
    let body = vec![b'x'; 5_000_000];
    for address in [both.hub.address, both.axum] {
        let counted = http::request(address, "POST", "/count", &body);
        assert_eq!((counted.status, counted.text().as_str()), (200, "5000000"));
        let downloaded = http::get(address, "/download");
        assert_eq!(downloaded.body.len(), DOWNLOAD.0 * DOWNLOAD.1);
        assert!(downloaded.body.is_sorted(), "in order");
    }
    // In chunks, and more than axum takes whole.
    let mut chunked =
        b"POST /count HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..50 {
        chunked.extend_from_slice(b"4e20\r\n");
        chunked.extend(vec![b'y'; 20_000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for response in both.ask(&chunked) {
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "1000000")
        );
    }
    let large = "z".repeat(3_000_000);
    let [ours, axums] = both.ask(&request("POST", "/echo", "", &large));
    assert_eq!((ours.status, axums.status), (413, 413), "axum's own limit");
}

#[test]
fn events_come_as_they_are_made_and_the_context_is_there() {
    let both = Both::start();
    for address in [both.hub.address, both.axum] {
        let mut stream = EventStream::open(address, "/sse");
        for n in 0..3 {
            let event = stream.event();
            assert_eq!(event.data, format!("tick {n}\nof 3"));
            assert_eq!(event.id, Some(n.to_string()));
        }
        assert_eq!(stream.next_event().unwrap(), None);
    }
    let context = http::get(both.hub.address, "/context").text();
    assert_eq!(context, "http /{*path} true false");
}

#[test]
fn an_answer_begins_though_it_keeps_its_request() {
    let both = Both::start();
    let mut connection = Connection::open(both.hub.address);
    connection.send("GET /kept HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(connection.read_head().unwrap().status, 200);
    let start = std::time::Instant::now();
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"first\n");
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"last\n");
    // The first came while the handler still slept.
    assert!(
        start.elapsed() > Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn handlers_that_block_do_not_wait_for_each_other() {
    let both = Both::start();
    let ask = |path: &'static str| {
        let address = both.hub.address;
        std::thread::spawn(move || http::get(address, path).text())
    };
    // The first is how it is learned.
    assert_eq!(ask("/together").join().unwrap(), "alone");
    let two = [ask("/together"), ask("/together")].map(|asked| asked.join().unwrap());
    assert_eq!(two, ["together", "together"]);
}

#[test]
fn a_service_below_a_prefix_has_all_of_it_and_nothing_else() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("axum-prefixed", "api");
    for (path, text) in [("/api", "itself"), ("/api/", "slash"), ("/api/x/y", "x/y")] {
        assert_eq!(http::get(hub.address, path).text(), text, "{path}");
    }
    for path in ["/", "/apix", "/other"] {
        let refused = http::get(hub.address, path);
        assert!(refused.text().contains("no route"), "{path}");
    }
}

#[test]
fn a_service_whose_client_left_is_dropped() {
    let both = Both::start();
    for address in [both.hub.address, both.axum] {
        let mut leaver = Connection::open(address);
        leaver.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        drop(leaver);
        wait_until("it is dropped", || {
            http::get(address, "/slow-count").text() == "1"
        });
    }
}

#[test]
fn a_service_that_is_told_to_stop_finishes_what_it_has() {
    let mut both = Both::start();
    let mut slow = EventStream::open(both.hub.address, "/sse");
    both.worker.signal(Signal::TERM);
    let events = (0..3).map(|_| slow.event()).count();
    assert_eq!((events, slow.next_event().unwrap()), (3, None));
    assert!(both.worker.wait().success());
}
