//! Connections that workers take over: WebSocket by real clients, and what can go wrong on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{HubPart, PATIENCE, Part, free_port, wait_until};
use tokio_tungstenite::tungstenite::Message;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with(io: &str, role: &str, flags: &[&str]) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, flags)
}

/// A request by which a client offers to shout, with more behind it.
fn offer(path: &str, behind: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: shout\r\n\r\n{behind}"
    )
}

/// A connection that has been upgraded by `/shout`.
fn shouting(hub: &HubPart) -> Connection {
    let mut client = Connection::open(hub.address);
    client.send(offer("/shout", ""));
    assert_eq!(client.read_head().unwrap().status, 101);
    client
}

fn assert_shouts(client: &Connection, text: &str) {
    let mut stream = client.stream();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text.to_uppercase().as_bytes());
}

/// Whether the other end has ended it: cleanly or not.
fn has_ended(stream: &TcpStream) -> bool {
    let mut stream = stream;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Client connections that the hub counts.
fn connection_count(hub: &HubPart) -> u64 {
    Scrape::of(hub.address).count("slotway_upgraded_connections", &[])
}

slotway_tests::on_each_engine! {
    messages_of_a_websocket_go_both_ways
    bytes_go_through_as_they_are_also_those_that_came_before_the_101
    a_connection_goes_on_without_its_hub_and_ends_with_its_worker
    what_a_worker_holds_is_counted_until_it_ends_and_by_the_next_hub_too
    connections_that_workers_hold_count_against_the_limit
    what_is_no_offer_is_served_as_if_nothing_were_offered
    handlers_that_upgrade_wrongly_get_500_and_nothing_is_handed_over
    a_worker_that_cannot_take_connections_has_no_websockets_and_says_so
    a_101_that_is_a_lie_is_502
    a_client_that_leaves_before_the_hand_over_leaves_nothing_behind
    a_session_that_ends_in_the_hand_over_ends_the_connection
    who_takes_up_what_nobody_waits_for_is_told_so
    a_worker_that_lies_about_what_it_holds_keeps_no_client_out
    a_hub_that_stops_does_not_wait_for_connections_that_workers_hold
}

#[tokio::main(flavor = "current_thread")]
async fn exchange_messages(hub: &HubPart) {
    let url = format!("ws://{}/ws", hub.address);
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("sec-websocket-accept"));
    let large: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    for message in [
        Message::text("hello"),
        Message::binary(large),
        Message::text(""),
        Message::text("grüß dich"),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket
        .send(Message::Ping(b"there?".as_slice().into()))
        .await
        .unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"there?".as_slice().into()));
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    assert!(socket.next().await.is_none());
}

fn messages_of_a_websocket_go_both_ways(io: &str) {
    let (hub, _worker) = hub_with(io, "websocket", &[]);
    exchange_messages(&hub);
    // What is no handshake is answered as axum answers it.
    assert_eq!(http::get(hub.address, "/ws").status, 400);
    wait_until("nothing is held", || connection_count(&hub) == 0);
}

