//! What clients see of requests that a worker answers: real processes, real
//! sockets.

use std::path::Path;
use std::time::Duration;

use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with(io: &str, role: &str) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, &[])
}

/// Bytes that show when a piece is lost, doubled or out of place.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

slotway_tests::on_each_engine! {
    a_request_travels_to_the_worker_and_back
    the_handler_sees_the_request_as_it_was_sent_and_its_parameters_decoded
    a_parameter_that_is_no_utf_8_is_400_and_the_slot_comes_back
    no_route_is_404_a_wrong_method_405_with_allow_and_an_unknown_one_501
    head_has_the_head_of_get_and_no_body_and_the_connection_goes_on
    pipelined_requests_are_answered_in_order_whatever_each_takes
    after_a_bad_request_nothing_of_the_connection_is_read_any_more
    a_request_cut_at_every_byte_has_the_same_answer
    bodies_of_every_size_come_back_whole_by_length_and_by_chunks
    many_large_bodies_at_once_stay_apart_while_other_clients_leave_half_way
    a_body_over_the_limit_is_413_readable_while_the_client_still_sends
    a_client_that_waits_for_100_gets_it_and_one_that_is_refused_gets_that_instead
    http_1_0_closes_unless_asked_to_stay
    a_client_that_half_closes_after_its_request_gets_the_whole_answer
    a_handler_that_panics_answers_500_and_its_worker_lives
    what_a_handler_must_not_answer_reaches_no_client
    an_answer_without_a_body_has_no_length
    a_request_that_its_handler_keeps_holds_the_answer_back_until_it_is_dropped
    text_that_outgrows_its_slot_while_it_is_formatted_arrives_whole
    several_reactors_and_worker_threads_serve_every_connection
}

fn a_request_travels_to_the_worker_and_back(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let response = http::get(hub.address, "/api/items/42");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "item 42")
    );
    assert_eq!(
        response.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(response.field("content-length"), Some("7"));
    assert!(response.field("date").unwrap().ends_with(" GMT"));
}

