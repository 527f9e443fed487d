//! System calls of the hub that fail now and then, as the kernel lets them: nothing is
//! lost by it. strace(1) makes them fail (`-e inject`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::ledger::{Crowd, Ledger};
use slotway_tests::system::{Folder, HubPart};
use slotway_tests::{has_program, repeats};

slotway_tests::on_each_engine! {
    calls_that_are_interrupted_lose_nothing
    a_hub_that_cannot_accept_for_want_of_memory_or_descriptors_accepts_later
}

/// Calls that may be interrupted before they have done anything (signal(7)). Of
/// futex(2) only waiting may, which the hub does not; what it calls write(2) for are
/// eventfds that do not block, and such a write never sleeps.
const INTERRUPTIBLE: &str = "read,readv,recvfrom,recvmsg,writev,sendto,sendmsg,accept4,\
                             epoll_wait,epoll_pwait,io_uring_enter";

/// How long strace may take to let go of a process.
const DETACH_TIME: Duration = Duration::from_secs(5);

/// strace, while it makes calls of another process fail.
struct Injection {
    strace: Child,
}

impl Injection {
    /// Into all threads of a process that is running.
    fn start(hub: &HubPart, faults: &[String]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-p"]);
        command.arg(hub.part.pid().as_raw_nonzero().to_string());
        for fault in faults {
            command.args(["-e", &format!("inject={fault}")]);
        }
        let strace = command.stderr(Stdio::piped()).spawn();
        let mut strace = strace.expect("strace is installed (.ci/run does so)");
        let said = strace.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("attached"));
        assert!(line.is_some(), "strace attaches to a child of this user");
        // It must be able to go on talking.
        std::thread::spawn(move || lines.for_each(drop));
        Self { strace }
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // On SIGTERM it lets go of the hub, which runs on.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.strace),
            Signal::TERM,
        );
        let start = Instant::now();
        while matches!(self.strace.try_wait(), Ok(None)) && start.elapsed() < DETACH_TIME {
            std::thread::sleep(Duration::from_millis(10));
        }
        // It waits for ever for a process whose main thread has ended before the others.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// The hub's log, unless strace is not there.
fn under_load(io: &str, faults: &[String]) -> Option<String> {
    if !has_program("strace") {
        return None;
    }
    let folder = Folder::new();
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let hub = HubPart::start_role(program, "hub-traceable", &["--io", io, "--timeout", "20"]);
    let log = folder.path().join("ledger.log");
    let ledger = Arc::new(Ledger::new(hub.address, &log, Duration::from_secs(20)));
    let log = log.to_str().expect("a path of ours").to_owned();
    let _worker = hub.start_worker_with("ledger", "one", &[&log]);
    {
        let _injection = Injection::start(&hub, faults);
        let crowd = Crowd::start(&ledger, 4);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) * repeats(1) {
            std::thread::sleep(Duration::from_millis(50));
        }
        crowd.stop();
    }
    let account = ledger.close();
    println!("{account}");
    assert!(account.is_clean(), "{account}\n{}", hub.part.log());
    assert_eq!((account.refused(), account.cut), (0, 0), "{account}");
    assert!(account.requests > 100, "{account}");
    Some(hub.part.log())
}

fn calls_that_are_interrupted_lose_nothing(io: &str) {
    under_load(io, &[format!("{INTERRUPTIBLE}:error=EINTR:when=7+11")]);
}

fn a_hub_that_cannot_accept_for_want_of_memory_or_descriptors_accepts_later(io: &str) {
    if let Some(log) = under_load(io, &["accept4:error=ENFILE:when=3+7".to_owned()]) {
        assert!(log.contains("cannot accept"), "{log}");
    }
}

/// tokio-uring and tokio panic where these fail; half a hub must not be what is left.
fn no_failure_of_waiting_leaves_half_a_hub(io: &str, call: &str, error: &str) {
    if !has_program("strace") {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let mut hub = HubPart::start_role(program, "hub-traceable", &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    let fault = format!("{call}:error={error}:when=20");
    let injection = Injection::start(&hub, &[fault]);
    let start = Instant::now();
    let mut served = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let Ok(mut connection) = Connection::try_open(hub.address) else {
            break;
        };
        let request = "GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n";
        let answered = connection
            .try_send(request)
            .and_then(|()| connection.read_response("GET"));
        served += u32::from(answered.is_ok_and(|response| response.status == 200));
    }
    drop(injection);
    if Connection::try_open(hub.address).is_ok() {
        println!("it serves on, after {served}");
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        assert_eq!(http::get(hub.address, "/health").status, 200);
        return;
    }
    println!("it ends, after {served}");
    assert_eq!(hub.part.wait().code(), Some(70), "{}", hub.part.log());
    hub.part.wait_for_log("the hub ends");
}

#[test]
fn where_io_uring_enter_fails_the_hub_serves_on_or_ends() {
    for io in ["uring", "uring-direct"] {
        for error in ["ENOMEM", "EAGAIN", "EBUSY"] {
            no_failure_of_waiting_leaves_half_a_hub(io, "io_uring_enter", error);
        }
    }
}

#[test]
fn where_epoll_wait_fails_the_hub_serves_on_or_ends() {
    for io in slotway_tests::ENGINES {
        no_failure_of_waiting_leaves_half_a_hub(io, "epoll_wait", "ENOMEM");
    }
}
