//! What hub and workers say when something is wrong: one clear line, where people look.

use std::path::Path;

use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::{HubPart, Part, free_port, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_worker_without_a_log_says_on_stderr_that_it_has_attached_lost_its_hub_and_is_back
    the_hub_says_which_route_of_which_worker_timed_out_or_failed
    the_hub_says_that_a_queue_is_full
}

fn a_worker_without_a_log_says_on_stderr_that_it_has_attached_lost_its_hub_and_is_back(io: &str) {
    let port = free_port().to_string();
    let mut hub = HubPart::start_listening(program(), &["--io", io, "--port", &port]);
    // It finds the hub by its URL alone, and so the next one on the same port.
    let worker = hub.start_worker_over_http(&hub.url(), "quiet", "first", &[]);
    worker.wait_for_log("slotway worker \"first\": attached to the hub at http://127.0.0.1:");
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    worker.wait_for_log("trying again");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let again = HubPart::start_listening(program(), &["--io", io, "--port", &port]);
    wait_until("it is back", || again.health().contains("\"first\""));
    wait_until("it says so", || {
        worker.log().matches("attached to the hub").count() == 2
    });
    // However often it has tried, each trouble is said once.
    assert!(worker.log().lines().count() <= 6, "{}", worker.log());
}

#[test]
fn a_worker_whose_hub_is_not_there_says_where_it_looks_and_goes_on() {
    // Nobody listens at discard.
    let variables = [("HUB_SOCKET", "")];
    let arguments = ["http://127.0.0.1:9", "lonely"];
    let worker = Part::start_in(program(), "quiet", &arguments, &variables);
    worker.wait_for_log("slotway worker \"lonely\": cannot register at http://127.0.0.1:9/");
    let log = worker.log();
    assert!(log.contains("is slotway-hub running there?"), "{log}");
}

#[test]
fn an_error_that_main_returns_reads_as_a_sentence() {
    let variables = [("HUB_SOCKET", "")];
    let mut worker = Part::start_in(program(), "quiet", &["nonsense", "w"], &variables);
    assert!(!worker.wait().success());
    worker.wait_for_log("Error: \"nonsense\" is not a hub URL");
}

fn the_hub_says_which_route_of_which_worker_timed_out_or_failed(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "250ms"]);
    let _echo = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/sleep/2000").status, 504);
    hub.part
        .wait_for_log("504: no response to GET /api/sleep/{ms} in time");
    assert!(
        hub.part.log().contains("worker=\"echo\""),
        "{}",
        hub.part.log()
    );
    // Of its own: where a panic prints a backtrace, that alone may take so long.
    let (hub, _odd) = HubPart::start_with_worker(program(), io, "odd", &[]);
    assert_eq!(http::get(hub.address, "/odd/panic").status, 500);
    hub.part
        .wait_for_log("500: the handler of GET /odd/panic failed");
}

fn the_hub_says_that_a_queue_is_full(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--slots", "1", "--queue", "0"]);
    let _echo = hub.start_worker("echo", "echo");
    let mut busy = Connection::open(hub.address);
    busy.send("GET /api/sleep/500 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("it is refused", || {
        http::get(hub.address, "/api/sleep/1").status == 503
    });
    hub.part
        .wait_for_log("503: every slot of the workers of GET /api/sleep/{ms} is in use");
    assert_eq!(busy.read_response("GET").unwrap().status, 200);
}
