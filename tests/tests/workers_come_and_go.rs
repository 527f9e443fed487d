//! Instances that share a route, crash, are replaced and leave; queues, and
//! clients that leave. The ledger says whether every request got its one answer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::ledger::{Ask, Crowd, ID_FIELD, Ledger, Seen, WORKER_FIELD};
use slotway_tests::repeats;
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    the_instance_with_the_fewest_requests_gets_the_next
    workers_of_different_names_share_a_route
    a_request_that_a_killed_worker_had_not_begun_goes_to_another_instance
    a_request_that_crashes_its_worker_does_not_crash_them_all
    a_worker_and_its_hub_that_are_told_to_stop_at_once_both_end_well
    a_request_that_was_begun_runs_again_only_where_its_route_says_so
    a_request_that_a_stopped_worker_had_not_begun_is_answered_by_another_when_that_is_put_out
    one_hundred_restarts_under_load_lose_nothing_and_refuse_nothing
    a_worker_that_is_told_to_stop_finishes_what_it_has
    requests_wait_for_a_slot_in_their_order_and_no_longer_than_their_deadline
    a_full_queue_is_503_with_retry_after_at_once
    a_request_whose_client_left_the_queue_is_never_executed
    after_a_stall_at_twice_the_capacity_service_is_normal_again
    a_handler_is_told_within_milliseconds_that_its_client_left
    a_client_that_half_closed_is_not_taken_for_gone
    a_deadline_cancels_the_handler
    a_worker_that_stands_still_is_found_by_ping_and_put_out_though_nobody_asks_it
    a_hub_that_is_told_to_stop_answers_what_it_has_within_its_drain_timeout
    workers_come_back_to_a_hub_that_is_started_again
    a_hub_that_stops_under_load_loses_no_request_that_it_has_read
}

/// A hub, and a ledger on it.
struct Bench {
    hub: HubPart,
    ledger: Arc<Ledger>,
    _folder: Folder,
}

impl Bench {
    fn start(io: &str, flags: &[&str], deadline_seconds: u64) -> Self {
        let folder = Folder::new();
        let seconds = deadline_seconds.to_string();
        let own = ["--io", io, "--timeout", &seconds];
        let hub = HubPart::start(program(), &[&own, flags].concat());
        let log = folder.path().join("ledger.log");
        let deadline = Duration::from_secs(deadline_seconds);
        let ledger = Arc::new(Ledger::new(hub.address, &log, deadline));
        Self {
            hub,
            ledger,
            _folder: folder,
        }
    }

    fn instance(&self, name: &str) -> Part {
        self.worker(name, &["instance"])
    }

    fn worker(&self, name: &str, rest: &[&str]) -> Part {
        let log = self.ledger.log().to_str().expect("a path of ours");
        self.hub
            .start_worker_with("ledger", name, &[&[log], rest].concat())
    }

    /// A connection on which `path` has been asked for.
    fn ask(&self, path: &str, id: &str) -> Connection {
        let mut connection = Connection::open(self.hub.address);
        connection.send(format!(
            "GET /ledger/{path} HTTP/1.1\r\nHost: h\r\n{ID_FIELD}: {id}\r\n\r\n"
        ));
        connection
    }

    fn log_has(&self, what: &str, id: &str) -> bool {
        let log = std::fs::read_to_string(self.ledger.log()).unwrap_or_default();
        log.contains(&format!("{what} {id} "))
    }

    fn await_log(&self, what: &str, id: &str) {
        wait_until(&format!("{what} {id}"), || self.log_has(what, id));
    }
}

fn statuses(connections: &mut [Connection]) -> Vec<u16> {
    let response = |connection: &mut Connection| connection.read_response("GET").unwrap().status;
    connections.iter_mut().map(response).collect()
}

