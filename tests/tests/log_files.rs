//! Where the access log goes: files and pipes that cannot be opened, written or read.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::Signal;
use serde_json::Value;
use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

#[test]
fn a_log_that_cannot_be_written_is_told_of_once_counted_and_stops_nothing() {
    let flags = ["--access-log", "/dev/full"];
    let (hub, _worker) = HubPart::start_with_worker(program(), "auto", "echo", &flags);
    for _ in 0..20 {
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        std::thread::sleep(Duration::from_millis(5));
    }
    let lost = || Scrape::of(hub.address).count("slotway_access_log_lost_total", &[]);
    wait_until("the lines are counted", || lost() >= 20);
    assert_eq!(
        hub.part
            .log()
            .matches("the access log cannot be written")
            .count(),
        1
    );
}

/// Opens a named pipe for reading.
fn open_pipe(path: &Path) -> File {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap().into()
}

#[test]
fn a_pipe_that_nobody_reads_is_told_of_and_what_is_missing_is_counted() {
    let folder = Folder::new();
    let path = folder.path().join("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
    let flags = ["--port", "0", "--access-log", path.to_str().unwrap()];
    let mut hub = Part::start(program(), "hub", &flags);
    assert_eq!(hub.wait().code(), Some(1));
    hub.wait_for_log("nobody reads this pipe");

    let mut pipe = open_pipe(&path);
    let (mut hub, _worker) = HubPart::start_with_worker(program(), "auto", "echo", &flags[2..]);
    let mut connection = Connection::open(hub.address);
    let mut count = 0;
    let mut ask = |connection: &mut Connection| {
        connection.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(connection.read_response("GET").unwrap().status, 200);
        count += 1;
    };
    // More than a pipe holds.
    for _ in 0..1000 {
        ask(&mut connection);
    }
    hub.part.wait_for_log("nobody reads what is written");
    let lost = || Scrape::of(hub.address).count("slotway_access_log_lost_total", &[]);
    wait_until("some are lost", || lost() > 0);
    // Those that come while it cannot be written do not hide that a line was cut.
    let before = lost();
    wait_until("more are lost", || {
        ask(&mut connection);
        lost() > before + 10
    });
    let mut text = Vec::new();
    let mut read = || {
        let mut part = vec![0; 1 << 20];
        if let Ok(bytes) = pipe.read(&mut part) {
            text.extend_from_slice(&part[..bytes]);
        }
    };
    wait_until("it can be written again", || {
        read();
        ask(&mut connection);
        hub.part.log().contains("can be written again")
    });
    let lost = lost();
    hub.part.signal(Signal::TERM);
    assert!(hub.part.wait().success());
    read();
    let text = String::from_utf8(text).unwrap();
    // Scrapes have lines as well.
    let items = text.lines().filter(|line| line.contains("/api/items/1\""));
    let is_whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    let whole = items.filter(|line| is_whole(line)).count();
    for cut in text.lines().filter(|line| !is_whole(line)) {
        assert_eq!(
            cut.matches("time").count(),
            1,
            "no other line is glued to it: {cut}"
        );
    }
    assert!(
        whole + lost as usize >= count,
        "{whole} + {lost} of {count}"
    );
    assert!(whole <= count, "{whole} of {count}");
}

#[test]
fn a_process_that_stays_for_its_successor_passes_sighup_on() {
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let flags = ["--access-log", path.to_str().unwrap()];
    let mut hub = HubPart::start_with_variable(program(), &flags, ("INVOCATION_ID", "0123"));
    let _next = Successor::take_over(&hub, hub.part.pid());
    hub.part
        .wait_for_log("this process stays for the hub that serves");
    std::fs::rename(&path, path.with_extension("1")).unwrap();
    hub.part.signal(Signal::HUP);
    wait_until("there is a new one", || path.exists());
    hub.part.signal(Signal::TERM);
    assert!(hub.part.wait().success());
}

#[test]
fn flags_of_an_access_log_need_one() {
    for flags in [
        ["--access-log-sample", "3"],
        ["--access-log-format", "common"],
        ["--access-log-fields", "time"],
    ] {
        let mut hub = Part::start(program(), "hub", &flags);
        assert_eq!(hub.wait().code(), Some(2));
        hub.wait_for_log("--access-log <FILE>");
    }
    let flags = ["--trace-context", "--trace-sample", "-0.1"];
    let mut hub = Part::start(program(), "hub", &flags);
    assert_eq!(hub.wait().code(), Some(2));
    hub.wait_for_log("expected a number from 0 to 1");
}

#[test]
fn a_log_that_cannot_be_opened_is_said_at_the_start() {
    let mut hub = Part::start(
        program(),
        "hub",
        &["--port", "0", "--access-log", "/nowhere/x.log"],
    );
    assert_eq!(hub.wait().code(), Some(1));
    hub.wait_for_log("--access-log: cannot open /nowhere/x.log");
    let flags = ["--access-log", "-", "--access-log-fields", "status,colour"];
    let mut hub = Part::start(program(), "hub", &flags);
    assert_eq!(hub.wait().code(), Some(2));
    hub.wait_for_log("there is no field \"colour\"");
}

#[test]
fn lines_come_whole_in_the_common_format_to_standard_output_before_the_hub_ends() {
    let folder = Folder::new();
    let out = folder.path().join("out");
    let socket = folder.path().join("s");
    let mut hub = std::process::Command::new(program())
        .args(["role", "hub", "--port", "0", "--socket"])
        .arg(&socket)
        .args(["--access-log", "-", "--access-log-format", "common"])
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_until("it listens", || read().contains('\n'));
    let address = slotway_tests::system::address_in(read().lines().next().unwrap()).unwrap();
    http::get(address, "/nowhere?x=1");
    rustix::process::kill_process(rustix::process::Pid::from_child(&hub), Signal::TERM).unwrap();
    assert!(hub.wait().unwrap().success());
    let text = read();
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /nowhere HTTP/1.1\" 404 "), "{line}");
}
