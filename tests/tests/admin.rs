//! `slotway-hub` as a tool: it asks a hub that runs, over its attach socket.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{Folder, HubPart, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["role", "hub"]).args(arguments);
    command.stdin(Stdio::null()).output().expect("it starts")
}

fn ask(hub: &HubPart, arguments: &[&str]) -> Output {
    let socket = hub.socket.to_str().expect("a path of ours is text");
    run(&[arguments, &["--socket", socket]].concat())
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(hub: &HubPart, arguments: &[&str]) -> Value {
    let output = ask(hub, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text(&output)).expect("a document")
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

slotway_tests::on_each_engine! {
    it_says_how_the_hub_is_and_who_serves_what
    workers_are_drained_and_evicted_by_name_process_or_id
    requests_are_shown_as_they_end
}

fn it_says_how_the_hub_is_and_who_serves_what(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    assert!(text(&ask(&hub, &["workers"])).contains("no worker is attached"));
    let worker = hub.start_worker("own-metrics", "own");
    let _other = hub.start_worker("echo", "echo");
    http::get(hub.address, "/api/items/1");
    http::get(hub.address, "/nowhere");

    let status = json(&hub, &["status"]);
    assert_eq!(
        (&status["ready"], &status["requests"]),
        (&true.into(), &2.into())
    );
    assert_eq!(status["workers"]["live"], 2);
    assert!(ask(&hub, &["status", "--ready"]).status.success());
    let shown = text(&ask(&hub, &["status"]));
    let url = hub.url();
    for part in [
        "state       ready",
        &url,
        "2 live",
        "own: attached: version 1.2.3, 1 route",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let workers = json(&hub, &["workers"]);
    let own = workers
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["name"] == "own")
        .unwrap();
    assert_eq!(
        (&own["version"], &own["state"]),
        (&"1.2.3".into(), &"live".into())
    );
    assert_eq!(own["pid"], worker.pid().as_raw_pid());
    assert_eq!(own["slots"]["total"], 256);
    assert!(text(&ask(&hub, &["workers"])).contains("1.2.3"));

    let routes = json(&hub, &["routes"]);
    let routes = routes.as_array().unwrap();
    let items = routes
        .iter()
        .find(|r| r["route"] == "/api/items/{id}")
        .unwrap();
    assert_eq!(
        (&items["requests"], &items["workers"][0]),
        (&1.into(), &"echo".into())
    );
    assert!(items["latency_us"]["p99"].as_f64().unwrap() > 1.0);
    assert!(text(&ask(&hub, &["routes"])).contains("/api/items/{id}"));

    for (arguments, answer) in [
        (
            &["routes", "/api/items/7"][..],
            "echo, by the route GET /api/items/{id}\n  id = 7",
        ),
        (&["routes", "/health"], "the hub answers it itself"),
        (&["routes", "/nowhere"], "404"),
        (
            &["routes", "/api/items/7", "--method", "PUT"],
            "405, its methods are GET, HEAD",
        ),
    ] {
        let shown = text(&ask(&hub, arguments));
        assert!(shown.contains(answer), "{shown}");
    }
    let slots = json(&hub, &["slots"]);
    assert_eq!(slots["workers"].as_array().unwrap().len(), 2);
}

fn workers_are_drained_and_evicted_by_name_process_or_id(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let mut first = hub.start_worker("echo", "first");
    let mut busy = Connection::open(hub.address);
    busy.send("GET /api/sleep/700 HTTP/1.1\r\nHost: h\r\n\r\n");
    let in_use = || Scrape::of(hub.address).count("slotway_slots", &[("state", "in_use")]);
    wait_until("the worker has it", || in_use() > 0);
    assert_eq!(text(&ask(&hub, &["drain", "first"])), "first: 1 draining\n");
    assert_eq!(json(&hub, &["workers"])[0]["state"], "draining");
    assert_eq!(
        busy.read_response("GET").unwrap().status,
        200,
        "it is finished"
    );
    assert!(first.wait().success(), "it ends as if it had wanted to");

    let mut second = hub.start_worker("echo", "second");
    let pid = second.pid().as_raw_pid().to_string();
    busy.send("GET /api/sleep/5000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the worker has it", || in_use() > 0);
    assert_eq!(json(&hub, &["evict", &pid])["evicted"], 1);
    // 502 if the hub was quicker than the worker, whose handler then comes to nothing.
    let status = busy.read_response("GET").unwrap().status;
    assert!(matches!(status, 502 | 500), "{status}");
    assert_eq!(second.wait().code(), Some(1));
    second.wait_for_log("an operator of the hub has evicted this worker");

    let mut third = hub.start_worker("echo", "third");
    let id = json(&hub, &["workers"])[0]["worker_id"].clone();
    let id = &id.as_str().unwrap()[..8];
    assert_eq!(json(&hub, &["evict", id])["evicted"], 1);
    assert_eq!(third.wait().code(), Some(1));
    let why = refusal(&ask(&hub, &["drain", "third"]));
    assert!(why.contains("no worker third is attached"), "{why}");
    let ended = Scrape::of(hub.address);
    let count = |cause| ended.count("slotway_sessions_ended_total", &[("cause", cause)]);
    assert_eq!(
        (count("left"), count("evicted"), count("crashed")),
        (1, 2, 0)
    );
}

fn requests_are_shown_as_they_end(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    let socket = hub.socket.to_str().unwrap();
    let mut trace = Command::new(program())
        .args([
            "role",
            "hub",
            "trace",
            "/api/items/{id}",
            "--json",
            "--socket",
            socket,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(trace.stdout.take().unwrap()).lines();
    // Until it looks on.
    let seen = std::thread::scope(|scope| {
        let seen = scope.spawn(move || lines.next().unwrap().unwrap());
        while !seen.is_finished() {
            assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
            assert_eq!(http::get(hub.address, "/api/bytes/9").status, 200);
        }
        seen.join().unwrap()
    });
    let request: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(request["route"], "/api/items/{id}");
    assert_eq!(
        (&request["status"], &request["method"]),
        (&200.into(), &"GET".into())
    );
    assert_eq!(request["worker"], "echo");
    let phases = request["phases_us"].as_object().unwrap();
    let sum: f64 = phases.values().map(|us| us.as_f64().unwrap()).sum();
    let took = request["took_us"].as_f64().unwrap();
    assert!((sum - took).abs() < 1.0, "{request}");
    trace.kill().unwrap();
    trace.wait().unwrap();
    let why = refusal(&ask(&hub, &["trace", "/nowhere"]));
    assert!(why.contains("there is no route /nowhere"), "{why}");
}

#[test]
fn what_cannot_be_asked_is_said_in_one_line() {
    let folder = Folder::new();
    let nowhere = folder.path().join("no.sock");
    let why = refusal(&run(&["status", "--socket", nowhere.to_str().unwrap()]));
    assert!(why.contains("no hub's socket is at"), "{why}");
    let dead = folder.path().join("dead.sock");
    {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(&dead).unwrap()).unwrap();
    }
    let why = refusal(&run(&["status", "--socket", dead.to_str().unwrap()]));
    assert!(why.contains("no hub listens at"), "{why}");
    for wrong in [
        &["evict"][..],
        &["evict", ""],
        &["routes", ""],
        &["trace", ""],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let hub = HubPart::start(program(), &["--ops", "127.0.0.1:0"]);
    let why = refusal(&ask(
        &hub,
        &["routes", &format!("/{}", "a".repeat(100_000))],
    ));
    assert!(why.contains("bytes are too many to ask"), "{why}");
    // What is answered elsewhere is nobody's at the clients' listener.
    let shown = text(&ask(&hub, &["routes", "/metrics"]));
    assert!(shown.contains("404"), "{shown}");
    let output = run(&["--slots", "4", "status"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a hub's flags are not a command's"
    );
}

#[test]
fn the_man_page_and_completions_have_every_flag_and_command() {
    let man = text(&run(&["man"]));
    assert!(
        man.starts_with(".ie") && man.contains("slotway\\-hub"),
        "{man}"
    );
    for part in [
        "\\-\\-access\\-log\\fR",
        "\\-\\-ops\\fR",
        "SIGUSR2",
        "HUB_SECRET",
        "drain",
    ] {
        assert!(man.contains(part), "{part}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completions", shell]));
        assert!(
            script.contains("worker-grace") && script.contains("evict"),
            "{shell}"
        );
    }
}