fn the_instance_with_the_fewest_requests_gets_the_next(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let _first = bench.instance("pair");
    let mut on_first: Vec<_> = (0..4).map(|n| bench.ask("300", &format!("a{n}"))).collect();
    for n in 0..4 {
        bench.await_log("take", &format!("a{n}"));
    }
    let second = bench.instance("pair");
    let of_second = format!("pair#{}", second.pid().as_raw_nonzero());
    for n in 0..4 {
        let mut connection = bench.ask("0", &format!("b{n}"));
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.field(WORKER_FIELD), Some(&of_second[..]));
    }
    assert_eq!(statuses(&mut on_first), [200; 4]);
    assert_eq!(bench.hub.health().matches("\"pair\"").count(), 2);
}

fn workers_of_different_names_share_a_route(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let mut first = bench.worker("one", &[]);
    let _second = bench.worker("two", &[]);
    let mut busy = bench.ask("200", "a");
    bench.await_log("take", "a");
    let mut other = bench.ask("0", "b");
    let one = busy.read_response("GET").unwrap();
    let two = other.read_response("GET").unwrap();
    assert_ne!(one.field(WORKER_FIELD), two.field(WORKER_FIELD));
    first.signal(Signal::KILL);
    first.wait();
    wait_until("one is gone", || !bench.hub.health().contains("\"one\""));
    assert_eq!(http::get(bench.hub.address, "/ledger/0").status, 200);
}

fn a_request_that_a_killed_worker_had_not_begun_goes_to_another_instance(io: &str) {
    let bench = Bench::start(io, &[], 20);
    let mut first = bench.instance("pair");
    // Its only receiving thread is kept by the first: the others cannot begin.
    let mut begun = bench.ask("block/60000", "begun");
    bench.await_log("take", "begun");
    let mut waiting: Vec<_> = (0..5).map(|n| bench.ask("0", &format!("w{n}"))).collect();
    let body = vec![b'x'; 50_000];
    let mut post = Connection::open(bench.hub.address);
    let head = "POST /ledger/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n";
    post.send([head.as_bytes(), &body].concat());
    // The hub has dispatched them once this one is answered, which needs no worker.
    assert_eq!(http::get(bench.hub.address, "/nothing").status, 404);
    std::thread::sleep(Duration::from_millis(50));
    let _second = bench.instance("pair");
    first.signal(Signal::KILL);
    assert_eq!(begun.read_response("GET").unwrap().status, 502);
    assert_eq!(statuses(&mut waiting), [200; 5]);
    let response = post.read_response("POST").unwrap();
    assert!((response.status, response.body) == (200, body));
    first.wait();
    for n in 0..5 {
        assert!(bench.log_has("done", &format!("w{n}")));
    }
}

fn a_request_that_a_stopped_worker_had_not_begun_is_answered_by_another_when_that_is_put_out(
    io: &str,
) {
    let bench = Bench::start(io, &[], 20);
    let mut first = bench.instance("pair");
    first.suspend();
    let mut waiting: Vec<_> = (0..5).map(|n| bench.ask("0", &format!("w{n}"))).collect();
    std::thread::sleep(Duration::from_millis(50));
    let _second = bench.instance("pair");
    // Its connection ends though it never ran again.
    first.signal(Signal::KILL);
    assert_eq!(statuses(&mut waiting), [200; 5]);
    first.wait();
}

fn one_hundred_restarts_under_load_lose_nothing_and_refuse_nothing(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let mut worker = bench.worker("again", &[]);
    let crowd = Crowd::start(&bench.ledger, 4);
    for _ in 0..repeats(100) {
        let next = bench.worker("again", &[]);
        // The older one ends by itself, once it has finished what it had.
        worker.wait();
        worker = next;
    }
    crowd.stop();
    let account = bench.ledger.close();
    println!("{account}");
    assert!(account.is_clean(), "{account}");
    assert_eq!((account.refused(), account.cut), (0, 0), "{account}");
    assert!(account.requests > 100, "{account}");
}

