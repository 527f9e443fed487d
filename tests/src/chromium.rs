//! Headless Chromium, driven over its protocol through a pair of pipes
//! (`--remote-debugging-pipe`), so that it needs no port and no WebSocket.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::system::{Folder, PATIENCE};

/// A browser with one page.
pub struct Chromium {
    process: Child,
    commands: std::fs::File,
    replies: Receiver<Value>,
    session: Option<String>,
    next_id: u64,
    _profile: Folder,
}

/// Flags of every browser of the tests.
pub const FLAGS: [&str; 8] = [
    "--headless",
    // The tests may run as root, for whom there is no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
];

impl Chromium {
    /// Starts it on an empty page.
    pub fn start() -> Self {
        let profile = Folder::new();
        let pipe = || rustix::pipe::pipe().expect("a pipe");
        let ((command_end, commands), (replies, reply_end)) = (pipe(), pipe());
        // It reads commands from descriptor 3 and writes replies to 4.
        let shell = format!(
            "exec 3<&{} 4>&{}; exec chromium \"$@\"",
            command_end.as_raw_fd(),
            reply_end.as_raw_fd()
        );
        // Not sh: some know descriptors of one digit alone.
        let process = Command::new("bash")
            .args(["-c", &shell, "bash"])
            .args(FLAGS)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("bash is there");
        drop((command_end, reply_end));
        let mut browser = Self {
            process,
            commands: close_on_exec(commands).into(),
            replies: read_all(close_on_exec(replies)),
            session: None,
            next_id: 0,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Sends a command and waits for its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let text = command.to_string() + "\0";
        self.commands
            .write_all(text.as_bytes())
            .expect("the browser reads");
        loop {
            let reply = self.replies.recv_timeout(PATIENCE);
            let mut reply = reply.unwrap_or_else(|_| panic!("no reply to {method}"));
            if reply["id"] == id {
                assert!(reply["error"].is_null(), "{method}: {}", reply["error"]);
                return reply["result"].take();
            }
        }
    }

    /// Opens a page.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
    }

    /// The value of a JavaScript expression in the page; promises are awaited.
    pub fn value(&mut self, expression: &str) -> Value {
        let evaluate = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let mut result = self.call("Runtime.evaluate", &evaluate);
        let exception = &result["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception}");
        result["result"]["value"].take()
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        let start = std::time::Instant::now();
        while self.value(expression) != true {
            assert!(
                start.elapsed() < PATIENCE,
                "never: {expression}; the page has:\n{}",
                self.value("document.body.innerText.slice(0, 2000)")
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The size of the page's window.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Whether the user likes it dark.
    pub fn set_dark(&mut self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            if key == "Enter" && kind == "keyDown" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }
}

/// Other processes that a test starts must not hold these open.
fn close_on_exec(fd: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).expect("a descriptor");
    fd
}

fn read_all(replies: OwnedFd) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut replies = BufReader::new(std::fs::File::from(replies));
        let mut message = Vec::new();
        while replies.read_until(0, &mut message).is_ok_and(|n| n > 0) {
            let value = serde_json::from_slice(
                message
                    .trim_ascii_end()
                    .strip_suffix(b"\0")
                    .unwrap_or(&message),
            );
            message.clear();
            if value.map(|value| sender.send(value)).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // With all the processes it has started.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}
