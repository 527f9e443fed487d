//! Workers that lie: what they write is a claim, what they hold is theirs to
//! spoil, and neither the hub nor its other workers may suffer.

use std::io::ErrorKind;
use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::fs::OFlags;
use slotway_shm_proto::layout::{ResponseHead, ResponseWords};
use slotway_shm_proto::ring::CompletionKind;
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http::{self, Connection};
use slotway_tests::scribbler::{is_over, scribble};
use slotway_tests::system::{HubPart, PATIENCE, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// A hub with an honest worker, and a hostile one at `/liar`.
fn hub_with_liar(io: &str) -> (HubPart, Part, FakeWorker) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "2"]);
    let honest = hub.start_worker("echo", "echo");
    let liar = FakeWorker::attach(&hub, "liar", "/liar");
    (hub, honest, liar)
}

fn ask(hub: &HubPart) -> Connection {
    let mut connection = Connection::open(hub.address);
    connection.send("GET /liar HTTP/1.1\r\nHost: h\r\n\r\n");
    connection
}

fn assert_well(hub: &HubPart) {
    assert_eq!(http::get(hub.address, "/api/items/1").text(), "item 1");
    assert!(hub.health().contains("\"echo\""));
}

/// Ends threads that look at the flag, whatever way the test goes.
struct StopOnDrop<'f>(&'f AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

slotway_tests::on_each_engine! {
    an_answer_made_by_hand_arrives_so_what_follows_is_about_the_lies
    a_head_that_points_outside_its_arena_is_502_and_the_liar_is_put_out
    fields_that_would_split_the_answer_are_502_and_nothing_of_them_is_sent
    answering_what_was_not_asked_or_twice_puts_the_liar_out
    a_full_an_emptied_and_a_non_blocking_eventfd_stop_nobody
    heads_alone_hold_no_slot
    a_client_that_does_not_read_holds_its_slot_no_longer_than_it_may_take_to_read
    one_busy_reactor_does_not_keep_the_worker_from_the_others
    a_scribbler_is_put_out_and_neighbours_answers_stay_their_own
    ringing_without_end_keeps_nobody_waiting
    an_answer_to_an_older_use_of_a_slot_reaches_nobody
    answers_under_way_are_cut_off_when_their_worker_lies_and_none_is_malformed
}

fn an_answer_made_by_hand_arrives_so_what_follows_is_about_the_lies(io: &str) {
    let (hub, _honest, liar) = hub_with_liar(io);
    let mut client = ask(&hub);
    let request = liar.take();
    liar.write_arena(request.slot_index, 0, b"x-by: hand\r\n");
    liar.write_arena(request.slot_index, 16, b"truth");
    let head = ResponseHead {
        generation: request.generation,
        status: 200,
        fields_bytes: 12,
        body_offset: 16,
        body_bytes: 5,
        ..ResponseHead::default()
    };
    liar.respond(&request, &head);
    let response = client.read_response("GET").unwrap();
    assert_eq!(
        (response.text().as_str(), response.field("x-by")),
        ("truth", Some("hand"))
    );
}

fn a_head_that_points_outside_its_arena_is_502_and_the_liar_is_put_out(io: &str) {
    let beyond = u32::MAX - 7;
    for lie in [
        ResponseHead {
            body_offset: beyond,
            ..ResponseHead::default()
        },
        ResponseHead {
            fields_bytes: beyond,
            ..ResponseHead::default()
        },
        ResponseHead {
            body_bytes: u64::MAX / 2,
            ..ResponseHead::default()
        },
        ResponseHead {
            generation: 77,
            ..ResponseHead::default()
        },
    ] {
        let (hub, _honest, liar) = hub_with_liar(io);
        let mut client = ask(&hub);
        let request = liar.take();
        let generation = if lie.generation == 0 {
            request.generation
        } else {
            lie.generation
        };
        liar.write_head(
            request.slot_index,
            &ResponseHead {
                generation,
                status: 200,
                ..lie
            },
        );
        liar.complete(
            CompletionKind::Response,
            request.slot_index,
            request.generation,
        );
        assert_eq!(client.read_response("GET").unwrap().status, 502);
        hub.part
            .wait_for_log("of a response head lies outside its arena");
        assert_well(&hub);
        assert_eq!(http::get(hub.address, "/liar").status, 503);
    }
}