fn a_worker_that_is_told_to_stop_finishes_what_it_has(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let mut worker = bench.worker("leaver", &[]);
    let mut waiting: Vec<_> = (0..5).map(|n| bench.ask("300", &format!("w{n}"))).collect();
    for n in 0..5 {
        bench.await_log("take", &format!("w{n}"));
    }
    worker.signal(Signal::TERM);
    wait_until("its routes are gone", || {
        http::get(bench.hub.address, "/ledger/0").status == 503
    });
    assert_eq!(statuses(&mut waiting), [200; 5]);
    assert!(worker.wait().success());
    assert!(!bench.hub.part.log().contains("evicted"));
}

fn requests_wait_for_a_slot_in_their_order_and_no_longer_than_their_deadline(io: &str) {
    let bench = Bench::start(io, &["--slots", "1"], 1);
    let _worker = bench.worker("one", &[]);
    let mut first = bench.ask("300", "first");
    bench.await_log("take", "first");
    let mut waiting = Vec::new();
    for n in 0..4 {
        waiting.push(bench.ask("10", &format!("w{n}")));
        // So that they arrive in this order.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(first.read_response("GET").unwrap().status, 200);
    assert_eq!(statuses(&mut waiting), [200; 4]);
    let log = std::fs::read_to_string(bench.ledger.log()).unwrap();
    let place = |n| log.find(&format!("take w{n} ")).expect("it was taken");
    assert!((0..3).all(|n| place(n) < place(n + 1)), "{log}");
    // The slot is taken for longer than the next may wait.
    let _deaf = bench.ask("deaf/1500", "deaf");
    bench.await_log("take", "deaf");
    let mut late = bench.ask("0", "late");
    let response = late.read_response("GET").unwrap();
    assert_eq!(
        (response.status, response.field("retry-after")),
        (503, Some("1"))
    );
    std::thread::sleep(Duration::from_millis(700));
    assert!(!bench.log_has("take", "late"), "its deadline had passed");
}

fn a_full_queue_is_503_with_retry_after_at_once(io: &str) {
    let bench = Bench::start(io, &["--slots", "1", "--queue", "2"], 10);
    let _worker = bench.worker("one", &[]);
    let mut all = vec![bench.ask("300", "first")];
    bench.await_log("take", "first");
    all.push(bench.ask("0", "w0"));
    all.push(bench.ask("0", "w1"));
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let mut refused = bench.ask("0", "w2");
    let response = refused.read_response("GET").unwrap();
    assert!(response.text().contains("queue is full"), "{response:?}");
    assert_eq!(
        (response.status, response.field("retry-after")),
        (503, Some("1"))
    );
    assert!(start.elapsed() < Duration::from_millis(200), "at once");
    assert_eq!(statuses(&mut all), [200; 3]);
    assert!(!bench.log_has("take", "w2"));
}

fn a_request_whose_client_left_the_queue_is_never_executed(io: &str) {
    let bench = Bench::start(io, &["--slots", "1"], 10);
    let _worker = bench.worker("one", &[]);
    let mut first = bench.ask("300", "first");
    bench.await_log("take", "first");
    let stays = bench.ask("0", "stays");
    std::thread::sleep(Duration::from_millis(20));
    drop(bench.ask("0", "leaves"));
    let mut last = bench.ask("0", "last");
    assert_eq!(first.read_response("GET").unwrap().status, 200);
    assert_eq!(last.read_response("GET").unwrap().status, 200);
    assert_eq!(statuses(&mut [stays]), [200]);
    assert!(!bench.log_has("take", "leaves"), "nobody waits for it");
}

fn after_a_stall_at_twice_the_capacity_service_is_normal_again(io: &str) {
    let bench = Bench::start(io, &["--slots", "4", "--queue", "16"], 30);
    let worker = bench.worker("stalls", &[]);
    let mut random = Rng::with_seed(1);
    worker.suspend();
    // Twice what slots and queue hold, a few of which give up.
    let mut crowd: Vec<_> = (0..40).map(|n| bench.ask("1", &format!("c{n}"))).collect();
    // Half a second, or ten in a soak, with more and more clients.
    for half_second in 0..repeats(1).min(20) {
        std::thread::sleep(Duration::from_millis(500));
        let more = (0..4).map(|n| bench.ask("1", &format!("h{half_second}-{n}")));
        crowd.extend(more);
    }
    crowd.drain(..5);
    worker.signal(Signal::CONT);
    let seen = statuses(&mut crowd);
    assert!(
        seen.iter().all(|status| matches!(status, 200 | 503)),
        "{seen:?}"
    );
    assert!(
        seen.iter().filter(|status| **status == 200).count() >= 15,
        "{seen:?}"
    );
    let start = Instant::now();
    let seen = bench.ledger.ask(&Ask::get(0), &mut random);
    assert!(matches!(seen, Seen::Answered(200, _)), "{seen:?}");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "normal within a second"
    );
}