fn the_handler_sees_the_request_as_it_was_sent_and_its_parameters_decoded(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    let mut connection = Connection::open(hub.address);
    connection.send(
        "POST /odd/describe/a%2Fb%20c/x/y%C3%A9?q=1&r=%20 HTTP/1.1\r\nHost: Example.com\r\n\
         X-One: 1\r\nConnection: close, x-secret\r\nX-Secret: s\r\nTE: trailers\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    let response = connection.read_response("POST").unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(seen["method"], "POST");
    assert_eq!(
        seen["target"],
        "/odd/describe/a%2Fb%20c/x/y%C3%A9?q=1&r=%20"
    );
    assert_eq!(seen["path"], "/odd/describe/a%2Fb%20c/x/y%C3%A9");
    assert_eq!(seen["query"], "q=1&r=%20");
    assert_eq!(seen["route_pattern"], "/odd/describe/{first}/{*rest}");
    assert_eq!(seen["params"]["first"], "a/b c");
    assert_eq!(seen["params"]["rest"], "x/yé");
    assert_eq!(seen["body"], "hello");
    assert_eq!(seen["peer"], "127.0.0.1");
    assert_eq!(
        (&seen["has_deadline"], &seen["is_cancelled"]),
        (&true.into(), &false.into())
    );
    let headers = seen["headers"].as_object().unwrap();
    assert_eq!(headers["host"], "Example.com");
    assert_eq!(headers["x-one"], "1");
    for hop_by_hop in ["connection", "x-secret", "te"] {
        assert!(
            !headers.contains_key(hop_by_hop),
            "{hop_by_hop} reached the worker"
        );
    }
}

fn a_parameter_that_is_no_utf_8_is_400_and_the_slot_comes_back(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    for _ in 0..300 {
        assert_eq!(http::get(hub.address, "/api/items/%ff").status, 400);
    }
    assert_eq!(http::get(hub.address, "/api/items/%41").text(), "item A");
}

fn no_route_is_404_a_wrong_method_405_with_allow_and_an_unknown_one_501(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    assert_eq!(http::get(hub.address, "/nothing").status, 404);
    let wrong = http::request(hub.address, "DELETE", "/api/items/1", b"");
    assert_eq!(
        (wrong.status, wrong.field("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(
        http::request(hub.address, "BREW", "/api/items/1", b"").status,
        501
    );
    let mut connection = Connection::open(hub.address);
    connection.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    let options = connection.read_response("OPTIONS").unwrap();
    assert_eq!(options.status, 200);
    assert!(options.field("allow").unwrap().contains("GET"));
}

fn head_has_the_head_of_get_and_no_body_and_the_connection_goes_on(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let mut connection = Connection::open(hub.address);
    // The second answer streams from the worker; the third one follows at once.
    for path in ["/api/items/42", "/api/bytes/5000000", "/api/items/42"] {
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let response = connection.read_response("HEAD").unwrap();
        assert_eq!(response.status, 200);
        let expected = if path.contains("bytes") {
            "5000000"
        } else {
            "7"
        };
        assert_eq!(response.field("content-length"), Some(expected));
    }
}

fn pipelined_requests_are_answered_in_order_whatever_each_takes(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let mut connection = Connection::open(hub.address);
    let mut sent = String::new();
    for n in 0..20 {
        let path = if n % 5 == 0 {
            "/api/sleep/20".to_owned()
        } else {
            format!("/api/items/{n}")
        };
        sent += &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        if n % 7 == 3 {
            sent += "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
            sent += "POST /api/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\nyo\r\n0\r\n\r\n";
        }
    }
    connection.send(sent);
    for n in 0..20 {
        let expected = if n % 5 == 0 {
            "slept 20 ms".to_owned()
        } else {
            format!("item {n}")
        };
        assert_eq!(connection.read_response("GET").unwrap().text(), expected);
        if n % 7 == 3 {
            assert_eq!(connection.read_response("POST").unwrap().text(), "hi");
            assert_eq!(connection.read_response("POST").unwrap().text(), "yo");
        }
    }
}

fn after_a_bad_request_nothing_of_the_connection_is_read_any_more(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    let mut connection = Connection::open(hub.address);
    connection.send(
        "GET /odd/runs HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\nHost: h\r\n\r\n\
         GET /odd/block/0 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert_eq!(connection.read_response("GET").unwrap().status, 200);
    let refused = connection.read_response("GET").unwrap();
    assert_eq!(
        (refused.status, refused.field("connection")),
        (400, Some("close"))
    );
    assert!(connection.is_closed());
    assert_eq!(http::get(hub.address, "/odd/runs").text(), "0");
}

fn a_request_cut_at_every_byte_has_the_same_answer(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let request = "POST /api/echo?x=y HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n3\r\n, w\r\n0\r\nT: 1\r\n\r\n";
    let mut connection = Connection::open(hub.address);
    for cut in 1..request.len() {
        let (first, second) = request.split_at(cut);
        connection.send(first);
        std::thread::sleep(Duration::from_micros(300));
        connection.send(second);
        let response = connection.read_response("POST").unwrap();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "hello, w"),
            "cut at {cut}"
        );
        assert_eq!(response.field("content-type"), Some("a/b"));
    }
}

fn bodies_of_every_size_come_back_whole_by_length_and_by_chunks(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let arena = 128 * 1024;
    let sizes = [
        0,
        1,
        1000,
        arena / 2,
        arena - 4096,
        arena - 1,
        arena,
        arena + 1,
        3 * arena,
        5 << 20,
    ];
    let mut connection = Connection::open(hub.address);
    for size in sizes {
        let body = pattern(size);
        connection.send(format!(
            "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
        ));
        let mut writer = connection.stream().try_clone().unwrap();
        // The hub answers while it reads, so writing needs a thread of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| std::io::Write::write_all(&mut writer, &body).unwrap());
            let response = connection.read_response("POST").unwrap();
            assert_eq!(
                (response.status, response.body == body),
                (200, true),
                "{size} by length"
            );
        });
        connection.send("POST /api/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for chunk in body.chunks(7777) {
                    let mut piece = format!("{:x}\r\n", chunk.len()).into_bytes();
                    piece.extend_from_slice(chunk);
                    piece.extend_from_slice(b"\r\n");
                    std::io::Write::write_all(&mut writer, &piece).unwrap();
                }
                std::io::Write::write_all(&mut writer, b"0\r\n\r\n").unwrap();
            });
            let response = connection.read_response("POST").unwrap();
            assert_eq!(
                (response.status, response.body == body),
                (200, true),
                "{size} by chunks"
            );
        });
    }
}

