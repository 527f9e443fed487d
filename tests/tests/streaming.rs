//! Bodies that handlers read and write while they are under way, on both engines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn start(io: &str) -> (HubPart, Part) {
    let hub = HubPart::start(program(), &["--io", io, "--body-bytes-max", "100000000"]);
    let worker = hub.start_worker("odd", "odd");
    (hub, worker)
}

slotway_tests::on_each_engine! {
    a_body_of_any_size_is_read_piece_by_piece
    blocking_code_reads_and_writes_bodies_too
    a_handler_gets_the_first_of_a_body_before_the_rest_is_sent
    case_85_an_answer_of_unknown_length_is_chunked_in_1_1_and_ends_the_connection_in_1_0
    an_answer_of_a_length_that_is_known_ahead_has_it
    case_86_an_answer_that_is_cut_or_not_its_length_is_no_whole_answer_to_any_client
    a_client_that_reads_slowly_holds_the_handler_back
    a_client_that_leaves_ends_the_handlers_of_both_directions
    a_streamed_answer_to_head_has_no_body
}

/// The sum that `/odd/sum` makes.
fn sum_of(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|n| (n.wrapping_mul(31) >> 3) as u8)
        .collect()
}

/// What `/odd/stream/{n}/…` answers.
fn lines(n: u64) -> Vec<u8> {
    (0..n)
        .flat_map(|n| format!("{n:07}\n").into_bytes())
        .collect()
}

fn counts(address: SocketAddr) -> Value {
    serde_json::from_slice(&http::get(address, "/odd/stream-counts").body).unwrap()
}

fn wait_for_closed(address: SocketAddr, count: u64) {
    let start = Instant::now();
    while counts(address)["closed"].as_u64() < Some(count) {
        assert!(start.elapsed() < PATIENCE, "{}", counts(address));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_body_of_any_size_is_read_piece_by_piece(io: &str) {
    let (hub, _worker) = start(io);
    for size in [0, 1, 1000, 120_000, 131_072, 200_000, 30_000_000] {
        let body = pattern(size);
        let response = http::request(hub.address, "POST", "/odd/sum", &body);
        assert_eq!(
            response.text(),
            format!("{size} {} 0", sum_of(&body)),
            "{size}"
        );
    }
}

fn blocking_code_reads_and_writes_bodies_too(io: &str) {
    let (hub, _worker) = start(io);
    for size in [0, 1000, 3_000_000] {
        let body = pattern(size);
        let response = http::request(hub.address, "POST", "/odd/read", &body);
        assert!(response.status == 200 && response.body == body, "{size}");
    }
    let response = http::get(hub.address, "/odd/stream/200000/blocking");
    assert!(response.body == lines(200_000));
}

fn a_handler_gets_the_first_of_a_body_before_the_rest_is_sent(io: &str) {
    let (hub, _worker) = start(io);
    let mut connection = Connection::open(hub.address);
    connection
        .send("POST /odd/first-piece HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n");
    connection.send(pattern(200_000));
    // The rest never comes, and yet there is an answer.
    let response = connection.read_response("POST").unwrap();
    assert_eq!(response.status, 200);
    assert!(response.text().parse::<usize>().unwrap() > 10_000);
    assert_eq!(response.field("connection"), Some("close"));
}

fn case_85_an_answer_of_unknown_length_is_chunked_in_1_1_and_ends_the_connection_in_1_0(io: &str) {
    let (hub, _worker) = start(io);
    let mut connection = Connection::open(hub.address);
    for n in [0, 1, 20_000, 500_000] {
        connection.send(format!(
            "GET /odd/stream/{n}/finish HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!(response.field("content-length"), None);
        assert!(response.body == lines(n), "{n}");
        let mut old = Connection::open(hub.address);
        old.send(format!(
            "GET /odd/stream/{n}/finish HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        ));
        let response = old.read_response("GET").unwrap();
        assert_eq!(response.field("transfer-encoding"), None);
        assert_eq!(response.field("connection"), Some("close"));
        assert!(response.body == lines(n), "{n} in HTTP/1.0");
    }
}

fn an_answer_of_a_length_that_is_known_ahead_has_it(io: &str) {
    let (hub, _worker) = start(io);
    let response = http::get(hub.address, "/odd/stream/100000/known");
    assert_eq!(response.field("content-length"), Some("800000"));
    assert!(response.body == lines(100_000));
}

fn case_86_an_answer_that_is_cut_or_not_its_length_is_no_whole_answer_to_any_client(io: &str) {
    let (hub, _worker) = start(io);
    for how in ["cut", "short"] {
        for n in [10, 100_000] {
            let mut connection = Connection::open(hub.address);
            connection.send(format!(
                "GET /odd/stream/{n}/{how} HTTP/1.1\r\nHost: h\r\n\r\n"
            ));
            assert!(connection.read_response("GET").is_err(), "{how} {n}");
        }
    }
    // In HTTP/1.0 only a reset tells a cut from an end.
    let mut stream = TcpStream::connect(hub.address).unwrap();
    stream
        .write_all(b"GET /odd/stream/10/cut HTTP/1.0\r\n\r\n")
        .unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(http::get(hub.address, "/odd/runs").status, 200);
}

fn a_client_that_reads_slowly_holds_the_handler_back(io: &str) {
    let (hub, _worker) = start(io);
    let mut stream = TcpStream::connect(hub.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /odd/stream/5000000/finish HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    // What has been sent stops growing, long before all of the 40 MB.
    let start = Instant::now();
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let sent = counts(hub.address)["sent"].as_u64().unwrap();
        if sent == before && sent > 0 {
            break;
        }
        before = sent;
        assert!(start.elapsed() < PATIENCE, "{sent}");
    }
    assert!(before < 20_000_000, "{before}");
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).unwrap();
    let start = Instant::now();
    while counts(hub.address)["sent"].as_u64() == Some(before) {
        assert!(start.elapsed() < PATIENCE, "it does not go on");
        std::io::Read::read_exact(&mut stream, &mut some).unwrap();
    }
}

fn a_client_that_leaves_ends_the_handlers_of_both_directions(io: &str) {
    let (hub, _worker) = start(io);
    let mut download = TcpStream::connect(hub.address).unwrap();
    download
        .write_all(b"GET /odd/stream/50000000/finish HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut some = [0; 1000];
    download.read_exact(&mut some).unwrap();
    drop(download);
    wait_for_closed(hub.address, 1);
    let mut upload = TcpStream::connect(hub.address).unwrap();
    upload
        .write_all(b"POST /odd/sum HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n")
        .unwrap();
    upload.write_all(&pattern(300_000)).unwrap();
    drop(upload);
    wait_for_closed(hub.address, 2);
    assert_eq!(http::get(hub.address, "/odd/runs").status, 200);
}

fn a_streamed_answer_to_head_has_no_body(io: &str) {
    let (hub, _worker) = start(io);
    let mut connection = Connection::open(hub.address);
    for _ in 0..3 {
        connection.send("HEAD /odd/stream/100000/finish HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(connection.read_response("HEAD").unwrap().status, 200);
    }
    wait_for_closed(hub.address, 3);
}
