//! Event streams: what is emitted and pushed reaches who listens, and workers know of
//! their clients.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use slotway_shm_proto::layout::ResponseHead;
use slotway_shm_proto::limits::REQUEST_FIELD_COUNT_MAX;
use slotway_tests::event_stream::{Asked, EventStream};
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http::{self, Connection};
use slotway_tests::sse_worker::{await_told, post, push, told};
use slotway_tests::system::{HubPart, Part, wait_until};
use slotway_worker_sdk::HubWorker;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    what_is_emitted_reaches_everyone_at_events_and_at_its_channel
    a_worker_emits_over_its_session_and_pushes_over_http
    the_seeds_api_has_event_streams
    a_worker_is_told_of_a_client_and_that_it_left_once
    pushes_reach_clients_by_path_by_pattern_and_by_connection
    a_client_that_the_worker_does_not_want_gets_the_workers_answer
    a_slow_client_is_told_what_it_lost_and_its_pusher_503
    a_killed_workers_clients_stay_and_the_next_is_told_of_them
    a_replaced_worker_knows_all_of_a_thousand_clients_and_one_push_reaches_them
    silent_streams_get_comments_and_a_client_that_is_gone_is_noticed
    a_client_whose_head_does_not_fit_its_workers_slots_gets_431
    clients_that_leave_before_their_worker_has_begun_are_let_go
    a_worker_that_is_asked_about_a_client_is_told_that_it_left_meanwhile
    events_go_on_while_a_new_worker_is_told_of_their_clients
    a_worker_is_told_that_its_client_left_though_another_route_has_the_path
    a_route_that_is_no_event_stream_any_more_ends_its_streams
    streams_end_properly_when_the_hub_stops
    streams_end_though_their_worker_does_not_answer
    events_of_one_thread_stay_in_their_order
    a_1_0_client_gets_its_events_without_chunks
}

fn start(io: &str, flags: &[&str]) -> (HubPart, Part) {
    let hub = HubPart::start(program(), &[&["--io", io], flags].concat());
    let worker = hub.start_worker("sse", "rooms");
    (hub, worker)
}

fn what_is_emitted_reaches_everyone_at_events_and_at_its_channel(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--reactors", "2"]);
    let mut all: Vec<_> = (0..4)
        .map(|_| EventStream::open(hub.address, "/events"))
        .collect();
    let mut jobs = EventStream::open(hub.address, "/events/jobs");
    let mut spaced = EventStream::open(hub.address, "/events/a%20b");
    assert_eq!(all[0].head.field("content-type"), Some("text/event-stream"));
    let events = [
        json!({"source": "s", "event_type": "one", "data": "{\"channel\":\"jobs\"}"}),
        json!({"source": "s", "event_type": "two", "data": "{\"channel\":\"a b\"}"}),
        json!({"source": "s", "event_type": "three", "data": "no JSON\nat all"}),
    ];
    for event in &events {
        let response = post(&hub, "/internal/emit", event);
        assert_eq!((response.status, response.text().trim()), (200, "{}"));
    }
    for stream in &mut all {
        for expected in &events {
            let event = stream.event();
            assert_eq!(event.event_type, expected["event_type"].as_str().unwrap());
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data, *expected);
        }
    }
    assert_eq!(jobs.event().event_type, "one");
    assert_eq!(spaced.event().event_type, "two");
    post(&hub, "/internal/emit", &events[0]);
    assert_eq!(jobs.event().event_type, "one", "nothing came between");
    let head = http::request(hub.address, "POST", "/events", b"");
    assert_eq!((head.status, head.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(http::get(hub.address, "/events/a/b").status, 404);
}

fn a_worker_emits_over_its_session_and_pushes_over_http(io: &str) {
    let (hub, _worker) = start(io, &[]);
    let mut jobs = EventStream::open(hub.address, "/events/jobs");
    let mut room = EventStream::open(hub.address, "/sse/a");
    assert_eq!(http::get(hub.address, "/sse-emit/done").status, 200);
    let event = jobs.event();
    assert_eq!(event.event_type, "done");
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["source"], "rooms");
    let pushed = http::get(hub.address, "/sse-push/a/news");
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    let event = room.event();
    assert_eq!(event.data, "from the worker");
    assert_eq!(event.id.as_deref(), Some("w"));
    let nobody = http::get(hub.address, "/sse-push/b/news");
    assert!(nobody.text().contains("404"), "{}", nobody.text());
}

