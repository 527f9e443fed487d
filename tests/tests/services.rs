//! Several services on one hub: by path, by host, and side by side with the hub's own paths.

use std::path::Path;

use slotway_tests::http::{self, Connection, Response};
use slotway_tests::system::{HubPart, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_route_of_another_service_is_refused_and_the_other_is_named
    services_share_a_hub_by_path
    services_share_a_hub_by_host
    the_hub_s_own_paths_can_be_moved_out_of_a_service_s_way
    replicas_that_take_turns_end_well_and_the_hub_names_instances
}

fn get(hub: &HubPart, host: &str, path: &str) -> Response {
    let mut connection = Connection::open(hub.address);
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    connection.read_response("GET").expect("a response")
}

fn a_route_of_another_service_is_refused_and_the_other_is_named(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _shop = hub.start_worker_with("site", "shop", &["/"]);
    let mut blog = hub.begin_worker("site", "blog", &["/"]);
    assert!(!blog.wait().success());
    blog.wait_for_log("409");
    let log = blog.log();
    assert!(
        log.contains("is served by the worker \\\"shop\\\""),
        "{log}"
    );
    hub.part.wait_for_log("registration refused with 409");
    // The first is not harmed.
    for _ in 0..20 {
        assert_eq!(http::get(hub.address, "/x").text(), "shop /x");
    }
}

fn services_share_a_hub_by_path(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _site = hub.start_worker_with("site", "site", &["/"]);
    let _shop = hub.start_worker_with("site", "shop", &["/shop"]);
    for (path, text) in [
        ("/", "site /"),
        ("/x?y", "site /x?y"),
        ("/shop", "shop /"),
        ("/shop/", "shop /"),
        ("/shop/cart?a=b", "shop /cart?a=b"),
        ("/shop//a%2Fb", "shop //a%2Fb"),
        ("/shopping", "site /shopping"),
    ] {
        assert_eq!(http::get(hub.address, path).text(), text, "{path}");
    }
}

fn services_share_a_hub_by_host(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _shop = hub.start_worker_with("site", "shop", &["/", "Shop.Example"]);
    assert_eq!(get(&hub, "other.example", "/").status, 404);
    let _site = hub.start_worker_with("site", "site", &["/"]);
    let _blog = hub.start_worker_with("site", "blog", &["/", "blog.example"]);
    for (host, text) in [
        ("shop.example", "shop /x"),
        ("SHOP.example:8080", "shop /x"),
        ("blog.example.", "blog /x"),
        ("other.example", "site /x"),
    ] {
        assert_eq!(get(&hub, host, "/x").text(), text, "{host}");
    }
    // The authority of an absolute target counts, as for every reader of HTTP.
    assert_eq!(
        get(&hub, "other", "http://shop.example/x").text(),
        "shop /x"
    );
    let mut wrong = hub.begin_worker("site", "wrong", &["/", "a:80"]);
    assert!(!wrong.wait().success());
    wrong.wait_for_log("without a port");
}

fn the_hub_s_own_paths_can_be_moved_out_of_a_service_s_way(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let site = hub.start_worker_with("site", "site", &["/"]);
    assert!(http::get(hub.address, "/health").text().contains("\"ok\""));
    site.wait_for_log("the hub itself answers /health");
    hub.part
        .wait_for_log("does not get requests for /health, /events and /internal/");
    let hub = HubPart::start(program(), &["--io", io, "--own-paths", "/_hub"]);
    let site = hub.start_worker_with("site", "site", &["/"]);
    for path in ["/health", "/events", "/internal/register"] {
        assert_eq!(http::get(hub.address, path).text(), format!("site {path}"));
    }
    let health = http::get(hub.address, "/_hub/health").text();
    assert!(health.contains("\"site\""), "{health}");
    assert_eq!(http::get(hub.address, "/_hub/internal/slots").status, 200);
    assert!(
        !site.log().contains("the hub itself answers"),
        "{}",
        site.log()
    );
    // A worker that asks over HTTP names the hub with that path.
    let url = format!("{}/_hub", hub.url());
    let _other = hub.start_worker_over_http(&url, "site", "other", &["/other"]);
    assert_eq!(http::get(hub.address, "/other/x").text(), "other /x");
}

fn replicas_that_take_turns_end_well_and_the_hub_names_instances(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let mut older = hub.start_worker_with("site", "site", &["/"]);
    for _ in 0..3 {
        let newer = hub.start_worker_with("site", "site", &["/"]);
        assert!(older.wait().success(), "{}", older.log());
        older.wait_for_log("replaced by a worker of the same name");
        older = newer;
    }
    hub.part.wait_for_log("instance()");
    // One that started earlier and comes back does not replace who came after it.
    let registration = r#"{"name":"site","started_ms":1,"returns":true,"routes":[{"method":"GET","path":"/old"}]}"#;
    assert!(slotway_tests::fake_worker::is_told_that_it_is_replaced(
        &hub,
        registration
    ));
    wait_until("the newer one is still there", || {
        hub.health().matches("\"site\"").count() == 1
    });
    assert_eq!(http::get(hub.address, "/x").text(), "site /x");
}
