//! What one route may use that others may not: its time, its bodies, its queue and how many requests its
//! workers have at a time; as its worker says, or the configuration, of which the stricter counts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use slotway_tests::http;
use slotway_tests::system::{Folder, HubPart, wait_until};
use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{HubWorker, Method, Request, Route, RunningWorker};

slotway_tests::on_each_engine! {
    a_routes_time_is_its_own
    a_slow_route_is_no_hanging_worker
    a_routes_bodies_have_a_limit_of_their_own
    only_so_many_requests_of_a_route_run_at_a_time_in_the_whole_hub
    a_place_comes_back_however_its_request_ends
    a_full_queue_of_one_route_is_none_of_another
    of_the_workers_and_the_files_limits_the_stricter_counts_and_a_reload_changes_them
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// Sleeps for as many milliseconds as the path says.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "handlers get their state so"
)]
fn sleep((): &(), request: &Request) -> Response {
    let ms = request.param("ms").and_then(|ms| ms.parse().ok());
    std::thread::sleep(Duration::from_millis(ms.unwrap_or(0)));
    request.response(200).text("slept")
}

fn serve(hub: &HubPart, name: &str, routes: Vec<Route<()>>) -> RunningWorker {
    let worker = HubWorker::new(&hub.url(), name, ()).hub_socket(&hub.socket);
    let running = worker.threads(8).routes(routes).start().unwrap();
    wait_until("it is attached", || {
        hub.health().contains(&format!("{name:?}"))
    });
    running
}

fn end(running: RunningWorker) {
    running.stop();
    running.wait().unwrap();
}

/// All at once.
fn all<R: Send>(count: usize, ask: impl Fn() -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..count).map(|_| scope.spawn(&ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn statuses(responses: &[http::Response]) -> Vec<u16> {
    let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    statuses
}

fn a_routes_time_is_its_own(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--timeout", "400ms"]);
    let slow = Route::in_place(Method::Get, "/slow/{ms}", sleep).timeout(Duration::from_secs(60));
    let quick =
        Route::in_place(Method::Get, "/quick/{ms}", sleep).timeout(Duration::from_millis(100));
    let usual = Route::in_place(Method::Get, "/usual/{ms}", sleep);
    let running = serve(&hub, "times", vec![slow, quick, usual]);
    assert_eq!(http::get(hub.address, "/slow/800").status, 200);
    assert_eq!(http::get(hub.address, "/usual/800").status, 504);
    assert_eq!(http::get(hub.address, "/quick/800").status, 504);
    assert_eq!(http::get(hub.address, "/quick/0").status, 200);
    end(running);
}

fn a_slow_route_is_no_hanging_worker(io: &str) {
    let hub = HubPart::start(
        program(),
        &["--io", io, "--timeout", "300ms", "--ping", "100ms"],
    );
    let slow = Route::in_place(Method::Get, "/slow/{ms}", sleep).timeout(Duration::from_secs(60));
    let running = serve(&hub, "slow", vec![slow]);
    // All of its threads are busy for longer than other routes may take.
    let responses = all(8, || http::get(hub.address, "/slow/2000"));
    assert_eq!(statuses(&responses), [200; 8], "{}", hub.part.log());
    end(running);
}

fn a_routes_bodies_have_a_limit_of_their_own(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--body-bytes-max", "100"]);
    let route = |path: &str| Route::new(Method::Post, path, |body: String| body.len().to_string());
    let routes = vec![
        route("/large").body_bytes_max(1000),
        route("/small").body_bytes_max(10),
        route("/usual"),
    ];
    let running = serve(&hub, "bodies", routes);
    for (path, most) in [("/large", 1000), ("/small", 10), ("/usual", 100)] {
        let post = |bytes| http::request(hub.address, "POST", path, &vec![b'x'; bytes]);
        assert_eq!(post(most).text(), most.to_string(), "{path}");
        assert_eq!(post(most + 1).status, 413, "{path}");
        let mut connection = http::Connection::open(hub.address);
        let length = most + 1;
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(length)
        ));
        assert_eq!(
            connection.read_response("POST").unwrap().status,
            413,
            "{path}"
        );
    }
    end(running);
}

fn only_so_many_requests_of_a_route_run_at_a_time_in_the_whole_hub(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--reactors", "3"]);
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let route = || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Route::in_place(Method::Get, "/report", move |(), request| {
            let own = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(own, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            request.response(200).text("done")
        })
        .concurrency(2)
    };
    // Two workers together.
    let start = |name: &str| {
        let worker = HubWorker::new(&hub.url(), name, ()).hub_socket(&hub.socket);
        let worker = worker.share_routes().threads(4).routes([route()]);
        let running = worker.start().unwrap();
        wait_until("it is attached", || {
            hub.health().contains(&format!("{name:?}"))
        });
        running
    };
    let workers = [start("first"), start("second")];
    let responses = all(24, || {
        let of_one = (0..5).map(|_| http::get(hub.address, "/report"));
        of_one.collect::<Vec<_>>()
    });
    let responses: Vec<_> = responses.into_iter().flatten().collect();
    assert_eq!(statuses(&responses), vec![200; 120]);
    assert_eq!(
        most.load(Ordering::SeqCst),
        2,
        "as many as may, and no more"
    );
    workers.into_iter().for_each(end);
}