fn a_handler_is_told_within_milliseconds_that_its_client_left(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let _worker = bench.worker("one", &[]);
    for n in 0..repeats(5) {
        let id = format!("left{n}");
        let connection = bench.ask("9000", &id);
        bench.await_log("take", &id);
        let start = Instant::now();
        drop(connection);
        bench.await_log("cancelled", &id);
        println!("told after {:?}", start.elapsed());
    }
    // Their slots are free again: nothing is left of them in the hub.
    let mut all: Vec<_> = (0..8).map(|n| bench.ask("1", &format!("n{n}"))).collect();
    assert_eq!(statuses(&mut all), [200; 8]);
}

fn a_client_that_half_closed_is_not_taken_for_gone(io: &str) {
    let bench = Bench::start(io, &["--slots", "1"], 10);
    let _worker = bench.worker("one", &[]);
    let mut all = Vec::new();
    for n in 0..3 {
        let connection = bench.ask("150", &format!("h{n}"));
        let half = std::net::Shutdown::Write;
        connection.stream().shutdown(half).expect("it is open");
        all.push(connection);
    }
    for connection in &mut all {
        let response = connection.read_final_response("GET").unwrap();
        assert_eq!(response.status, 200);
    }
}

fn a_deadline_cancels_the_handler(io: &str) {
    let bench = Bench::start(io, &[], 1);
    let _worker = bench.worker("one", &[]);
    let mut connection = bench.ask("9000", "late");
    assert_eq!(connection.read_response("GET").unwrap().status, 504);
    bench.await_log("cancelled", "late");
}

fn a_worker_that_stands_still_is_found_by_ping_and_put_out_though_nobody_asks_it(io: &str) {
    let bench = Bench::start(io, &["--ping", "1"], 1);
    let mut worker = bench.worker("still", &[]);
    // Pings that are answered change nothing.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(bench.hub.health().contains("\"still\""));
    worker.suspend();
    wait_until("it is put out", || {
        !bench.hub.health().contains("\"still\"")
    });
    bench.hub.part.wait_for_log("does not answer pings");
    assert_eq!(http::get(bench.hub.address, "/ledger/0").status, 503);
    // Once it runs again it learns of it, and comes back.
    worker.signal(Signal::CONT);
    wait_until("it is back", || bench.hub.health().contains("\"still\""));
    assert_eq!(http::get(bench.hub.address, "/ledger/0").status, 200);
    worker.signal(Signal::TERM);
    assert!(worker.wait().success());
}