fn fields_that_would_split_the_answer_are_502_and_nothing_of_them_is_sent(io: &str) {
    let (hub, _honest, liar) = hub_with_liar(io);
    for (status, fields) in [
        (200, "x: a\r\n\r\nHTTP/1.1 200 OK\r\n"),
        (200, "x: a\nInjected: 1\r\n"),
        (200, "Content-Length: 3\r\n"),
        (200, "Transfer-Encoding: chunked\r\n"),
        (200, "no colon"),
        (101, ""),
        (999, ""),
    ] {
        let mut client = ask(&hub);
        let request = liar.take();
        liar.write_arena(request.slot_index, 0, fields.as_bytes());
        let fields_bytes = fields.len() as u32;
        let head = ResponseHead {
            generation: request.generation,
            status,
            fields_bytes,
            body_offset: fields_bytes,
            ..ResponseHead::default()
        };
        liar.respond(&request, &head);
        let response = client.read_response("GET").unwrap();
        assert_eq!(response.status, 502, "{fields:?}");
        assert!(!response.fields.contains("njected"));
        // The connection is still in step.
        client.send("GET /api/items/2 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.read_response("GET").unwrap().text(), "item 2");
    }
}

fn answering_what_was_not_asked_or_twice_puts_the_liar_out(io: &str) {
    for lie in 0..4 {
        let (hub, _honest, liar) = hub_with_liar(io);
        let mut client = ask(&hub);
        let request = liar.take();
        match lie {
            0 => liar.complete(CompletionKind::Response, 9999, 1),
            1 => liar.complete(
                CompletionKind::Response,
                request.slot_index,
                request.generation + 1,
            ),
            2 => liar.complete(CompletionKind::Response, request.slot_index + 1, 1),
            _ => {
                let head = ResponseHead {
                    generation: request.generation,
                    status: 200,
                    ..ResponseHead::default()
                };
                liar.write_head(request.slot_index, &head);
                for _ in 0..2 {
                    let (slot, generation) = (request.slot_index, request.generation);
                    liar.complete(CompletionKind::Response, slot, generation);
                }
            }
        }
        hub.part.wait_for_log("evicted");
        let status = client.read_response("GET").unwrap().status;
        // It was not begun, and no other worker came.
        assert!(
            status == 503 || (lie == 3 && status == 200),
            "lie {lie}: {status}"
        );
        assert_well(&hub);
    }
}

fn a_full_an_emptied_and_a_non_blocking_eventfd_stop_nobody(io: &str) {
    for _ in 0..3 {
        let (mut hub, _honest, liar) = hub_with_liar(io);
        let flags = rustix::fs::fcntl_getfl(&liar.eventfd).unwrap();
        rustix::fs::fcntl_setfl(&liar.eventfd, flags | OFlags::NONBLOCK).unwrap();
        for _ in 0..100 {
            let _ = rustix::io::write(&liar.eventfd, &(u64::MAX - 1).to_ne_bytes());
            let _ = rustix::io::read(&liar.eventfd, &mut [0; 8]);
        }
        rustix::fs::fcntl_setfl(&liar.eventfd, flags).unwrap();
        // Full to the brim: whoever writes to it now blocks for ever.
        rustix::io::write(&liar.eventfd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let mut client = ask(&hub);
        liar.take();
        drop(liar.socket);
        // It was not begun, and no other worker came.
        assert_eq!(client.read_response("GET").unwrap().status, 503);
        assert_well(&hub);
        hub.part.signal(rustix::process::Signal::TERM);
        assert!(hub.part.wait().success());
    }
}

fn heads_alone_hold_no_slot(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "2"]);
    let _worker = hub.start_worker("echo", "echo");
    let idle: Vec<_> = (0..10)
        .map(|_| {
            let mut connection = Connection::open(hub.address);
            connection.send("POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n");
            connection.send(vec![b'x'; 10_000]);
            connection
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    }
    drop(idle);
}

fn a_client_that_does_not_read_holds_its_slot_no_longer_than_it_may_take_to_read(io: &str) {
    let hub = HubPart::start(
        program(),
        &["--io", io, "--slots", "1", "--write-timeout", "1"],
    );
    let _worker = hub.start_worker("echo", "echo");
    let mut deaf = Connection::open(hub.address);
    deaf.send("GET /api/bytes/90000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    let start = std::time::Instant::now();
    loop {
        let status = http::get(hub.address, "/api/items/1").status;
        if status == 200 && start.elapsed() > std::time::Duration::from_millis(500) {
            break;
        }
        assert!(status == 503 || status == 200, "{status}");
        assert!(start.elapsed() < slotway_tests::system::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(deaf);
}

fn one_busy_reactor_does_not_keep_the_worker_from_the_others(io: &str) {
    let hub = HubPart::start(
        program(),
        &["--io", io, "--reactors", "2", "--timeout", "5"],
    );
    let _worker = hub.start_worker("odd", "odd");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let mut connection = Connection::open(hub.address);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    connection.send("GET /odd/block/1 HTTP/1.1\r\nHost: h\r\n\r\n");
                    assert_eq!(connection.read_response("GET").unwrap().status, 200);
                }
            });
        }
        // Connections spread over the reactors by chance: some of these are
        // on the one with fewer of the busy ones.
        for _ in 0..20 {
            assert_eq!(http::get(hub.address, "/odd/status/200").status, 200);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn a_scribbler_is_put_out_and_neighbours_answers_stay_their_own(io: &str) {
    let flags = ["--timeout", "1", "--slots", "8", "--ping", "1"];
    let hub = HubPart::start(program(), &[&["--io", io], &flags[..]].concat());
    let _honest = hub.start_worker("echo", "echo");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut connection = Connection::open(hub.address);
            let mut count = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let path = format!("/api/items/{count}");
                connection.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
                let response = connection.read_response("GET").unwrap();
                assert_eq!(response.text(), format!("item {count}"));
                count += 1;
            }
            count
        });
        // Also when an assertion fails: the scope waits for the neighbour.
        let stopping = StopOnDrop(&stop);
        let mut random = Rng::with_seed(seed);
        for _ in 0..10 {
            let liar = FakeWorker::attach(&hub, "liar", "/liar");
            let mut clients: Vec<_> = (0..4).map(|_| ask(&hub)).collect();
            scribble(&liar, &mut random, 20_000);
            // For what it wrote, or because it answers nothing that makes sense.
            let start = Instant::now();
            while !is_over(&liar) {
                assert!(start.elapsed() < PATIENCE, "the liar stays");
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(liar);
            for client in &mut clients {
                // Whatever the liar wrote, what comes is an answer, or a reset where
                // its head was out.
                match client.read_response("GET") {
                    Ok(response) => assert!((200..=599).contains(&response.status)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                }
            }
        }
        drop(stopping);
        assert!(neighbour.join().unwrap() > 20, "the neighbour was served");
    });
    // The log is read by a thread of its own.
    let start = Instant::now();
    while hub.part.log().matches("evicted").count() < 10 {
        assert!(start.elapsed() < PATIENCE, "{}", hub.part.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_well(&hub);
}

fn ringing_without_end_keeps_nobody_waiting(io: &str) {
    let (hub, _honest, liar) = hub_with_liar(io);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = slotway_shm_proto::doorbell::ring_eventfd(&liar.eventfd);
            }
        });
        let _stopping = StopOnDrop(&stop);
        for n in 0..200 {
            let response = http::get(hub.address, &format!("/api/items/{n}"));
            assert_eq!(response.text(), format!("item {n}"));
        }
    });
    assert_well(&hub);
}