fn many_large_bodies_at_once_stay_apart_while_other_clients_leave_half_way(io: &str) {
    // Few slots and two threads: slots are re-used while notices about the use
    // before are still on their way.
    let hub = HubPart::start(program(), &["--io", io, "--slots", "24", "--reactors", "2"]);
    let _worker = hub.start_worker("odd", "odd");
    std::thread::scope(|scope| {
        for n in 0..12_usize {
            let address = hub.address;
            scope.spawn(move || {
                for round in 0..12 {
                    let body = pattern(150_000 + n * 20_000 + round);
                    let path = ["/odd/echo", "/odd/echo-later"][round % 2];
                    if n % 3 == 2 {
                        leave_half_way(address, path, &body, round);
                        continue;
                    }
                    let response = http::request(address, "POST", path, &body);
                    assert!(
                        response.status == 200 && response.body == body,
                        "{n} {round}"
                    );
                }
            });
        }
    });
    assert!(!hub.part.log().contains("evicted"), "{}", hub.part.log());
    assert_eq!(http::get(hub.address, "/odd/runs").status, 200);
}

/// Sends a request and leaves: in the middle of its body, before the answer, or
/// in the middle of that.
fn leave_half_way(address: std::net::SocketAddr, path: &str, body: &[u8], round: usize) {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let sent = if round.is_multiple_of(3) {
        body.len() - 1000
    } else {
        body.len()
    };
    stream.write_all(&body[..sent]).unwrap();
    if round % 3 == 2 {
        let mut some = vec![0; 40_000];
        stream.read_exact(&mut some).unwrap();
    }
}

fn a_body_over_the_limit_is_413_readable_while_the_client_still_sends(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--body-bytes-max", "1000000"]);
    let _worker = hub.start_worker("echo", "echo");
    for framing in ["Content-Length: 50000000", "Transfer-Encoding: chunked"] {
        let mut connection = Connection::open(hub.address);
        connection.send(format!(
            "POST /api/echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"
        ));
        let mut writer = connection.stream().try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let chunk = [b"186a0\r\n".to_vec(), vec![b'x'; 100_000], b"\r\n".to_vec()].concat();
            // The hub may close before all of it has gone.
            (0..50).all(|_| std::io::Write::write_all(&mut writer, &chunk).is_ok())
        });
        let response = connection.read_response("POST").unwrap();
        assert_eq!(
            (response.status, response.field("connection")),
            (413, Some("close"))
        );
        sender.join().unwrap();
    }
}

