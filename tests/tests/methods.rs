//! Methods that have no name here: QUERY, PURGE, and whatever clients think of.

use std::path::Path;

use slotway_tests::http;
use slotway_tests::system::HubPart;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_route_for_other_methods_takes_all_that_have_no_name_and_is_told_which
    a_service_gets_any_method
}

fn a_route_for_other_methods_takes_all_that_have_no_name_and_is_told_which(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("upgrades", "upgrades");
    let long = "M".repeat(32);
    for (method, status) in [
        ("QUERY", 200),
        ("PURGE", 200),
        (&long, 200),
        ("get", 200),
        ("GET", 200),
        ("POST", 405),
        ("TRACE", 501),
        (&format!("{long}M"), 501),
    ] {
        let response = http::request(hub.address, method, "/methods/x", b"");
        assert_eq!(response.status, status, "{method}");
        if status == 200 {
            assert_eq!(response.text(), method);
        }
    }
    // A route of another method takes none that have no name.
    assert_eq!(
        http::request(hub.address, "QUERY", "/shout", b"").status,
        501
    );
    assert_eq!(
        http::request(hub.address, "QUERY", "/nowhere", b"").status,
        501
    );
}

fn a_service_gets_any_method(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("axum-service", "app");
    for method in ["QUERY", "PROPFIND", "brew"] {
        let response = http::request(hub.address, method, "/any", b"a body");
        assert_eq!((response.status, response.text().as_str()), (200, method));
    }
}