fn a_hub_that_is_told_to_stop_answers_what_it_has_within_its_drain_timeout(io: &str) {
    let mut bench = Bench::start(io, &["--drain-timeout", "1"], 10);
    let _worker = bench.worker("one", &[]);
    let mut soon = bench.ask("500", "soon");
    let mut never = bench.ask("deaf/9000", "never");
    let mut idle = Connection::open(bench.hub.address);
    bench.await_log("take", "soon");
    bench.await_log("take", "never");
    let start = Instant::now();
    bench.hub.part.signal(Signal::TERM);
    // One that is idle may still bring a request, which is its last once the hub has
    // noticed the signal.
    loop {
        idle.send("GET /ledger/0 HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = idle.read_response("GET").unwrap();
        assert_eq!(response.status, 200);
        if response.field("connection") == Some("close") {
            break;
        }
    }
    let response = soon.read_response("GET").unwrap();
    assert_eq!(
        (response.status, response.field("connection")),
        (200, Some("close"))
    );
    assert!(
        never.read_response("GET").is_err(),
        "the drain limit has passed"
    );
    assert!(bench.hub.part.wait().success());
    let took = start.elapsed();
    let limit = Duration::from_secs(1)..Duration::from_secs(5);
    assert!(limit.contains(&took), "{took:?}");
    assert!(
        Connection::try_open(bench.hub.address).is_err(),
        "nobody listens"
    );
}

fn workers_come_back_to_a_hub_that_is_started_again(io: &str) {
    let bench = Bench::start(io, &[], 10);
    // It knows the hub by its URL: the new one's attach socket is elsewhere.
    let log = bench.ledger.log().to_str().expect("a path of ours");
    let url = bench.hub.url();
    let _worker = bench
        .hub
        .start_worker_over_http(&url, "ledger", "back", &[log]);
    let address = bench.hub.address;
    let mut hub = bench.hub;
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    let port = address.port().to_string();
    let again = HubPart::start_listening(program(), &["--io", io, "--port", &port]);
    let start = Instant::now();
    wait_until("the worker is back", || {
        http::get(again.address, "/ledger/0").status == 200
    });
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

fn a_request_that_was_begun_runs_again_only_where_its_route_says_so(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let mut first = bench.instance("pair");
    let mut once = bench.ask("500", "once");
    let mut again = bench.ask("again/500", "again");
    bench.await_log("take", "once");
    bench.await_log("take", "again");
    let second = bench.instance("pair");
    first.signal(Signal::KILL);
    first.wait();
    assert_eq!(once.read_response("GET").unwrap().status, 502);
    let response = again.read_response("GET").unwrap();
    let of_second = format!("pair#{}", second.pid().as_raw_nonzero());
    assert_eq!(response.status, 200);
    assert_eq!(response.field(WORKER_FIELD), Some(&of_second[..]));
}

fn a_hub_that_stops_under_load_loses_no_request_that_it_has_read(io: &str) {
    for _ in 0..repeats(5) {
        let mut bench = Bench::start(io, &[], 10);
        let _worker = bench.worker("one", &[]);
        let crowd = Crowd::start(&bench.ledger, 4);
        std::thread::sleep(Duration::from_millis(100));
        bench.hub.part.signal(Signal::TERM);
        assert!(bench.hub.part.wait().success());
        crowd.stop();
        let mut account = bench.ledger.close();
        println!("{account}");
        // Who comes later finds nobody, and knows it.
        assert!(account.unheard > 0);
        account.unheard = 0;
        assert!(account.is_clean(), "{account}");
        assert_eq!(account.refused(), 0, "{account}");
    }
}

fn a_request_that_crashes_its_worker_does_not_crash_them_all(io: &str) {
    let bench = Bench::start(io, &[], 10);
    let _workers = [0; 4].map(|_| bench.instance("many"));
    let mut poison = bench.ask("poison", "poison");
    assert_eq!(poison.read_response("GET").unwrap().status, 502);
    wait_until("two are left", || {
        bench.hub.health().matches("\"many\"").count() == 2
    });
    assert_eq!(http::get(bench.hub.address, "/ledger/0").status, 200);
}

fn a_worker_and_its_hub_that_are_told_to_stop_at_once_both_end_well(io: &str) {
    for _ in 0..repeats(4) {
        let mut bench = Bench::start(io, &[], 10);
        let mut worker = bench.worker("one", &[]);
        worker.signal(Signal::TERM);
        bench.hub.part.signal(Signal::TERM);
        assert!(bench.hub.part.wait().success());
        assert!(worker.wait().success(), "{}", worker.log());
        assert!(!worker.log().contains("panicked"), "{}", worker.log());
    }
}