fn a_place_comes_back_however_its_request_ends(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--worker-grace", "0"]);
    let route = |path: &str| Route::in_place(Method::Get, path, sleep).concurrency(1);
    let slow = route("/slow/{ms}").timeout(Duration::from_millis(200));
    let running = serve(&hub, "w", vec![slow, route("/left/{ms}")]);
    // Its time passes: the handler still runs, and so its place is taken for as long.
    let begun = Instant::now();
    assert_eq!(http::get(hub.address, "/slow/600").status, 504);
    wait_until("the handler is done", || {
        http::get(hub.address, "/slow/0").status == 200
    });
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "not before its handler is done"
    );
    // Its client leaves.
    let mut connection = http::Connection::open(hub.address);
    connection.send("GET /left/300 HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(50));
    drop(connection);
    assert_eq!(http::get(hub.address, "/left/0").status, 200);
    end(running);
    // Its worker dies.
    let worker = hub.start_worker_with("slots-of-one", "dies", &[]);
    let gone = std::thread::scope(|scope| {
        let asking = scope.spawn(|| http::get(hub.address, "/hang").status);
        // What a worker has not begun with would wait for another one.
        worker.wait_for_log("it hangs");
        drop(worker);
        asking.join().unwrap()
    });
    assert_eq!(gone, 502);
    let _again = hub.start_worker_with("slots-of-one", "dies", &[]);
    assert_eq!(http::get(hub.address, "/quick").status, 200);
}

fn a_full_queue_of_one_route_is_none_of_another(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--reactors", "1"]);
    let report = Route::in_place(Method::Get, "/report/{ms}", sleep)
        .concurrency(1)
        .queue(2);
    let other = Route::in_place(Method::Get, "/other", sleep);
    let running = serve(&hub, "w", vec![report, other]);
    let responses = std::thread::scope(|scope| {
        let reports = scope.spawn(|| all(8, || http::get(hub.address, "/report/150")));
        for _ in 0..20 {
            assert_eq!(http::get(hub.address, "/other").status, 200);
        }
        reports.join().unwrap()
    });
    // One runs and two wait.
    assert_eq!(
        statuses(&responses),
        [200, 200, 200, 503, 503, 503, 503, 503]
    );
    end(running);
}

fn of_the_workers_and_the_files_limits_the_stricter_counts_and_a_reload_changes_them(io: &str) {
    let folder = Folder::new();
    let path = folder.path().join("hub.toml");
    let write = |bytes: u32| {
        let table = "[[route]]\npath = \"/a/{*rest}\"\nmethod = \"POST\"\n";
        std::fs::write(&path, format!("{table}body_bytes_max = {bytes}\n")).unwrap();
    };
    write(20);
    let flags = ["--io", io, "--config", path.to_str().unwrap()];
    let hub = HubPart::start(program(), &flags);
    let route = |path: &str| Route::new(Method::Post, path, |body: String| body.len().to_string());
    let routes = vec![route("/a/x").body_bytes_max(10), route("/a/y"), route("/b")];
    let running = serve(&hub, "bodies", routes);
    let post =
        |path: &str, bytes| http::request(hub.address, "POST", path, &vec![b'x'; bytes]).status;
    assert_eq!(
        (post("/a/x", 10), post("/a/x", 11)),
        (200, 413),
        "the worker's"
    );
    assert_eq!(
        (post("/a/y", 20), post("/a/y", 21)),
        (200, 413),
        "the file's"
    );
    assert_eq!(post("/b", 21), 200, "nobody's");
    write(5);
    hub.part.signal(rustix::process::Signal::HUP);
    wait_until("it has changed", || post("/a/x", 6) == 413);
    assert_eq!((post("/a/y", 5), post("/a/y", 6)), (200, 413));
    end(running);
}

#[test]
fn limits_that_make_no_sense_are_refused_by_name() {
    let hub = HubPart::start(program(), &[]);
    for (limit, words) in [
        (r#""concurrency":0"#, "routes[0].concurrency"),
        (r#""timeout_ms":1"#, "routes[0].timeout_ms"),
        (r#""timeout_ms":999999999"#, "is not within 10 to 86400000"),
        (r#""sse":true,"concurrency":1"#, "event stream"),
    ] {
        let body = format!(r#"{{"name":"w","routes":[{{"method":"GET","path":"/x",{limit}}}]}}"#);
        let refused = http::request(hub.address, "POST", "/internal/register", body.as_bytes());
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}