fn a_client_that_waits_for_100_gets_it_and_one_that_is_refused_gets_that_instead(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let mut connection = Connection::open(hub.address);
    for size in [10, 1_000_000] {
        connection.send(format!(
            "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n"
        ));
        assert_eq!(connection.read_response("POST").unwrap().status, 100);
        connection.send(vec![b'x'; size]);
        assert_eq!(connection.read_response("POST").unwrap().body.len(), size);
    }
    connection.send(
        "POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.read_response("POST").unwrap().status, 404);
}

fn http_1_0_closes_unless_asked_to_stay(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let mut connection = Connection::open(hub.address);
    for _ in 0..2 {
        connection.send("GET /api/items/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.field("connection"), Some("keep-alive"));
    }
    connection.send("GET /api/items/1 HTTP/1.0\r\n\r\n");
    assert_eq!(
        connection.read_response("GET").unwrap().field("connection"),
        Some("close")
    );
    assert!(connection.is_closed());
}

fn a_client_that_half_closes_after_its_request_gets_the_whole_answer(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    let mut connection = Connection::open(hub.address);
    connection.send("GET /api/bytes/3000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    connection
        .stream()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(
        connection.read_final_response("GET").unwrap().body.len(),
        3_000_000
    );
    assert!(connection.is_closed());
}

fn a_handler_that_panics_answers_500_and_its_worker_lives(io: &str) {
    let (hub, mut worker) = hub_with(io, "odd");
    for _ in 0..3 {
        for path in ["/odd/panic", "/odd/panic-async", "/odd/panic-later"] {
            let response = http::get(hub.address, path);
            assert_eq!(
                (response.status, response.text().as_str()),
                (500, r#"{"error":"the handler panicked"}"#)
            );
        }
    }
    assert_eq!(http::get(hub.address, "/odd/runs").status, 200);
    worker.signal(rustix::process::Signal::KILL);
    worker.wait();
}

fn what_a_handler_must_not_answer_reaches_no_client(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    for path in [
        "/odd/twice",
        "/odd/split",
        "/odd/status/101",
        "/odd/status/999",
        "/odd/status/0",
    ] {
        let response = http::get(hub.address, path);
        assert_eq!(response.status, 500, "{path}");
        assert_eq!(response.field("injected"), None);
    }
    let changed = http::get(hub.address, "/odd/changed-mind");
    assert_eq!(
        (
            changed.status,
            changed.field("x-yes"),
            changed.field("x-no")
        ),
        (200, Some("1"), None)
    );
    let framed = http::get(hub.address, "/odd/framing");
    assert_eq!(
        (framed.field("content-length"), framed.text().as_str()),
        (Some("6"), "framed")
    );
    assert_eq!(framed.field("transfer-encoding"), None);
}

fn an_answer_without_a_body_has_no_length(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    let mut connection = Connection::open(hub.address);
    for _ in 0..2 {
        connection.send("GET /odd/status/204 HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = connection.read_response("GET").unwrap();
        assert_eq!(
            (response.status, response.field("content-length")),
            (204, None)
        );
    }
}

fn a_request_that_its_handler_keeps_holds_the_answer_back_until_it_is_dropped(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    for _ in 0..3 {
        let response = http::get(hub.address, "/odd/stash");
        assert_eq!(response.text(), "answered while the request is kept");
    }
}

fn text_that_outgrows_its_slot_while_it_is_formatted_arrives_whole(io: &str) {
    let (hub, _worker) = hub_with(io, "odd");
    for lines in [10, 16_000, 16_300, 200_000] {
        let expected: String = (0..lines).map(|n| format!("{n:07}\n")).collect();
        let response = http::get(hub.address, &format!("/odd/large-text/{lines}"));
        assert!(response.text() == expected, "{lines} lines");
    }
}

fn several_reactors_and_worker_threads_serve_every_connection(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--reactors", "3"]);
    let _worker = hub.start_worker("odd", "odd");
    let _echo = hub.start_worker("echo", "echo");
    std::thread::scope(|scope| {
        for n in 0..24 {
            let address = hub.address;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for round in 0..50 {
                    connection.send(format!(
                        "GET /api/items/{n}-{round} HTTP/1.1\r\nHost: h\r\n\r\n"
                    ));
                    let text = connection.read_response("GET").unwrap().text();
                    assert_eq!(text, format!("item {n}-{round}"));
                    connection.send("GET /odd/block/0 HTTP/1.1\r\nHost: h\r\n\r\n");
                    assert_eq!(connection.read_response("GET").unwrap().status, 200);
                }
            });
        }
    });
    assert_eq!(
        http::get(hub.address, "/odd/runs").text(),
        (24 * 50).to_string()
    );
}
