//! What comes before and behind a response, and behind a request's body: interim responses, and
//! trailers both ways.

use std::path::Path;

use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with_worker(io: &str) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, "upgrades", &[])
}

slotway_tests::on_each_engine! {
    trailers_of_a_request_reach_its_handler_and_those_that_may_not_be_there_do_not
    trailers_of_a_response_reach_a_client_that_takes_them
    hints_come_before_the_response
    trailers_beyond_their_limits_are_refused
}

/// What a worker says of a request with a body of so many bytes and these trailers.
fn told(hub: &HubPart, method: &str, bytes: usize, trailers: &str) -> (u16, String) {
    let mut client = Connection::open(hub.address);
    let body = "b".repeat(bytes);
    client.send(format!(
        "{method} /trailers HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    if bytes > 0 {
        client.send(format!("{bytes:x}\r\n{body}\r\n"));
    }
    client.send(format!("0\r\n{trailers}\r\n"));
    let response = client.read_response(method).unwrap();
    (response.status, response.text())
}

fn trailers_of_a_request_reach_its_handler_and_those_that_may_not_be_there_do_not(io: &str) {
    let (hub, _worker) = hub_with_worker(io);
    let trailers = "X-Sum:  17 \r\nHost: other\r\nContent-Length: 9\r\nX-Forwarded-For: 1.2.3.4\r\ngrpc-status: 0\r\n";
    // Bodies that fit their slot, that just do not, and that stream.
    for method in ["POST", "PUT"] {
        for bytes in (0..3)
            .chain(58_000..58_002)
            .chain((60_000..66_000).step_by(500))
            .chain([300_000])
        {
            let told_of = told(&hub, method, bytes, trailers);
            let expected = format!("{bytes} X-Sum=17 grpc-status=0");
            assert_eq!(told_of, (200, expected), "{method} {bytes}");
            assert_eq!(told(&hub, method, bytes, ""), (200, format!("{bytes} ")));
        }
    }
    // The connection goes on behind them.
    let mut client = Connection::open(hub.address);
    let request = "POST /trailers HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n";
    client.send(request.repeat(3));
    for _ in 0..3 {
        assert_eq!(client.read_response("POST").unwrap().text(), "1 a=b");
    }
}

/// What comes behind the last chunk.
fn trailers_of(hub: &HubPart, bytes: usize, fields: &str) -> (usize, String) {
    let mut client = Connection::open(hub.address);
    client.send(format!(
        "GET /trailers/{bytes} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n"
    ));
    assert_eq!(client.read_head().unwrap().status, 200);
    let mut rest = Vec::new();
    client.read_rest(&mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    let body = rest.matches('b').count();
    let (_, behind) = rest.rsplit_once("0\r\n").expect("a last chunk");
    (body, behind.to_owned())
}

fn trailers_of_a_response_reach_a_client_that_takes_them(io: &str) {
    let (hub, _worker) = hub_with_worker(io);
    for bytes in [0, 1, 65_000, 65_500, 300_000] {
        let takes = trailers_of(&hub, bytes, "TE: deflate, Trailers\r\n");
        assert_eq!(
            takes,
            (bytes, "x-sum: 17\r\nx-last: \r\n\r\n".to_owned()),
            "{bytes}"
        );
        assert_eq!(trailers_of(&hub, bytes, ""), (bytes, "\r\n".to_owned()));
    }
}

fn hints_come_before_the_response(io: &str) {
    let (hub, _worker) = hub_with_worker(io);
    for count in [0, 1, 5] {
        let mut client = Connection::open(hub.address);
        client.send(format!("GET /hints/{count} HTTP/1.1\r\nHost: h\r\n\r\n"));
        for number in 0..count {
            let hint = client.read_head().unwrap();
            let link = format!("</{number}.css>; rel=preload");
            assert_eq!((hint.status, hint.field("link")), (103, Some(&*link)));
        }
        let response = client.read_response("GET").unwrap();
        assert_eq!((response.status, response.body.len()), (200, 100_000));
        assert!(response.body.iter().all(|byte| *byte == b'h'));
    }
    // HTTP/1.0 has none.
    let mut client = Connection::open(hub.address);
    client.send("GET /hints/2 HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status, 200);
    assert_eq!(http::get(hub.address, "/refuse").status, 426);
}

fn trailers_beyond_their_limits_are_refused(io: &str) {
    let (hub, _worker) = hub_with_worker(io);
    let long = format!("x: {}\r\n", "y".repeat(4100));
    for bytes in [1, 300_000] {
        assert_eq!(told(&hub, "POST", bytes, &long).0, 431, "{bytes}");
        assert_eq!(told(&hub, "POST", bytes, "no field\r\n").0, 400, "{bytes}");
        assert_eq!(told(&hub, "POST", bytes, "a b: c\r\n").0, 400, "{bytes}");
    }
    let many = "a: b\r\n".repeat(500);
    assert_eq!(told(&hub, "POST", 1, &many).0, 200);
}
