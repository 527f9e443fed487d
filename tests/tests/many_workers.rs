//! Many workers and routes: who comes together is queued and not refused, and what one
//! registers is found among all others.

use std::path::Path;

use rustix::process::Signal;
use slotway_tests::http;
use slotway_tests::system::{HubPart, Part, free_port, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    workers_that_come_together_all_attach_and_again_after_a_kill
    ten_thousand_routes_of_one_worker_are_found
    a_registration_that_is_too_large_is_refused_in_words
}

fn attached_count(hub: &HubPart) -> usize {
    hub.health().matches("\"worker_id\"").count()
}

fn assert_nobody_was_refused(hub: &Part) {
    let log = hub.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

fn workers_that_come_together_all_attach_and_again_after_a_kill(io: &str) {
    let port = free_port().to_string();
    let flags = ["--io", io, "--listen", &format!("127.0.0.1:{port}")];
    let mut hub = HubPart::start_listening(program(), &flags);
    // More at a time than are heard at a time.
    let crowds = ["a", "b"].map(|name| hub.begin_worker("crowd", name, &["150", "4"]));
    wait_until("all have attached", || attached_count(&hub) == 300);
    let found = http::get(hub.address, "/b-149/3");
    assert_eq!((found.status, found.text().as_str()), (200, "crowd"));
    assert_nobody_was_refused(&hub.part);
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    let again = [&["--socket", hub.socket.to_str().unwrap()], &flags[..]].concat();
    let mut again = Part::start(program(), "hub", &again);
    assert!(again.first_line().contains("http://"), "{}", again.log());
    wait_until("all have come back", || attached_count(&hub) == 300);
    assert_nobody_was_refused(&again);
    drop(crowds);
    wait_until("they have gone", || attached_count(&hub) == 0);
    // Each has its place in the table of absent routes.
    assert_eq!(http::get(hub.address, "/a-0/0").status, 503);
    assert_eq!(http::get(hub.address, "/a-0/4").status, 404);
}

fn ten_thousand_routes_of_one_worker_are_found(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--worker-grace", "0"]);
    let _echo = hub.start_worker("echo", "echo");
    let large = hub.start_worker_with("crowd", "large", &["1", "10000"]);
    for path in ["/large-0/0", "/large-0/9999", "/api/items/1"] {
        assert_eq!(http::get(hub.address, path).status, 200, "{path}");
    }
    assert_eq!(http::get(hub.address, "/large-0/10000").status, 404);
    drop(large);
    wait_until("it has gone", || attached_count(&hub) == 1);
    assert_eq!(http::get(hub.address, "/large-0/9999").status, 503);
}

fn a_registration_that_is_too_large_is_refused_in_words(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let name = "l".repeat(100);
    let refused = hub.begin_worker("crowd", &name, &["1", "30000"]);
    refused.wait_for_log("413");
    refused.wait_for_log("/shop/{*rest}");
}