fn the_seeds_api_has_event_streams(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("seed", "seed-api");
    let mut all = EventStream::open(hub.address, "/events");
    let mut seven = EventStream::open(hub.address, "/api/users/7/changes");
    let told = http::request(hub.address, "POST", "/api/users/7/changes", b"new name");
    assert_eq!(
        (told.status, told.text().as_str()),
        (200, r#"{"source":"seed-api"}"#)
    );
    let events = [seven.event(), seven.event()].map(|event| (event.event_type, event.data));
    let expected = ["by-path", "by-pattern"].map(|of| (of.to_owned(), "new name".to_owned()));
    assert_eq!(events, expected);
    let emitted: Value = serde_json::from_str(&all.event().data).unwrap();
    let document = json!({"source": "seed-api", "event_type": "changed", "data": "new name"});
    assert_eq!(emitted, document);
    let nobody = http::request(hub.address, "POST", "/api/users/8/changes", b"");
    assert_eq!(nobody.status, 502);
    assert!(nobody.text().contains("404"), "{}", nobody.text());
}

fn a_worker_is_told_of_a_client_and_that_it_left_once(io: &str) {
    let (hub, _worker) = start(io, &["--sse-sweep-interval-ms", "50"]);
    let fields = "Cookie: a=b\r\nContent-Type: of/none\r\nLast-Event-ID: 41\r\n";
    let stream = EventStream::open_with(hub.address, "/sse/a%20room?x=1", fields);
    assert_eq!(stream.head.status, 200);
    let connect = &told(&hub)[0];
    assert_eq!(connect["sse_lifecycle"], "connect");
    assert_eq!(connect["params"], json!({"room": "a room"}));
    assert_eq!(connect["path"], "/sse/a%20room");
    assert_eq!(connect["last_event_id"], "41");
    assert_eq!(
        (&connect["method"], &connect["cookie"]),
        (&json!("POST"), &json!("a=b"))
    );
    assert_eq!(connect["content-type"], "application/json");
    drop(stream);
    let all = await_told(&hub, 2);
    assert_eq!(all[1]["sse_lifecycle"], "disconnect");
    assert_eq!(all[1]["connection"], connect["connection"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(told(&hub).len(), 2, "told once");
    let gone = push(&hub, &json!({"path": "/sse/a%20room"}), "e", "");
    assert_eq!(gone.status, 404);
}

fn pushes_reach_clients_by_path_by_pattern_and_by_connection(io: &str) {
    let (hub, _worker) = start(io, &["--reactors", "2"]);
    let mut streams: Vec<_> = ["a", "a", "b"]
        .iter()
        .map(|room| EventStream::open(hub.address, &format!("/sse/{room}")))
        .collect();
    let connection = told(&hub)[2]["connection"].clone();
    let queued = |target: Value, event_type: &str| {
        let response = push(&hub, &target, event_type, "d");
        assert_eq!(response.status, 200, "{}", response.text());
        let response: Value = serde_json::from_slice(&response.body).unwrap();
        response["queued"].as_u64().unwrap()
    };
    assert_eq!(queued(json!({"path": "/sse/a"}), "path"), 2);
    assert_eq!(
        queued(
            json!({"pattern": "/sse/{room}", "params": {"room": "b"}}),
            "params"
        ),
        1
    );
    assert_eq!(
        queued(json!({"pattern": "/sse/{room}", "params": {}}), "pattern"),
        3
    );
    assert_eq!(queued(json!({"connection": connection}), "connection"), 1);
    let seen: Vec<Vec<_>> = streams
        .iter_mut()
        .zip([2, 2, 3])
        .map(|(stream, count)| (0..count).map(|_| stream.event().event_type).collect())
        .collect();
    assert_eq!(seen[0], ["path", "pattern"]);
    assert_eq!(seen[1], ["path", "pattern"]);
    assert_eq!(seen[2], ["params", "pattern", "connection"]);
}

fn a_client_that_the_worker_does_not_want_gets_the_workers_answer(io: &str) {
    let (hub, _worker) = start(io, &[]);
    let refused = http::get(hub.address, "/sse/forbidden");
    assert_eq!((refused.status, refused.text().as_str()), (403, "not you"));
    let nobody = push(&hub, &json!({"path": "/sse/forbidden"}), "e", "");
    assert_eq!(nobody.status, 404);
    let posted = http::request(hub.address, "POST", "/sse/a", b"");
    assert_eq!(posted.status, 405);
    let mut with_body = Connection::open(hub.address);
    with_body.send("GET /sse/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(with_body.read_response("GET").unwrap().status, 400);
    let mut head = Connection::open(hub.address);
    head.send("HEAD /sse/a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(head.read_response("HEAD").unwrap().status, 200);
    assert!(told(&hub).is_empty());
}

fn a_slow_client_is_told_what_it_lost_and_its_pusher_503(io: &str) {
    let (hub, _worker) = start(io, &["--sse-buffer", "4"]);
    let mut slow = EventStream::open(hub.address, "/sse/slow");
    let mut reads = EventStream::open(hub.address, "/events");
    let target = json!({"path": "/sse/slow"});
    let large = "x".repeat(200_000);
    let mut pushed = 0;
    let refused = loop {
        let response = push(&hub, &target, "large", &large);
        if response.status != 200 {
            break response;
        }
        pushed += 1;
        assert!(pushed < 1000, "its buffer never fills");
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.field("retry-after").is_some());
    assert_eq!(push(&hub, &target, "large", &large).status, 503);
    // Others are not held up.
    let event = json!({"source": "s", "event_type": "e", "data": ""});
    assert_eq!(post(&hub, "/internal/emit", &event).status, 200);
    assert_eq!(reads.event().event_type, "e");
    let lagged = loop {
        let event = slow.event();
        if event.event_type == "lagged" {
            break event;
        }
        assert_eq!(event.data.len(), large.len());
        pushed -= 1;
    };
    assert_eq!((pushed, lagged.data.as_str()), (0, "{\"lost\":2}"));
    assert_eq!(push(&hub, &target, "again", "").status, 200);
    assert_eq!(slow.event().event_type, "again");
}

fn a_killed_workers_clients_stay_and_the_next_is_told_of_them(io: &str) {
    let (hub, mut worker) = start(io, &[]);
    let mut stream = EventStream::open_with(hub.address, "/sse/a", "Last-Event-ID: 1\r\n");
    let before = told(&hub)[0].clone();
    let target = json!({"path": "/sse/a", "id": "2"});
    assert_eq!(push(&hub, &target, "e", "").status, 200);
    assert_eq!(stream.event().id.as_deref(), Some("2"));
    worker.signal(Signal::KILL);
    worker.wait();
    // While nobody is there it is still connected.
    assert_eq!(
        push(&hub, &json!({"path": "/sse/a"}), "between", "").status,
        200
    );
    assert_eq!(stream.event().event_type, "between");
    let _next = hub.start_worker("sse", "rooms");
    let connect = &await_told(&hub, 1)[0];
    assert_eq!(connect["sse_lifecycle"], "connect");
    assert_eq!(connect["connection"], before["connection"]);
    assert_eq!(connect["last_event_id"], "2", "what it has got since");
    assert_eq!(http::get(hub.address, "/sse-push/a/news").status, 200);
    assert_eq!(stream.event().event_type, "news");
}

fn a_replaced_worker_knows_all_of_a_thousand_clients_and_one_push_reaches_them(io: &str) {
    const COUNT: usize = 1000;
    slotway_tests::fd_limit::raise_fd_limit();
    let (hub, _worker) = start(io, &["--slots", "8"]);
    let asked: Vec<_> = (0..COUNT)
        .map(|n| EventStream::begin(hub.address, &format!("/sse/r{}", n % 10), ""))
        .collect();
    let mut streams: Vec<_> = asked.into_iter().map(Asked::finish).collect();
    assert!(streams.iter().all(|stream| stream.head.status == 200));
    assert_eq!(told(&hub).len(), COUNT);
    let _next = hub.start_worker("sse", "rooms");
    let all = await_told(&hub, COUNT);
    assert_eq!(all.len(), COUNT, "each once");
    let connections: std::collections::HashSet<_> = all
        .iter()
        .map(|told| told["connection"].to_string())
        .collect();
    assert_eq!(connections.len(), COUNT);
    let response = push(&hub, &json!({"pattern": "/sse/{room}"}), "all", "d");
    let response: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(response, json!({"ok": true, "queued": COUNT, "lost": 0}));
    for stream in &mut streams {
        assert_eq!(stream.event().event_type, "all");
    }
}

fn silent_streams_get_comments_and_a_client_that_is_gone_is_noticed(io: &str) {
    let (hub, _worker) = start(io, &["--sse-sweep-interval-ms", "20"]);
    let mut stream = EventStream::open(hub.address, "/sse/a");
    stream.await_comment();
    stream.await_comment();
    // A half-closed client is still there.
    let half = EventStream::open(hub.address, "/sse/half");
    let shut = half
        .connection()
        .stream()
        .shutdown(std::net::Shutdown::Write);
    shut.unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let mut half = half;
    half.await_comment();
    assert_eq!(told(&hub).len(), 2);
    assert_eq!(
        push(&hub, &json!({"path": "/sse/half"}), "e", "").status,
        200
    );
    assert_eq!(half.event().event_type, "e");
    let start = Instant::now();
    drop(stream);
    let all = await_told(&hub, 3);
    println!("noticed after {:?}", start.elapsed());
    assert_eq!(all[2]["sse_lifecycle"], "disconnect");
    assert_eq!(all[2]["params"]["room"], "a");
}

fn streams_end_properly_when_the_hub_stops(io: &str) {
    let (mut hub, _worker) = start(io, &["--drain-timeout", "20"]);
    let mut stream = EventStream::open(hub.address, "/sse/a");
    let mut events = EventStream::open(hub.address, "/events");
    assert_eq!(stream.head.field("connection"), Some("close"));
    assert_eq!(
        push(&hub, &json!({"path": "/sse/a"}), "last", "").status,
        200
    );
    hub.part.signal(Signal::TERM);
    assert_eq!(stream.event().event_type, "last");
    assert_eq!(stream.next_event().unwrap(), None, "a proper end");
    assert_eq!(events.next_event().unwrap(), None);
    assert!(hub.part.wait().success());
}

fn a_client_whose_head_does_not_fit_its_workers_slots_gets_431(io: &str) {
    let small = ["--arena-bytes", "65536", "--slots", "2"];
    let (mut hub, _worker) = start(io, &small);
    let mut beside = EventStream::open(hub.address, "/sse/beside");
    // In JSON each of these takes two bytes, and there are path and parameter.
    let quotes = "\"".repeat(14_000);
    for _ in 0..3 {
        let mut greedy = Connection::open(hub.address);
        let field = format!("Last-Event-ID: {quotes}");
        greedy.send(format!(
            "GET /sse/{quotes} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"
        ));
        assert_eq!(greedy.read_response("GET").unwrap().status, 431);
    }
    // What is said of the document is a field more.
    let fields = "x: y\r\n".repeat(REQUEST_FIELD_COUNT_MAX - 2);
    let many = EventStream::open_with(hub.address, "/sse/many", &fields);
    assert_eq!(many.head.status, 431);
    let full = EventStream::open_with(hub.address, "/sse/full", &fields["x: y\r\n".len()..]);
    assert_eq!(full.head.status, 200);
    assert_eq!(await_told(&hub, 2).len(), 2);
    assert_eq!(
        push(&hub, &json!({"path": "/sse/beside"}), "e", "").status,
        200
    );
    assert_eq!(beside.event().event_type, "e");
    drop(beside);
    hub.part.signal(Signal::TERM);
    assert!(hub.part.wait().success(), "no connection is left behind");
    assert!(!hub.part.log().contains("panicked"));
}

fn clients_that_leave_before_their_worker_has_begun_are_let_go(io: &str) {
    let (hub, worker) = start(io, &["--slots", "2", "--ping", "0"]);
    // The lanes are open once it has answered, and what asked is closed a moment later.
    assert!(told(&hub).is_empty());
    let mut before = hub.part.open_fd_count();
    wait_until("everything is open, and nothing else", || {
        std::thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut before, hub.part.open_fd_count()) == before
    });
    worker.suspend();
    let asked: Vec<_> = (0..50)
        .map(|n| EventStream::begin(hub.address, &format!("/sse/r{n}"), ""))
        .collect();
    wait_until("they have come", || hub.part.open_fd_count() >= before + 50);
    drop(asked);
    // Those that have the slots wait for the worker.
    hub.part.await_fds(before + 2);
    worker.signal(Signal::CONT);
    hub.part.await_fds(before);
    let all = told(&hub);
    let count = |what: &str| {
        all.iter()
            .filter(|told| told["sse_lifecycle"] == what)
            .count()
    };
    assert!(count("connect") <= 2, "{all:?}");
    assert_eq!(count("connect"), count("disconnect"));
}

fn a_worker_that_is_asked_about_a_client_is_told_that_it_left_meanwhile(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach_sse(&hub, "rooms", "/sse/{room}");
    let asked = EventStream::begin(hub.address, "/sse/a", "");
    let connect = worker.take();
    assert!(worker.request_text(&connect).contains("\"connect\""));
    drop(asked);
    // Long enough for the hub to notice.
    std::thread::sleep(Duration::from_millis(200));
    let ok = ResponseHead {
        generation: connect.generation,
        status: 204,
        ..ResponseHead::default()
    };
    worker.respond(&connect, &ok);
    let told = worker.take();
    assert!(worker.request_text(&told).contains("\"disconnect\""));
}

fn events_go_on_while_a_new_worker_is_told_of_their_clients(io: &str) {
    let (hub, _worker) = start(io, &["--timeout", "20"]);
    let mut stream = EventStream::open(hub.address, "/sse/a");
    let mut leaver = EventStream::open(hub.address, "/sse/b");
    let silent = FakeWorker::attach_sse(&hub, "rooms", "/sse/{room}");
    // It has been told of both, and does not answer.
    let first = silent.take();
    let _second = silent.take();
    for event_type in ["one", "two"] {
        let pushed = push(&hub, &json!({"pattern": "/sse/{room}"}), event_type, "");
        assert_eq!(pushed.status, 200);
        assert_eq!(stream.event().event_type, event_type);
        assert_eq!(leaver.event().event_type, event_type);
    }
    let ok = ResponseHead {
        generation: first.generation,
        status: 200,
        ..ResponseHead::default()
    };
    silent.respond(&first, &ok);
    assert_eq!(
        push(&hub, &json!({"path": "/sse/a"}), "three", "").status,
        200
    );
    assert_eq!(stream.event().event_type, "three");
}

fn a_worker_is_told_that_its_client_left_though_another_route_has_the_path(io: &str) {
    let (hub, _worker) = start(io, &[]);
    let stream = EventStream::open(hub.address, "/sse/a");
    let _other = FakeWorker::attach(&hub, "other", "/sse/a");
    assert_eq!(push(&hub, &json!({"path": "/sse/a"}), "e", "").status, 200);
    drop(stream);
    assert_eq!(await_told(&hub, 2)[1]["sse_lifecycle"], "disconnect");
}

fn a_route_that_is_no_event_stream_any_more_ends_its_streams(io: &str) {
    let (hub, _worker) = start(io, &[]);
    let mut stream = EventStream::open(hub.address, "/sse/a");
    let _plain = FakeWorker::attach(&hub, "rooms", "/sse/{room}");
    assert_eq!(stream.next_event().unwrap(), None, "a proper end");
}

fn streams_end_though_their_worker_does_not_answer(io: &str) {
    let (mut hub, worker) = start(io, &["--drain-timeout", "20", "--ping", "0"]);
    let mut stream = EventStream::open(hub.address, "/sse/a");
    worker.suspend();
    hub.part.signal(Signal::TERM);
    assert_eq!(stream.next_event().unwrap(), None, "a proper end");
    worker.signal(Signal::CONT);
    assert!(hub.part.wait().success());
}

fn events_of_one_thread_stay_in_their_order(io: &str) {
    const COUNT: usize = 3000;
    let hub = HubPart::start(program(), &["--io", io, "--sse-buffer", "4000"]);
    let worker = HubWorker::new(&hub.url(), "emits", ());
    let emitter = worker.emitter();
    let worker = worker.get("/emits", || ()).start().unwrap();
    wait_until("it has attached", || hub.health().contains("emits"));
    let mut events = EventStream::open(hub.address, "/events");
    let emitting = std::thread::spawn(move || {
        for n in 0..COUNT {
            emitter.emit_blocking("n", &n.to_string()).unwrap();
        }
    });
    for n in 0..COUNT {
        let event = events.event();
        let document: Value = serde_json::from_str(&event.data).unwrap_or_default();
        assert_eq!(document["data"], n.to_string(), "{event:?}");
    }
    emitting.join().unwrap();
    worker.stop();
    worker.wait().unwrap();
}

fn a_1_0_client_gets_its_events_without_chunks(io: &str) {
    let (hub, _worker) = start(io, &[]);
    let mut old = Connection::open(hub.address);
    old.send("GET /events HTTP/1.0\r\n\r\n");
    let head = old.read_head().unwrap();
    assert_eq!((head.status, head.field("transfer-encoding")), (200, None));
    let event = json!({"source": "s", "event_type": "e", "data": "d"});
    assert_eq!(post(&hub, "/internal/emit", &event).status, 200);
    let mut bytes = [0; 200];
    let count = std::io::Read::read(&mut old.stream(), &mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..count]);
    assert!(text.starts_with("event: e\ndata: {"), "{text:?}");
}
