//! Hub and workers in containers that share a folder: in PID namespaces of their own, and by runc with the
//! seccomp profiles that there are.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use slotway_tests::container::{Container, DEFAULT_PROFILE};
use slotway_tests::http;
use slotway_tests::system::{Folder, HubPart, Part, wait_until, write_script};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
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

fn own_profile() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/seccomp.json")
}

/// A request over a Unix socket; what came.
fn ask(socket: &Path, request: &[u8]) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(request)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn our_seccomp_profile_is_the_usual_one_and_the_three_calls_of_a_ring() {
    if !Path::new(DEFAULT_PROFILE).exists() {
        println!("skipped: {DEFAULT_PROFILE} is not here (golang-github-containers-common)");
        return;
    }
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let (usual, mut own) = (read(Path::new(DEFAULT_PROFILE)), read(&own_profile()));
    let added = own["syscalls"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(own, usual);
    let calls = ["io_uring_enter", "io_uring_register", "io_uring_setup"];
    assert_eq!(added["names"], serde_json::json!(calls));
}

#[test]
fn hub_and_worker_of_other_users_in_containers_share_a_folder_alone() {
    if !rustix::process::geteuid().is_root() || !slotway_tests::has_program("runc") {
        println!("skipped: this test needs root and runc");
        return;
    }
    let programs = program().parent().unwrap();
    for (profile, engine) in [
        (PathBuf::from(DEFAULT_PROFILE), "engine epoll"),
        (own_profile(), "engine io_uring"),
    ] {
        let shared = Folder::new();
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(shared.path(), all).unwrap();
        let folders = (programs, shared.path());
        let listen = "unix:/shared/http.sock,mode=0666";
        let arguments = ["/programs/demo", "role", "hub", "--listen", listen];
        let flags = ["--socket", "/shared/attach.sock", "--attach-user", "61001"];
        let arguments = [&arguments[..], &flags].concat();
        let hub = Container::run(folders, 61_000, &profile, &arguments, &[]);
        let socket = shared.path().join("http.sock");
        wait_until("the hub serves", || hub.log().contains("attach socket"));
        assert!(hub.log().contains(engine), "{}", hub.log());
        let arguments = [
            "/programs/demo",
            "role",
            "echo",
            "http://127.0.0.1:1",
            "echo",
        ];
        let variables = ["HUB_SOCKET=/shared/attach.sock", "HUB_USER=61000"];
        let worker = Container::run(folders, 61_001, &profile, &arguments, &variables);
        let get = b"GET /api/items/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        wait_until("the worker serves", || {
            ask(&socket, get).is_ok_and(|text| text.ends_with("item 7"))
        });
        let body = "x".repeat(1_000_000);
        let length = body.len();
        let post = format!(
            "POST /api/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let echoed = ask(&socket, post.as_bytes()).unwrap();
        assert!(echoed.ends_with(&body), "{echoed:.200}");
        assert!(worker.log().contains("attached"), "{}", worker.log());
    }
}
