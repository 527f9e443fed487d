//! Routes of several workers beside each other, in whatever order they come and go.

use std::path::Path;

use rustix::process::Signal;
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http;
use slotway_tests::system::{HubPart, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    the_order_in_which_workers_come_and_go_refuses_nobody_and_ends_nothing
    a_catch_all_stands_beside_parameters_and_the_more_specific_route_wins
}

fn the_order_in_which_workers_come_and_go_refuses_nobody_and_ends_nothing(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let patterns = ["/files/{name}", "/files/report-{id}", "/files/{name}/meta"];
    // Every order of coming, and each as the first to go.
    for first in 0..3 {
        for swap in [false, true] {
            let mut order = [first, (first + 1) % 3, (first + 2) % 3];
            if swap {
                order.swap(1, 2);
            }
            let mut workers: Vec<_> = order
                .into_iter()
                .map(|index| FakeWorker::attach(&hub, &format!("w{index}"), patterns[index]))
                .collect();
            while !workers.is_empty() {
                drop(workers.remove(0));
                let left = workers.len();
                wait_until("the hub knows who is left", || {
                    hub.health().matches("worker_id").count() == left
                });
            }
        }
    }
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    hub.part.signal(Signal::TERM);
    hub.part.wait_for_log("stopped");
    assert!(!hub.part.log().contains("panicked"), "{}", hub.part.log());
}

fn a_catch_all_stands_beside_parameters_and_the_more_specific_route_wins(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _service = hub.start_worker("axum-service", "app");
    let _echo = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/7").text(), "item 7");
    assert_eq!(
        http::get(hub.address, "/api/items").text(),
        "nothing to see here"
    );
    assert_eq!(http::get(hub.address, "/").text(), "Hello, World!");
}
