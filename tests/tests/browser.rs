//! A real browser's `EventSource`: it gets what a worker pushes, survives the worker, and
//! resumes with Last-Event-ID when the hub itself is replaced.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use slotway_tests::chromium::FLAGS;
use slotway_tests::has_program;
use slotway_tests::http;
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, wait_until};

/// Headless Chromium on a page, with a profile of its own.
struct Browser {
    process: Child,
    _profile: Folder,
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = Folder::new();
        let process = Command::new("chromium")
            .args(FLAGS)
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self {
            process: process.expect("it was found"),
            _profile: profile,
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With all the processes it has started.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

fn list(hub: &HubPart, path: &str) -> Vec<Value> {
    let response = http::get(hub.address, path);
    serde_json::from_slice(&response.body).unwrap_or_default()
}

/// Pushes to the browser and waits until its page says that it has seen it.
fn is_seen(hub: &HubPart, data: &str, id: &str) {
    let document = json!({
        "path": "/sse/browser", "event_type": "news", "data": data, "id": id, "retry": 50
    });
    let body = document.to_string();
    let pushed = http::request(hub.address, "POST", "/internal/sse-push", body.as_bytes());
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    let expected = format!("{data} {id}");
    wait_until("the page has seen it", || {
        list(hub, "/browser-seen")
            .iter()
            .any(|seen| *seen == expected)
    });
}

/// The connects that the worker was told of, once there are any.
fn connects(hub: &HubPart) -> Vec<Value> {
    let is_connect = |told: &Value| told["sse_lifecycle"] == "connect";
    let mut found = Vec::new();
    wait_until("the worker is told of the browser", || {
        found = list(hub, "/sse-told");
        found.retain(is_connect);
        !found.is_empty()
    });
    found
}

#[test]
fn an_event_source_survives_worker_and_hub() {
    if !has_program("chromium") {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let mut hub = HubPart::start(program, &[]);
    let mut worker = hub.start_worker("sse", "rooms");
    let _browser = Browser::open(&format!("{}/browser", hub.url()));
    let first = connects(&hub);
    assert_eq!(first[0]["last_event_id"], Value::Null);
    is_seen(&hub, "first", "1");

    worker.signal(Signal::KILL);
    worker.wait();
    let _worker = hub.start_worker("sse", "rooms");
    let second = connects(&hub);
    assert_eq!(
        second[0]["connection"], first[0]["connection"],
        "the same connection"
    );
    assert_eq!(second[0]["last_event_id"], "1");
    is_seen(&hub, "second", "2");

    // The new hub gets the listening socket; the browser's stream ends, and it comes
    // back by itself.
    let _new = Successor::take_over(&hub, hub.part.pid());
    assert!(hub.part.wait().success());
    wait_until("the browser is back", || connects(&hub).len() == 2);
    let third = &connects(&hub)[1];
    assert_ne!(third["connection"], first[0]["connection"]);
    assert_eq!(third["last_event_id"], "2", "as the browser says");
    is_seen(&hub, "third", "3");
}
