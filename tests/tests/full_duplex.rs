//! Responses that stream while their requests still come.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with_service(io: &str, flags: &[&str]) -> (HubPart, Part) {
    let flags = [&["--body-bytes-max", "10000000000"], flags].concat();
    HubPart::start_with_worker(program(), io, "websocket", &flags)
}

fn head(framing: &str) -> String {
    format!("POST /duplex HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

slotway_tests::on_each_engine! {
    each_piece_comes_back_before_the_next_is_sent
    a_client_that_talks_in_small_pieces_is_answered_in_small_pieces
    a_long_body_comes_back_whole_while_it_is_sent
    a_body_that_fails_half_way_cuts_its_response_off
    a_client_that_never_reads_is_ended_and_takes_nothing_from_others
    a_client_that_is_silent_for_long_is_ended_by_the_workers_time
}

fn each_piece_comes_back_before_the_next_is_sent(io: &str) {
    let (hub, _worker) = hub_with_service(io, &[]);
    // More than shows that the client means to send it, so that the request goes on.
    let first = vec![b'a'; 200_000];
    let mut client = Connection::open(hub.address);
    client.send(head(CHUNKED));
    client.send(format!("{:x}\r\n", first.len()));
    client.send(&first);
    client.send("\r\n");
    let response = client.read_head().unwrap();
    assert_eq!(
        (response.status, response.field("transfer-encoding")),
        (200, Some("chunked"))
    );
    let mut expected = first.len();
    for number in 0..200 {
        while expected > 0 {
            expected -= client.read_chunk().unwrap().expect("more").len();
        }
        let piece = format!("piece {number}");
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        expected = piece.len();
    }
    while expected > 0 {
        expected -= client.read_chunk().unwrap().expect("more").len();
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_chunk().unwrap(), None);
}

fn chunk(piece: &str) -> String {
    format!("{:x}\r\n{piece}\r\n", piece.len())
}

fn a_client_that_talks_in_small_pieces_is_answered_in_small_pieces(io: &str) {
    let (hub, _worker) = hub_with_service(io, &[]);
    for with_head in ["", "early"] {
        let mut client = Connection::open(hub.address);
        let first = if with_head.is_empty() {
            String::new()
        } else {
            chunk(with_head)
        };
        client.send(head(CHUNKED) + &first);
        // It says nothing more before it is answered.
        let response = client.read_head().unwrap();
        assert_eq!((response.status, response.field("connection")), (200, None));
        if !with_head.is_empty() {
            assert_eq!(
                client.read_chunk().unwrap().as_deref(),
                Some(with_head.as_bytes())
            );
        }
        for number in 0..100 {
            let piece = format!("piece {number}");
            client.send(chunk(&piece));
            let answer = client.read_chunk().unwrap();
            assert_eq!(answer.as_deref(), Some(piece.as_bytes()));
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.read_chunk().unwrap(), None);
        // The connection goes on.
        client.send(head("Content-Length: 4") + "well");
        assert_eq!(client.read_response("POST").unwrap().text(), "well");
    }
}

fn a_long_body_comes_back_whole_while_it_is_sent(io: &str) {
    const BYTES: usize = 60_000_000;
    let (hub, _worker) = hub_with_service(io, &[]);
    let byte_at = |index: usize| (index % 251) as u8;
    let mut client = Connection::open(hub.address);
    // The connection goes on after each.
    for framing in [format!("Content-Length: {BYTES}"), CHUNKED.to_owned()] {
        let mut writer = client.stream().try_clone().unwrap();
        let (framing, is_chunked) = (head(&framing), framing == CHUNKED);
        let writing = std::thread::spawn(move || {
            writer.write_all(framing.as_bytes()).unwrap();
            let all: Vec<u8> = (0..BYTES).map(byte_at).collect();
            for piece in all.chunks(100_000) {
                if is_chunked {
                    write!(writer, "{:x}\r\n", piece.len()).unwrap();
                }
                writer.write_all(piece).unwrap();
                if is_chunked {
                    writer.write_all(b"\r\n").unwrap();
                }
            }
            if is_chunked {
                writer.write_all(b"0\r\n\r\n").unwrap();
            }
        });
        let response = client.read_response("POST").unwrap();
        writing.join().unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.body.len(), BYTES);
        assert!(
            response
                .body
                .iter()
                .enumerate()
                .all(|(index, byte)| *byte == byte_at(index))
        );
    }
    client.send(head("Content-Length: 4") + "well");
    assert_eq!(client.read_response("POST").unwrap().text(), "well");
}

fn a_body_that_fails_half_way_cuts_its_response_off(io: &str) {
    let (hub, _worker) = hub_with_service(io, &[]);
    let mut client = Connection::open(hub.address);
    client.send(head(CHUNKED));
    client.send(format!("{:x}\r\n", 300_000));
    client.send(vec![b'a'; 300_000]);
    assert_eq!(client.read_head().unwrap().status, 200);
    client.send("\r\nno chunk\r\n");
    let mut rest = Vec::new();
    // Reset, or closed without the last chunk: the client can tell.
    let ended = client.read_rest(&mut rest);
    assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"));
    hub.part
        .wait_for_log("a streamed response was cut off, since its request failed");
    let mut client = Connection::open(hub.address);
    client.send(head("Content-Length: 1000000"));
    client.send(vec![b'a'; 300_000]);
    assert_eq!(client.read_head().unwrap().status, 200);
    client.stream().shutdown(Shutdown::Write).unwrap();
    let ended = client.read_rest(&mut rest);
    assert!(ended.is_err() || rest.len() < 1_000_000);
    assert_eq!(
        http::request(hub.address, "POST", "/duplex", b"well").text(),
        "well"
    );
}

fn a_client_that_never_reads_is_ended_and_takes_nothing_from_others(io: &str) {
    let (hub, _worker) = hub_with_service(io, &["--write-timeout", "1"]);
    let mut client = TcpStream::connect(hub.address).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(head("Content-Length: 1000000000").as_bytes())
        .unwrap();
    let start = Instant::now();
    let piece = vec![b'a'; 1_000_000];
    // It only writes, until it is ended.
    while client.write_all(&piece).is_ok() {
        assert!(start.elapsed() < PATIENCE, "nobody ends it");
        assert_eq!(
            http::request(hub.address, "POST", "/duplex", b"well").text(),
            "well"
        );
    }
    assert_eq!(
        http::request(hub.address, "POST", "/duplex", b"well").text(),
        "well"
    );
}

fn a_client_that_is_silent_for_long_is_ended_by_the_workers_time(io: &str) {
    let (hub, _worker) = hub_with_service(io, &["--timeout", "1"]);
    let mut client = Connection::open(hub.address);
    client.send(head("Content-Length: 1000000"));
    client.send(vec![b'a'; 300_000]);
    assert_eq!(client.read_head().unwrap().status, 200);
    client
        .stream()
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut rest = Vec::new();
    let mut stream = client.stream();
    let ended = stream.read_to_end(&mut rest);
    assert!(ended.is_err() || rest.len() < 1_000_000);
    hub.part.wait_for_log("was cut off");
}
