//! The access log, request ids and traces, and the hub's own log.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// A hub with an access log and a worker that says what it gets.
struct Logged {
    hub: HubPart,
    _worker: Part,
    file: PathBuf,
    _folder: Folder,
}

impl Logged {
    fn start(io: &str, role: &str, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let path = file.to_str().expect("a path of ours is text");
        let flags = [&["--access-log", path], flags].concat();
        let (hub, worker) = HubPart::start_with_worker(program(), io, role, &flags);
        Self {
            hub,
            _worker: worker,
            file,
            _folder: folder,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The lines, once there are so many.
    fn lines(&self, count: usize) -> Vec<Value> {
        wait_until("the lines are there", || {
            self.text().lines().count() >= count
        });
        let text = self.text();
        let lines: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        assert_eq!(lines.len(), count, "{text}");
        lines
    }
}

slotway_tests::on_each_engine! {
    every_request_has_a_line_that_says_what_became_of_it
    a_sample_has_all_that_failed
    ids_and_traces_are_kept_where_they_are_sane_and_made_where_not
    what_is_no_request_has_an_id_too
}

fn what_is_no_request_has_an_id_too(io: &str) {
    let logged = Logged::start(io, "echo", &["--request-id"]);
    let mut ids = Vec::new();
    for request in [
        "GARBAGE\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
    ] {
        let mut connection = Connection::open(logged.hub.address);
        connection.send(request);
        let response = connection.read_response("GET").unwrap();
        assert!(response.status >= 400, "{request}");
        ids.push(response.field("x-request-id").expect(request).to_owned());
    }
    for (line, id) in logged.lines(3).iter().zip(&ids) {
        assert_eq!(line["request_id"], *id);
    }
}

fn every_request_has_a_line_that_says_what_became_of_it(io: &str) {
    let logged = Logged::start(
        io,
        "echo",
        &["--access-log-fields", "+user_agent,+phases_us"],
    );
    let address = logged.hub.address;
    let agent = "User-Agent: me \"and\\\" you\r\n";
    http::get_with(address, "/api/items/1?password=hush", agent);
    http::get(address, "/nowhere");
    let mut garbage = Connection::open(address);
    garbage.send("GARBAGE\r\n\r\n");
    assert_eq!(garbage.read_response("GET").unwrap().status, 400);
    let mut leaving = Connection::open(address);
    leaving.send("GET /api/sleep/3000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the worker has it", || {
        Scrape::of(address).count("slotway_slots", &[("state", "in_use")]) == 1
    });
    drop(leaving);
    wait_until("its leaving is logged", || {
        logged.text().contains("/api/sleep/")
    });
    assert!(!logged.text().contains("hush"), "a query may hold secrets");
    let text = logged.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |path: &str| lines.iter().find(|line| line["path"] == path).unwrap();
    let items = of("/api/items/1");
    assert_eq!(
        (&items["status"], &items["method"]),
        (&200.into(), &"GET".into())
    );
    assert_eq!(
        (&items["route"], &items["worker"]),
        (&"/api/items/{id}".into(), &"echo".into())
    );
    assert_eq!(items["user_agent"], "me \"and\\\" you");
    assert!(items["bytes"].as_u64().unwrap() > 100 && items["duration_us"].as_f64().unwrap() > 1.0);
    assert!(items["phases_us"]["worker"].as_f64().unwrap() > 0.0);
    assert!(items["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    let time = items["time"].as_str().unwrap();
    assert!(
        time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
        "{time}"
    );
    assert_eq!(
        (&of("/nowhere")["status"], &of("/nowhere")["route"]),
        (&404.into(), &"none".into())
    );
    let left = of("/api/sleep/3000");
    assert_eq!(
        (&left["status"], &left["aborted"]),
        (&0.into(), &true.into())
    );
    assert_eq!(left["worker"], "echo");
    let garbage = lines.iter().find(|line| line["status"] == 400).unwrap();
    assert!(
        garbage["path"].is_null() && garbage["method"].is_null(),
        "{garbage}"
    );
}

fn a_sample_has_all_that_failed(io: &str) {
    let flags = [
        "--access-log-sample",
        "50",
        "--access-log-fields",
        "path,status",
    ];
    let logged = Logged::start(io, "odd", &flags);
    let mut connection = Connection::open(logged.hub.address);
    for n in 0..100 {
        let status = if n % 25 == 7 { 503 } else { 200 };
        connection.send(format!(
            "GET /odd/status/{status} HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        connection.read_response("GET").unwrap();
    }
    drop(connection);
    let scrape = Scrape::of(logged.hub.address);
    let failed = scrape.count("slotway_requests_total", &[("status_class", "5xx")]) as usize;
    assert_eq!(failed, 4);
    // Two of the hundred and the scrape, and the failed ones.
    wait_until("the lines are there", || {
        let text = logged.text();
        text.matches("\"status\":5").count() == failed
    });
    let text = logged.text();
    let whole = text.lines().count() - failed;
    assert!((2..=3).contains(&whole), "{text}");
}

fn ids_and_traces_are_kept_where_they_are_sane_and_made_where_not(io: &str) {
    let flags = [
        "--request-id",
        "--trace-context",
        "--access-log-fields",
        "+trace_id",
    ];
    let logged = Logged::start(io, "fields", &flags);
    let address = logged.hub.address;
    let seen = |fields: &str| -> (Value, Option<String>) {
        let response = http::get_with(address, "/fields", fields);
        let sent = response.field("x-request-id").map(str::to_owned);
        (serde_json::from_slice(&response.body).unwrap(), sent)
    };
    let one = |value: &Value, name: &str| {
        let all = value[name].as_array().cloned().unwrap_or_default();
        assert!(all.len() <= 1, "{name} came {} times", all.len());
        all.first().map(|one| one.as_str().unwrap().to_owned())
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let kept = format!("X-Request-Id: mine-1\r\nTraceparent: {trace}\r\nTracestate: a=b\r\n");
    let (got, sent) = seen(&kept);
    assert_eq!(one(&got, "x-request-id").as_deref(), Some("mine-1"));
    assert_eq!(sent.as_deref(), Some("mine-1"));
    assert_eq!(one(&got, "traceparent").as_deref(), Some(trace));
    assert_eq!(one(&got, "tracestate").as_deref(), Some("a=b"));

    let mut ids = vec!["mine-1".to_owned()];
    let long = "x".repeat(200);
    let insane = format!("X-Request-Id: {long}\r\nTraceparent: 00-zz\r\nTracestate: a=b\r\n");
    let doubled = format!("Traceparent: {trace}\r\nTraceparent: {trace}\r\n");
    for fields in ["", "X-Request-Id: a b\r\n", &insane, &doubled] {
        let (got, sent) = seen(fields);
        let id = one(&got, "x-request-id").unwrap();
        assert_eq!(
            Some(&id),
            sent.as_ref(),
            "worker and client are told the same"
        );
        assert_eq!(id.len(), 32, "{fields}: {id}");
        assert!(!ids.contains(&id), "it is a new one");
        ids.push(id);
        let made = one(&got, "traceparent").unwrap();
        assert!(
            made.starts_with("00-") && made.ends_with("-01") && made != trace,
            "{made}"
        );
        assert_eq!(one(&got, "tracestate"), None, "it was of another trace");
    }
    // What the hub answers itself has an id as well.
    assert_eq!(
        http::get(address, "/nowhere")
            .field("x-request-id")
            .unwrap()
            .len(),
        32
    );
    let lines = logged.lines(6);
    for (line, id) in lines.iter().zip(&ids) {
        assert_eq!(line["request_id"], *id);
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    }
    assert_eq!(lines[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[test]
fn without_their_flags_ids_and_traces_are_what_clients_send() {
    let (hub, _worker) = HubPart::start_with_worker(program(), "auto", "fields", &[]);
    let response = http::get_with(hub.address, "/fields", "Traceparent: 00-zz\r\n");
    assert_eq!(response.field("x-request-id"), None);
    let got: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(got["traceparent"], serde_json::json!(["00-zz"]));
    assert_eq!(got["x-request-id"], Value::Null);
}

#[test]
fn a_trace_is_sampled_in_the_share_that_is_asked_for() {
    let flags = ["--trace-context", "--trace-sample", "0.25"];
    let (hub, _worker) = HubPart::start_with_worker(program(), "auto", "fields", &flags);
    let mut connection = Connection::open(hub.address);
    let mut sampled = 0;
    for _ in 0..400 {
        connection.send("GET /fields HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = connection.read_response("GET").unwrap();
        let got: Value = serde_json::from_slice(&response.body).unwrap();
        sampled += u32::from(got["traceparent"][0].as_str().unwrap().ends_with("-01"));
    }
    // Six standard deviations.
    assert!((48..=152).contains(&sampled), "{sampled}");
}

#[test]
fn the_file_is_opened_anew_at_sighup() {
    let logged = Logged::start("auto", "echo", &[]);
    http::get(logged.hub.address, "/api/items/1");
    logged.lines(1);
    let moved = logged.file.with_extension("1");
    std::fs::rename(&logged.file, &moved).unwrap();
    logged.hub.part.signal(Signal::HUP);
    wait_until("there is a new one", || logged.file.exists());
    http::get(logged.hub.address, "/api/items/2");
    assert_eq!(logged.lines(1)[0]["path"], "/api/items/2");
    let old = std::fs::read_to_string(&moved).unwrap();
    assert_eq!(old.lines().count(), 1, "{old}");
}

#[test]
fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let flags = ["--trusted-proxy", "127.0.0.0/8"];
    let logged = Logged::start("auto", "echo", &flags);
    http::get_with(
        logged.hub.address,
        "/api/items/1",
        "X-Forwarded-For: 192.0.2.7\r\n",
    );
    http::get_with(
        logged.hub.address,
        "/nowhere",
        "X-Forwarded-For: 192.0.2.8\r\n",
    );
    let lines = logged.lines(2);
    assert_eq!(lines[0]["client"], "192.0.2.7");
    assert_eq!(lines[1]["client"], "192.0.2.8");
}

#[test]
fn lines_of_the_hub_s_own_log_are_json_and_have_the_request_s_id() {
    let flags = ["--log-format", "json", "--request-id", "--timeout", "50ms"];
    let hub = HubPart::start(program(), &flags);
    let _worker = hub.begin_worker("echo", "echo", &[]);
    hub.part.wait_for_log("\"message\":\"attached\"");
    let slow = http::get_with(hub.address, "/api/sleep/2000", "X-Request-Id: slow-one\r\n");
    assert_eq!(slow.status, 504);
    hub.part.wait_for_log("504:");
    let log = hub.part.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let line = lines.iter().find(|line| line["level"] == "WARN").unwrap();
    assert!(
        line["message"].as_str().unwrap().starts_with("504:"),
        "{line}"
    );
    assert_eq!(line["request_id"], "slow-one");
    let attached = lines
        .iter()
        .find(|line| line["message"] == "attached")
        .unwrap();
    assert_eq!(
        (&attached["worker"], &attached["request_id"]),
        (&"echo".into(), &Value::Null)
    );
    assert!(attached["timestamp"].as_str().unwrap().ends_with('Z'));
}
