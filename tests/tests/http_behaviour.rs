//! The HTTP front end over time: what its cases from 56 on say of connections
//! and answers, by name, on both engines.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use slotway_tests::http::{self, Connection};
use slotway_tests::http_corpus::PATH;
use slotway_tests::system::{HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn start(io: &str, role: &str, flags: &[&str]) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, flags)
}

slotway_tests::on_each_engine! {
    case_56_a_body_cut_short_is_no_request_for_the_worker
    case_67_a_chunked_body_without_its_last_chunk_is_no_request_for_the_worker
    case_70_pipelined_requests_are_answered_in_their_order
    case_71_behind_a_bad_request_nothing_is_read
    case_72_a_client_that_waits_for_100_gets_it
    case_74_a_final_answer_instead_of_100_leaves_the_body_unsent
    case_77_a_head_that_dribbles_in_gets_408_at_a_total_deadline
    case_78_a_body_that_dribbles_in_gets_408
    case_78_a_client_that_does_not_read_is_closed
    case_79_a_client_that_half_closes_gets_the_whole_answer
    case_80_a_client_that_resets_at_any_stage_leaves_nothing_behind
    case_81_an_early_answer_is_readable_while_the_client_still_sends
    case_81_a_short_body_behind_an_early_answer_is_drained_and_the_connection_goes_on
    case_82_a_client_that_sends_nothing_is_closed
    case_83_an_answer_to_head_has_the_head_alone
    case_84_204_and_304_have_neither_body_nor_length
    case_87_fields_that_would_break_an_answer_reach_no_client
    case_88_answers_have_a_date_and_405_says_what_is_allowed
    case_89_statuses_that_are_none_reach_no_client
    case_90_the_hub_s_own_errors_are_well_formed
}

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// All that still comes; a reset ends it too.
fn rest(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("still open"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn runs(hub: &HubPart) -> String {
    http::get(hub.address, "/odd/canaries").text()
}

fn case_56_a_body_cut_short_is_no_request_for_the_worker(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--body-timeout", "1"]);
    let request = "POST /odd/canary HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello";
    let mut leaves = open(hub.address);
    leaves.write_all(request.as_bytes()).unwrap();
    leaves.shutdown(Shutdown::Write).unwrap();
    let response = rest(&leaves);
    assert!(
        response.is_empty() || response.starts_with("HTTP/1.1 40"),
        "{response}"
    );
    let mut silent = open(hub.address);
    silent.write_all(request.as_bytes()).unwrap();
    assert!(rest(&silent).starts_with("HTTP/1.1 408 "));
    assert_eq!(runs(&hub), "0");
}

fn case_67_a_chunked_body_without_its_last_chunk_is_no_request_for_the_worker(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--body-timeout", "1"]);
    let request =
        "POST /odd/canary HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut leaves = open(hub.address);
    leaves.write_all(request.as_bytes()).unwrap();
    leaves.shutdown(Shutdown::Write).unwrap();
    assert!(!rest(&leaves).starts_with("HTTP/1.1 200"));
    let mut silent = open(hub.address);
    silent.write_all(request.as_bytes()).unwrap();
    assert!(rest(&silent).starts_with("HTTP/1.1 408 "));
    assert_eq!(runs(&hub), "0");
}

fn case_70_pipelined_requests_are_answered_in_their_order(io: &str) {
    let (hub, _echo) = start(io, "echo", &[]);
    let _odd = hub.start_worker("odd", "odd");
    let mut connection = Connection::open(hub.address);
    let mut sent = String::new();
    for n in 0..12 {
        // Slow ones and quick ones, of two workers.
        let path = ["/api/sleep/15", "/odd/block/5", "/api/items/x", "/nothing"][n % 4];
        sent += &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    connection.send(sent);
    for n in 0..12 {
        let response = connection.read_response("GET").unwrap();
        let expected = ["slept 15 ms", "blocked 5 ms", "item x", ""][n % 4];
        if expected.is_empty() {
            assert_eq!(response.status, 404);
        } else {
            assert_eq!(response.text(), expected, "{n}");
        }
    }
}

fn case_71_behind_a_bad_request_nothing_is_read(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    let mut connection = Connection::open(hub.address);
    connection.send(format!(
        "GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\nHost: h\r\n\r\n\
         GET /odd/canary HTTP/1.1\r\nHost: h\r\n\r\n"
    ));
    assert_eq!(connection.read_response("GET").unwrap().status, 200);
    assert_eq!(connection.read_response("GET").unwrap().status, 400);
    assert!(connection.is_closed());
    assert_eq!(runs(&hub), "0");
}

fn case_72_a_client_that_waits_for_100_gets_it(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    let mut connection = Connection::open(hub.address);
    connection.send(
        "POST /odd/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.read_response("POST").unwrap().status, 100);
    connection.send("hello");
    assert_eq!(connection.read_response("POST").unwrap().text(), "hello");
}

fn case_74_a_final_answer_instead_of_100_leaves_the_body_unsent(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    let mut connection = Connection::open(hub.address);
    connection.send(
        "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    let response = connection.read_response("POST").unwrap();
    assert_eq!(
        (response.status, response.field("connection")),
        (404, Some("close"))
    );
    assert!(connection.is_closed());
}

fn case_77_a_head_that_dribbles_in_gets_408_at_a_total_deadline(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--head-timeout", "1"]);
    let mut stream = open(hub.address);
    let start = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nX-Long: ").unwrap();
    let writer = stream.try_clone().unwrap();
    let dribble = std::thread::spawn(move || {
        // Each byte comes well within a second of the last.
        while start.elapsed() < PATIENCE && (&writer).write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let response = rest(&stream);
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.to_ascii_lowercase().contains("connection: close"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    drop(stream);
    dribble.join().unwrap();
}

fn case_78_a_body_that_dribbles_in_gets_408(io: &str) {
    let flags = ["--body-timeout", "1", "--body-rate-min", "1000"];
    let (hub, _worker) = start(io, "odd", &flags);
    // One that would fit a slot, and one that streams through it.
    for length in [10_000, 5_000_000] {
        let mut stream = open(hub.address);
        let start = Instant::now();
        let head =
            format!("POST /odd/echo HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
            .write_all(&vec![b'x'; if length > 1_000_000 { 300_000 } else { 0 }])
            .unwrap();
        let writer = stream.try_clone().unwrap();
        let dribble = std::thread::spawn(move || {
            while start.elapsed() < PATIENCE && (&writer).write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        // The large one has been given 300 seconds by its first bytes.
        if length > 1_000_000 {
            std::thread::sleep(Duration::from_millis(1500));
            stream
                .set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            let error = (&stream).read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            stream.shutdown(Shutdown::Both).unwrap();
        } else {
            let response = rest(&stream);
            assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
        }
        drop(stream);
        dribble.join().unwrap();
    }
    assert_eq!(http::get(hub.address, "/odd/runs").status, 200);
}

fn case_78_a_client_that_does_not_read_is_closed(io: &str) {
    let (hub, _worker) = start(io, "echo", &["--write-timeout", "1"]);
    let stream = open(hub.address);
    sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
    (&stream)
        .write_all(b"GET /api/bytes/50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    // Once something of the answer has come, the hub has the connection.
    (&stream).read_exact(&mut [0; 100]).unwrap();
    let fds = hub.part.open_fd_count();
    let start = Instant::now();
    while hub.part.open_fd_count() >= fds {
        assert!(start.elapsed() < PATIENCE, "still open");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= Duration::from_millis(500));
    drop(stream);
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

fn case_79_a_client_that_half_closes_gets_the_whole_answer(io: &str) {
    let (hub, _worker) = start(io, "echo", &[]);
    let mut connection = Connection::open(hub.address);
    connection.send("GET /api/bytes/3000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.stream().shutdown(Shutdown::Write).unwrap();
    let response = connection.read_final_response("GET").unwrap();
    assert_eq!(response.body.len(), 3_000_000);
    assert!(connection.is_closed());
}

fn case_80_a_client_that_resets_at_any_stage_leaves_nothing_behind(io: &str) {
    let (hub, _worker) = start(io, "echo", &["--slots", "8"]);
    http::get(hub.address, "/api/items/1");
    let fds = hub.part.open_fd_count();
    let body = vec![b'x'; 400_000];
    let long = "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n";
    for round in 0..40 {
        let stream = open(hub.address);
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        match round % 5 {
            0 => {}
            1 => (&stream).write_all(b"GET /api/it").unwrap(),
            2 => (&stream)
                .write_all(b"GET /api/sleep/50 HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap(),
            3 => (&stream)
                .write_all(&[long.as_bytes(), &body[..300_000]].concat())
                .unwrap(),
            _ => {
                (&stream)
                    .write_all(&[long.as_bytes(), &body].concat())
                    .unwrap();
                let _ = (&stream).read(&mut [0; 1000]);
            }
        }
        drop(stream);
    }
    hub.part.await_fds(fds);
    // All eight slots are there: eight requests at once are answered.
    let start = Instant::now();
    loop {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| http::get(hub.address, "/api/sleep/100").status))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        if statuses.iter().all(|status| *status == 200) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{statuses:?}");
    }
}

fn case_81_an_early_answer_is_readable_while_the_client_still_sends(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--body-bytes-max", "1000000"]);
    for (path, expected) in [("/odd/echo", "413"), ("/nothing", "404")] {
        let stream = open(hub.address);
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n");
        (&stream).write_all(head.as_bytes()).unwrap();
        let writer = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let piece = vec![b'x'; 100_000];
            (0..200).all(|_| (&writer).write_all(&piece).is_ok())
        });
        let response = rest(&stream);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{response}"
        );
        sender.join().unwrap();
    }
}

fn case_81_a_short_body_behind_an_early_answer_is_drained_and_the_connection_goes_on(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--body-timeout", "1"]);
    let mut connection = Connection::open(hub.address);
    connection.send("POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(connection.read_response("POST").unwrap().status, 404);
    connection.send(format!("0123456789GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(connection.read_response("GET").unwrap().status, 200);
    // A body that never comes does not hold the connection.
    connection.send("POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(connection.read_response("POST").unwrap().status, 404);
    assert!(connection.is_closed());
}

fn case_82_a_client_that_sends_nothing_is_closed(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--idle-timeout", "1"]);
    let start = Instant::now();
    assert_eq!(rest(&open(hub.address)), "");
    let mut kept = Connection::open(hub.address);
    kept.send(format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(kept.read_response("GET").unwrap().status, 200);
    assert!(kept.is_closed());
    assert!(start.elapsed() >= Duration::from_secs(2));
}

fn case_83_an_answer_to_head_has_the_head_alone(io: &str) {
    let (hub, _worker) = start(io, "echo", &[]);
    let mut connection = Connection::open(hub.address);
    for path in [
        "/api/items/42",
        "/api/bytes/500000",
        "/nothing",
        "/api/items/42",
    ] {
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let response = connection.read_response("HEAD").unwrap();
        assert!(response.field("content-length").is_some(), "{path}");
    }
}

fn case_84_204_and_304_have_neither_body_nor_length(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    let mut connection = Connection::open(hub.address);
    for status in [204, 304] {
        connection.send(format!(
            "GET /odd/status/{status} HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.status, status);
        assert_eq!(response.field("transfer-encoding"), None);
        assert!(status != 204 || response.field("content-length").is_none());
    }
    connection.send(format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_eq!(connection.read_response("GET").unwrap().status, 200);
}

fn case_87_fields_that_would_break_an_answer_reach_no_client(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    let split = http::get(hub.address, "/odd/split");
    assert!(split.status >= 500 && split.field("injected").is_none());
    let framing = http::get(hub.address, "/odd/framing");
    assert!(framing.field("transfer-encoding").is_none());
    assert!(framing.status >= 500 || framing.field("content-length") == Some("6"));
}

fn case_88_answers_have_a_date_and_405_says_what_is_allowed(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    for path in [PATH, "/nothing", "/odd/status/302"] {
        let date = http::get(hub.address, path)
            .field("date")
            .unwrap()
            .to_owned();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{path}: {date}");
    }
    let wrong = http::request(hub.address, "DELETE", PATH, b"");
    assert_eq!(
        (wrong.status, wrong.field("allow")),
        (405, Some("GET, HEAD, POST"))
    );
}

fn case_89_statuses_that_are_none_reach_no_client(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    for status in ["0", "101", "103", "999"] {
        let response = http::get(hub.address, &format!("/odd/status/{status}"));
        assert!(
            (500..=502).contains(&response.status),
            "{status}: {}",
            response.status
        );
    }
}

fn case_90_the_hub_s_own_errors_are_well_formed(io: &str) {
    let (hub, _worker) = start(io, "odd", &[]);
    for (request, status, closes) in [
        (format!("GET {PATH} HTTP/1.1\r\n\r\n"), 400, true),
        (
            "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            404,
            false,
        ),
        (
            "PUT /odd/runs HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            405,
            false,
        ),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 501, false),
        (format!("GET {PATH} HTTP/3.0\r\nHost: h\r\n\r\n"), 505, true),
    ] {
        let mut connection = Connection::open(hub.address);
        connection.send(request);
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.status, status);
        let length = response.body.len().to_string();
        assert_eq!(response.field("content-length"), Some(length.as_str()));
        assert_eq!(response.field("connection"), closes.then_some("close"));
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert!(body["error"].is_string(), "{}", response.text());
        if closes {
            assert!(connection.is_closed());
        }
    }
}