fn an_answer_to_an_older_use_of_a_slot_reaches_nobody(io: &str) {
    // Without a queue: a worker that is not done within another timeout is put out.
    let flags = [
        "--timeout",
        "2",
        "--slots",
        "1",
        "--queue",
        "0",
        "--ping",
        "0",
    ];
    let hub = HubPart::start(program(), &[&["--io", io], &flags[..]].concat());
    let _honest = hub.start_worker("echo", "echo");
    let liar = FakeWorker::attach(&hub, "liar", "/liar");
    let mut first = ask(&hub);
    let old = liar.take();
    assert_eq!(first.read_response("GET").unwrap().status, 504);
    // The slot waits for the late answer: until it has come, nobody else gets it.
    let mut second = ask(&hub);
    assert_eq!(second.read_response("GET").unwrap().status, 503);
    liar.take();
    let late = |generation| ResponseHead {
        generation,
        status: 200,
        ..ResponseHead::default()
    };
    liar.respond(&old, &late(old.generation));
    wait_until("the slot is free", || {
        !http::get(hub.address, "/internal/slots")
            .text()
            .contains("quarantined")
    });
    let mut third = ask(&hub);
    let new = liar.take();
    assert_eq!(new.slot_index, old.slot_index);
    assert_ne!(new.generation, old.generation);
    // Once more for the older use: that is a lie.
    liar.respond(&old, &late(old.generation));
    assert_eq!(third.read_response("GET").unwrap().status, 503);
    hub.part.wait_for_log("evicted");
    assert_well(&hub);
}

fn answers_under_way_are_cut_off_when_their_worker_lies_and_none_is_malformed(io: &str) {
    let (hub, _honest, liar) = hub_with_liar(io);
    let mut client = ask(&hub);
    let request = liar.take();
    let head = ResponseHead {
        generation: request.generation,
        status: 200,
        body_ring_bytes: 8192,
        body_bytes: 100_000,
        ..ResponseHead::default()
    };
    liar.write_head(request.slot_index, &head);
    let (slot, generation) = (request.slot_index, request.generation);
    liar.complete(CompletionKind::ResponseStream, slot, generation);
    // A cursor that no ring of this size has.
    let offsets = liar.geometry.slot(&liar.geometry.lane(0), slot);
    let word = offsets.response_words + offset_of!(ResponseWords, body_produced) as u64;
    let cursor = (u64::from(generation) << 32) + 99_999;
    liar.regions.responses.write(word, &cursor.to_ne_bytes());
    liar.complete(CompletionKind::Notice, slot, generation);
    let error = client.read_response("GET").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    hub.part.wait_for_log("evicted");
    assert_well(&hub);
}
