//! Clients that hold their body back until they are told that it is wanted (RFC 9110 section
//! 10.1.1): the handler says so, by reading it.

use std::path::Path;

use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with(io: &str, role: &str) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, &[])
}

fn head(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{fields}\r\n")
}

slotway_tests::on_each_engine! {
    a_handler_that_does_not_read_answers_and_the_body_is_never_asked_for
    a_body_is_asked_for_once_it_is_read_and_comes_whole
    a_body_that_comes_without_being_asked_for_is_not_asked_for
    handlers_that_get_whole_bodies_get_them
    a_client_that_leaves_instead_of_sending_frees_its_slot
}

fn a_handler_that_does_not_read_answers_and_the_body_is_never_asked_for(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades");
    for framing in [
        "Content-Length: 10\r\n",
        "Content-Length: 500000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut client = Connection::open(hub.address);
        client.send(head("/gate", framing));
        let response = client.read_response("POST").unwrap();
        assert_eq!(
            (response.status, response.text().as_str()),
            (401, "no key"),
            "{framing}"
        );
        // Whether the body still comes cannot be known.
        assert_eq!(response.field("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

fn a_body_is_asked_for_once_it_is_read_and_comes_whole(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades");
    for bytes in [1, 10_000, 500_000] {
        for framing in [
            format!("Content-Length: {bytes}\r\n"),
            "Transfer-Encoding: chunked\r\n".to_owned(),
        ] {
            let mut client = Connection::open(hub.address);
            client.send(head("/gate", &format!("X-Key: k\r\n{framing}")));
            assert_eq!(client.read_head().unwrap().status, 100);
            let body = "b".repeat(bytes);
            if framing.starts_with('T') {
                client.send(format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n"));
            } else {
                client.send(&body);
            }
            let response = client.read_response("POST").unwrap();
            assert_eq!((response.status, response.text()), (200, bytes.to_string()));
            // The connection goes on.
            client.send("GET /refuse HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(client.read_response("GET").unwrap().status, 426);
        }
    }
}

fn a_body_that_comes_without_being_asked_for_is_not_asked_for(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades");
    let mut client = Connection::open(hub.address);
    client.send(head("/gate", "X-Key: k\r\nContent-Length: 5\r\n") + "early");
    let response = client.read_response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "5"));
}

fn handlers_that_get_whole_bodies_get_them(io: &str) {
    let (hub, _worker) = hub_with(io, "echo");
    for bytes in [5, 300_000] {
        let mut client = Connection::open(hub.address);
        client.send(head("/api/echo", &format!("Content-Length: {bytes}\r\n")));
        assert_eq!(client.read_head().unwrap().status, 100);
        let body = "w".repeat(bytes);
        client.send(&body);
        assert!(client.read_response("POST").unwrap().text() == body);
    }
    // The hub refuses what no handler would get.
    let mut client = Connection::open(hub.address);
    client.send(head("/api/echo", "Content-Length: 9000000000\r\n"));
    assert_eq!(client.read_response("POST").unwrap().status, 413);
    let mut client = Connection::open(hub.address);
    client.send(head("/nowhere", "Content-Length: 5\r\n"));
    assert_eq!(client.read_response("POST").unwrap().status, 404);
}

fn a_client_that_leaves_instead_of_sending_frees_its_slot(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades");
    for _ in 0..600 {
        let mut client = Connection::open(hub.address);
        client.send(head("/gate", "X-Key: k\r\nContent-Length: 5\r\n"));
        assert_eq!(client.read_head().unwrap().status, 100);
    }
    // There are 256 slots.
    assert_eq!(http::request(hub.address, "POST", "/gate", b"").status, 401);
}