fn bytes_go_through_as_they_are_also_those_that_came_before_the_101(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades", &[]);
    let early = "early ".repeat(2000);
    let mut client = Connection::open(hub.address);
    client.send(offer("/shout", &early));
    let head = client.read_head().unwrap();
    assert_eq!(head.status, 101);
    assert_eq!(head.field("connection"), Some("upgrade"));
    assert_eq!(head.field("upgrade"), Some("shout"));
    assert_eq!(head.field("x-offered"), Some("shout"));
    assert_eq!(head.field("content-length"), None);
    let all: Vec<u8> = (0..4_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let mut writer = client.stream().try_clone().unwrap();
    let sent = all.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_rest(&mut received).unwrap();
    writing.join().unwrap();
    let mut expected = [early.into_bytes(), all].concat();
    expected.make_ascii_uppercase();
    assert!(
        received == expected,
        "{} of {} bytes",
        received.len(),
        expected.len()
    );
}

fn a_connection_goes_on_without_its_hub_and_ends_with_its_worker(io: &str) {
    let (mut hub, mut worker) = hub_with(io, "upgrades", &[]);
    let client = shouting(&hub);
    assert_shouts(&client, "one");
    hub.part.signal(rustix::process::Signal::KILL);
    hub.part.wait();
    assert_shouts(&client, "two");
    worker.signal(rustix::process::Signal::KILL);
    worker.wait();
    assert!(has_ended(client.stream()));
}

fn what_a_worker_holds_is_counted_until_it_ends_and_by_the_next_hub_too(io: &str) {
    let port = free_port().to_string();
    let flags = ["--io", io, "--port", &port];
    let mut hub = HubPart::start_listening(program(), &flags);
    let _worker = hub.start_worker_over_http(&hub.url(), "upgrades", "upgrades", &[]);
    let mut clients: Vec<_> = (0..3).map(|_| shouting(&hub)).collect();
    wait_until("all are counted", || connection_count(&hub) == 3);
    drop(clients.pop());
    wait_until("one has ended", || connection_count(&hub) == 2);
    hub.part.signal(rustix::process::Signal::KILL);
    hub.part.wait();
    let hub = HubPart::start_listening(program(), &flags);
    wait_until("the new hub knows of two", || connection_count(&hub) == 2);
    clients.push(shouting(&hub));
    wait_until("and of the third", || connection_count(&hub) == 3);
    clients.clear();
    wait_until("none is left", || connection_count(&hub) == 0);
}

fn connections_that_workers_hold_count_against_the_limit(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades", &["--connections-max", "2"]);
    let first = shouting(&hub);
    let second = shouting(&hub);
    assert_shouts(&first, "first");
    let third = TcpStream::connect(hub.address).unwrap();
    (&third).write_all(offer("/shout", "").as_bytes()).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let waiting = (&third).read(&mut [0; 1]);
    assert!(waiting.is_err(), "nobody serves the third: {waiting:?}");
    drop(second);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = [0; 12];
    (&third).read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

fn what_is_no_offer_is_served_as_if_nothing_were_offered(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades", &[]);
    let long = "x".repeat(257);
    for (fields, version, body) in [
        ("Upgrade: shout\r\n", "1.1", ""),
        ("Connection: upgrade\r\n", "1.1", ""),
        ("Connection: upgrade\r\nUpgrade: shout\r\n", "1.0", ""),
        (
            "Connection: upgrade\r\nUpgrade: shout\r\nUpgrade: b\r\n",
            "1.1",
            "",
        ),
        (
            "Connection: upgrade\r\nUpgrade: shout\r\nContent-Length: 1\r\n",
            "1.1",
            "x",
        ),
        ("Connection: upgrade\r\nUpgrade:\r\n", "1.1", ""),
        (
            &format!("Connection: upgrade\r\nUpgrade: {long}\r\n"),
            "1.1",
            "",
        ),
    ] {
        let mut client = Connection::open(hub.address);
        client.send(format!(
            "GET /shout HTTP/{version}\r\nHost: h\r\n{fields}\r\n{body}"
        ));
        let response = client.read_response("GET").unwrap();
        assert_eq!(response.status, 500, "{fields:?}");
        assert!(response.text().contains("not valid"), "{}", response.text());
    }
    // A client that offers and is refused goes on with HTTP.
    let mut client = Connection::open(hub.address);
    client.send(offer("/refuse", &offer("/refuse", "")));
    for _ in 0..2 {
        let response = client.read_response("GET").unwrap();
        assert_eq!(
            (response.status, response.field("upgrade")),
            (426, Some("shout"))
        );
    }
    assert_eq!(connection_count(&hub), 0);
}

fn handlers_that_upgrade_wrongly_get_500_and_nothing_is_handed_over(io: &str) {
    let (hub, worker) = hub_with(io, "upgrades", &[]);
    for (path, status, log) in [
        ("/without", 500, "101 without an upgrade"),
        ("/other", 500, "an upgrade with another status than 101"),
        ("/nameless", 502, ""),
    ] {
        let mut client = Connection::open(hub.address);
        client.send(offer(path, ""));
        assert_eq!(
            client.read_response("GET").unwrap().status,
            status,
            "{path}"
        );
        worker.wait_for_log(log);
        client.send("GET /refuse HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_response("GET").unwrap().status, 426, "{path}");
    }
    hub.part.wait_for_log("it has no Upgrade field");
    let mut client = Connection::open(hub.address);
    client.send(offer("/drop", ""));
    assert_eq!(client.read_head().unwrap().status, 101);
    assert!(has_ended(client.stream()));
    wait_until("nothing is held", || connection_count(&hub) == 0);
}

const HANDSHAKE: &str = "GET /liar HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn a_worker_that_cannot_take_connections_has_no_websockets_and_says_so(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach(&hub, "liar", "/liar");
    let mut client = Connection::open(hub.address);
    client.send(HANDSHAKE);
    let response = client.read_response("GET").unwrap();
    assert_eq!(response.status, 501);
    assert!(response.text().contains("cannot take over connections"));
    // What is no WebSocket can be served without.
    client.send(offer("/liar", ""));
    let request = worker.take();
    assert!(!worker.request_text(&request).contains("shout"));
    worker.respond_with(&request, 200, "", b"plain");
    assert_eq!(client.read_response("GET").unwrap().text(), "plain");
}

fn a_101_that_is_a_lie_is_502(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach_for_upgrades(&hub, "liar", "/liar");
    for (offers, flags_are_set, fields) in [
        (false, true, "upgrade: shout\r\n"),
        (true, false, "upgrade: shout\r\n"),
        (true, true, ""),
        (true, true, "upgrade: shout\r\nconnection: upgrade\r\n"),
        (true, true, "upgrade: shout\r\ncontent-length: 3\r\n"),
    ] {
        let mut client = Connection::open(hub.address);
        if offers {
            client.send(offer("/liar", ""));
        } else {
            client.send("GET /liar HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        let request = worker.take();
        worker.respond_101(&request, flags_are_set, fields);
        let response = client.read_response("GET").unwrap();
        assert_eq!(response.status, 502, "{offers} {flags_are_set} {fields:?}");
    }
    hub.part.wait_for_log("the worker's 101 cannot be sent");
    // The session lives, and what is right goes through.
    let mut client = Connection::open(hub.address);
    client.send(offer("/liar", "early"));
    let request = worker.take();
    worker.respond_101(&request, true, "upgrade: shout\r\n");
    assert_eq!(client.read_head().unwrap().status, 101);
    let (socket, early) = worker.take_socket(&request).expect("it is handed over");
    assert_eq!(early, b"early");
    TcpStream::from(socket).write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    client.stream().read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
}

fn a_client_that_leaves_before_the_hand_over_leaves_nothing_behind(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach_for_upgrades(&hub, "liar", "/liar");
    let mut client = Connection::open(hub.address);
    client.send(offer("/liar", ""));
    let request = worker.take();
    client.stream().shutdown(Shutdown::Both).unwrap();
    drop(client);
    worker.respond_101(&request, true, "upgrade: shout\r\n");
    // Either it is told that none comes, or it gets a socket that has ended.
    if let Some((socket, _)) = worker.take_socket(&request) {
        assert!(has_ended(&TcpStream::from(socket)));
    }
    worker.say_released(1, 0);
    wait_until("nothing is held", || connection_count(&hub) == 0);
    assert!(hub.health().contains("\"liar\""));
}

fn a_session_that_ends_in_the_hand_over_ends_the_connection(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach_for_upgrades(&hub, "liar", "/liar");
    let mut client = Connection::open(hub.address);
    client.send(offer("/liar", ""));
    let request = worker.take();
    worker.respond_101(&request, true, "upgrade: shout\r\n");
    drop(worker);
    // Its 101 may have been seen; the socket goes with the packets that nobody has read.
    let _ = client.read_head();
    assert!(has_ended(client.stream()));
    wait_until("nothing is held", || connection_count(&hub) == 0);
}

fn a_hub_that_stops_does_not_wait_for_connections_that_workers_hold(io: &str) {
    let (mut hub, _worker) = hub_with(io, "upgrades", &[]);
    let client = shouting(&hub);
    hub.part.signal(rustix::process::Signal::TERM);
    assert!(hub.part.wait().success());
    assert_shouts(&client, "on");
    assert!(!hub.part.log().contains("drain timeout"));
}

fn who_takes_up_what_nobody_waits_for_is_told_so(io: &str) {
    let (mut hub, worker) = hub_with(io, "upgrades", &[]);
    let mut client = Connection::open(hub.address);
    client.send(offer("/late", ""));
    worker.wait_for_log("late: asked");
    drop(client);
    worker.wait_for_log("late: the client's connection did not come over");
    // So it is where the hub goes before the answer.
    let mut client = Connection::open(hub.address);
    client.send(offer("/late", ""));
    wait_until("it is asked again", || {
        worker.log().matches("late: asked").count() == 2
    });
    hub.part.signal(rustix::process::Signal::KILL);
    hub.part.wait();
    wait_until("it is told again", || {
        worker.log().matches("did not come over").count() == 2
    });
}

fn a_worker_that_lies_about_what_it_holds_keeps_no_client_out(io: &str) {
    let (hub, _worker) = hub_with(io, "upgrades", &["--connections-max", "3"]);
    let liar = FakeWorker::attach_for_upgrades(&hub, "liar", "/liar");
    liar.say_held(u32::MAX);
    wait_until("it is shown", || {
        connection_count(&hub) == u64::from(u32::MAX)
    });
    drop(shouting(&hub));
    liar.say_released(u32::MAX, 0);
    drop(shouting(&hub));
    // Once is enough.
    liar.say_held(1);
    hub.part.wait_for_log("it sent an unexpected message");
    wait_until("nothing is held", || connection_count(&hub) == 0);
}
