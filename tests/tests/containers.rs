//! Hub and workers in PID namespaces of their own, as in containers that share a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use slotway_tests::http;
use slotway_tests::system::{Folder, HubPart, Part, wait_until, write_script};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_both_engines! {
    hub_and_worker_in_separate_pid_namespaces_work_together
    a_hub_that_is_process_1_stays_so_through_upgrades
    a_worker_whose_filter_kills_for_sched_setaffinity_serves
}

/// A program that runs this one as process 1 of a PID namespace; `None` where none may be
/// made.
fn contained(folder: &Folder) -> Option<PathBuf> {
    let user = if rustix::process::geteuid().is_root() {
        ""
    } else {
        "--user --map-root-user"
    };
    let unshare = format!("unshare {user} --pid --fork --mount-proc --kill-child=KILL");
    let works = Command::new("sh")
        .args(["-c", &format!("{unshare} true")])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("this system lets nobody make PID namespaces; nothing is tested");
        return None;
    }
    let script = folder.path().join("contained");
    let program = program().display();
    write_script(
        &script,
        &format!("#!/bin/sh\nexec {unshare} {program} \"$@\"\n"),
    );
    Some(script)
}

/// The process that a part runs in its namespace, by its number here.
fn process_1(part: &Part) -> Pid {
    let parent = part.pid().as_raw_nonzero();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let mut child = None;
    wait_until("it has started", || {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        child = text
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        child.is_some()
    });
    Pid::from_raw(child.unwrap()).expect("no process is 0")
}

fn hub_and_worker_in_separate_pid_namespaces_work_together(io: &str) {
    let folder = Folder::new();
    let Some(contained) = contained(&folder) else {
        return;
    };
    let hub = HubPart::start(&contained, &["--io", io, "--worker-grace", "0"]);
    // Its folder is mounted somewhere else there.
    let elsewhere = folder.path().join("elsewhere.sock");
    std::os::unix::fs::symlink(&hub.socket, &elsewhere).unwrap();
    let url = hub.url();
    let variables = [
        ("HUB_URL", &*url),
        ("HUB_SOCKET", elsewhere.to_str().unwrap()),
    ];
    let worker = Part::start_in(&contained, "echo", &[&url, "echo"], &variables);
    wait_until("it has attached", || hub.health().contains("\"echo\""));
    for _ in 0..100 {
        assert_eq!(http::get(hub.address, "/api/items/7").text(), "item 7");
    }
    let body = vec![b'x'; 1_000_000];
    let echoed = http::request(hub.address, "POST", "/api/echo", &body);
    assert!(echoed.body == body, "{}", echoed.status);
    // Its death is told by its connection.
    kill_process(process_1(&worker), Signal::KILL).unwrap();
    wait_until("the hub knows", || {
        http::get(hub.address, "/api/items/7").status == 503
    });
}

fn a_hub_that_is_process_1_stays_so_through_upgrades(io: &str) {
    let folder = Folder::new();
    let Some(contained) = contained(&folder) else {
        return;
    };
    let mut hub = HubPart::start(&contained, &["--io", io]);
    let init = process_1(&hub.part);
    let _worker = hub.start_worker("echo", "echo");
    for upgrade in 0..2 {
        kill_process(init, Signal::USR2).unwrap();
        // The log has its number in the namespace.
        wait_until("a new hub has taken over", || {
            hub.part.log().matches("a new hub has taken over").count() == upgrade + 1
        });
        hub.part
            .wait_for_log("this process stays for the hub that serves");
        assert_eq!(http::get(hub.address, "/api/items/7").text(), "item 7");
    }
    kill_process(init, Signal::TERM).unwrap();
    assert!(hub.part.wait().success(), "{}", hub.part.log());
    assert!(std::net::TcpStream::connect(hub.address).is_err());
}

fn a_worker_whose_filter_kills_for_sched_setaffinity_serves(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = hub.start_worker("echo-without-affinity", "echo");
    // Enough quick requests on end that the worker would keep to the reactor's core.
    for _ in 0..3000 {
        assert_eq!(http::get(hub.address, "/api/items/7").text(), "item 7");
    }
    assert_eq!(
        hub.part.log().matches("attached worker").count(),
        1,
        "{}",
        worker.log()
    );
}
