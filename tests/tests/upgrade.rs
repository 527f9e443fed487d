//! A hub that hands over to a new one: nothing is refused or lost, and if the new one
//! fails, nothing has happened.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, kill_process, test_kill_process};
use slotway_tests::http;
use slotway_tests::ledger::{Crowd, Ledger};
use slotway_tests::repeats;
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, Part, wait_until, write_script};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    upgrades_under_load_refuse_and_lose_nothing
    an_upgrade_that_fails_leaves_the_hub_as_it_was
    after_an_upgrade_the_sockets_are_the_new_hub_s
    a_symlink_that_was_switched_is_followed
    an_upgrade_that_no_worker_follows_leaves_the_hub_as_it_was
    one_worker_that_does_not_follow_cannot_stop_an_upgrade_and_may_come_later
    a_program_that_is_still_being_written_is_named_as_such
    the_process_that_a_supervisor_knows_stays_through_upgrades
}

fn start_ledger_worker(hub: &HubPart, ledger: &Ledger, name: &str) -> Part {
    let log = ledger.log().to_str().expect("a path of ours");
    hub.start_worker_with("ledger", name, &[log, "instance"])
}

fn upgrades_under_load_refuse_and_lose_nothing(io: &str) {
    let folder = Folder::new();
    let mut hub = HubPart::start(
        program(),
        &["--io", io, "--timeout", "10", "--reactors", "2"],
    );
    let log = folder.path().join("ledger.log");
    let ledger = Arc::new(Ledger::new(hub.address, &log, Duration::from_secs(10)));
    let _workers = [
        start_ledger_worker(&hub, &ledger, "pair"),
        start_ledger_worker(&hub, &ledger, "pair"),
    ];
    let crowd = Crowd::start(&ledger, 4);
    let mut current = Successor::take_over(&hub, hub.part.pid());
    assert!(hub.part.wait().success(), "the first has drained");
    for _ in 1..repeats(4) {
        std::thread::sleep(Duration::from_millis(200));
        let next = Successor::take_over(&hub, current.pid());
        let old = std::mem::replace(&mut current, next);
        old.await_end();
    }
    std::thread::sleep(Duration::from_millis(200));
    crowd.stop();
    let account = ledger.close();
    println!("{account}");
    assert!(account.is_clean(), "{account}\n{}", hub.part.log());
    assert_eq!(
        (account.refused(), account.cut),
        (0, 0),
        "{account}\n{}",
        hub.part.log()
    );
    assert!(account.requests > 100, "{account}");
}

/// By another process: a descriptor that is open for writing here would be inherited
/// by whatever another test starts just then, and the copy could not be executed.
fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(program()).arg(to).status();
    assert!(copied.expect("cp is there").success());
}

fn an_upgrade_that_fails_leaves_the_hub_as_it_was(io: &str) {
    let folder = Folder::new();
    let copy: PathBuf = folder.path().join("hub");
    copy_program(&copy);
    let hub = HubPart::start(&copy, &["--io", io]);
    let log = folder.path().join("ledger.log");
    let ledger = Ledger::new(hub.address, &log, Duration::from_secs(30));
    let _worker = start_ledger_worker(&hub, &ledger, "one");
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &copy).unwrap();
    };
    // One that ends at once, one that is no program, and one that says nonsense.
    let failing = [
        "#!/bin/sh\nexit 1\n",
        "no program",
        "#!/bin/sh\necho hello >&0\n",
    ];
    for (nth, text) in failing.into_iter().enumerate() {
        replace(text);
        hub.part.signal(Signal::USR2);
        wait_until("it is told", || {
            hub.part.log().matches("upgrade failed").count() == nth + 1
        });
        assert_eq!(http::get(hub.address, "/ledger/0").status, 200);
        assert!(hub.socket.exists(), "the attach socket is still there");
    }
    // Workers attach as before.
    copy_program(&folder.path().join("again"));
    std::fs::rename(folder.path().join("again"), &copy).unwrap();
    let _another = start_ledger_worker(&hub, &ledger, "two");
    assert!(hub.health().contains("\"two\"") && hub.health().contains("\"one\""));
}

fn after_an_upgrade_the_sockets_are_the_new_hub_s(io: &str) {
    let folder = Folder::new();
    let mut hub = HubPart::start(program(), &["--io", io]);
    let log = folder.path().join("ledger.log");
    let ledger = Ledger::new(hub.address, &log, Duration::from_secs(30));
    let mut one = start_ledger_worker(&hub, &ledger, "one");
    let new = Successor::take_over(&hub, hub.part.pid());
    assert!(hub.part.wait().success());
    assert!(hub.socket.exists(), "the old one has left the file");
    assert_eq!(http::get(hub.address, "/ledger/0").status, 200);
    // Who comes now attaches to the new one, and who was there can leave it.
    let _two = start_ledger_worker(&hub, &ledger, "two");
    assert!(hub.health().contains("\"two\""));
    one.signal(Signal::TERM);
    assert!(one.wait().success());
    wait_until("one has left", || !hub.health().contains("\"one\""));
    assert_eq!(http::get(hub.address, "/ledger/0").status, 200);
    // A second hub is still refused, by the listeners that were handed over.
    let port = hub.address.port().to_string();
    let own = folder.path().join("own.sock");
    let own = own.to_str().expect("a path of ours");
    let mut second = Part::start(program(), "hub", &["--port", &port, "--socket", own]);
    assert!(!second.wait().success());
    second.wait_for_log("is in use by another hub or program");
    kill_process(new.pid(), Signal::TERM).unwrap();
    wait_until("the new one has gone, and its file", || {
        !hub.socket.exists()
    });
    let is_gone = || test_kill_process(new.pid()).is_err() || !hub.socket.exists();
    assert!(is_gone());
}

fn a_symlink_that_was_switched_is_followed(io: &str) {
    let folder = Folder::new();
    let (link, next) = (folder.path().join("current"), folder.path().join("next"));
    let marker = folder.path().join("marker");
    let script = format!(
        "#!/bin/sh\necho x > {}\nexec {} \"$@\"\n",
        marker.display(),
        program().display()
    );
    write_script(&next, &script);
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let mut hub = HubPart::start(&link, &["--io", io]);
    let _worker = hub.start_worker("echo", "echo");
    // As deploys do: another link in its place, at once.
    let switched = folder.path().join("switched");
    std::os::unix::fs::symlink(&next, &switched).unwrap();
    std::fs::rename(&switched, &link).unwrap();
    let _new = Successor::take_over(&hub, hub.part.pid());
    assert!(hub.part.wait().success(), "{}", hub.part.log());
    assert!(marker.exists(), "the old program was started again");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

fn an_upgrade_that_no_worker_follows_leaves_the_hub_as_it_was(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let stopped = hub.start_worker_with("site", "stopped", &["/site"]);
    stopped.suspend();
    hub.part.signal(Signal::USR2);
    hub.part
        .wait_for_log("the upgrade failed; this hub goes on: cannot take over: 0 of the 1 workers");
    stopped.signal(Signal::CONT);
    assert_eq!(http::get(hub.address, "/site/x").text(), "stopped /x");
    assert!(hub.health().contains("\"stopped\""));
}

fn one_worker_that_does_not_follow_cannot_stop_an_upgrade_and_may_come_later(io: &str) {
    let mut hub = HubPart::start(program(), &["--io", io]);
    let _echo = hub.start_worker("echo", "echo");
    let stopped = hub.start_worker_with("site", "stopped", &["/site"]);
    stopped.suspend();
    let _new = Successor::take_over(&hub, hub.part.pid());
    hub.part.wait_for_log("1 of 2 workers have not attached");
    assert!(hub.part.wait().success());
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    assert_eq!(http::get(hub.address, "/site/x").status, 503);
    stopped.signal(Signal::CONT);
    wait_until("it has come", || {
        http::get(hub.address, "/site/x").text() == "stopped /x"
    });
}

fn a_program_that_is_still_being_written_is_named_as_such(io: &str) {
    let folder = Folder::new();
    let (copy, new) = (folder.path().join("hub"), folder.path().join("new"));
    copy_program(&copy);
    let hub = HubPart::start(&copy, &["--io", io]);
    copy_program(&new);
    // Held by another process, as by a copy that is under way.
    let mut writer = Command::new("sh")
        .args(["-c", "exec sleep 60 >> \"$0\""])
        .arg(&new)
        .spawn()
        .unwrap();
    let is_open = || {
        let fd = std::fs::read_link(format!("/proc/{}/fd/1", writer.id()));
        fd.is_ok_and(|fd| fd == new)
    };
    wait_until("it is open for writing", is_open);
    std::fs::rename(&new, &copy).unwrap();
    hub.part.signal(Signal::USR2);
    hub.part.wait_for_log("is still open for writing");
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(http::get(hub.address, "/health").status, 200);
}

fn the_process_that_a_supervisor_knows_stays_through_upgrades(io: &str) {
    // As under systemd.
    let mut hub = HubPart::start_with_variable(program(), &["--io", io], ("INVOCATION_ID", "0123"));
    let _worker = hub.start_worker("echo", "echo");
    let mut current = None;
    for _ in 0..3 {
        let next = Successor::take_over(&hub, hub.part.pid());
        // A signal that is passed on to one that is just ending is lost with it.
        wait_until("the former has ended", || {
            current.as_ref().is_none_or(Successor::is_reaped)
        });
        hub.part
            .wait_for_log("this process stays for the hub that serves");
        assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
        current = Some(next);
    }
    hub.part.signal(Signal::TERM);
    assert!(hub.part.wait().success());
    assert!(current.unwrap().has_ended());
    assert!(std::net::TcpStream::connect(hub.address).is_err());
}

/// What an old hub of another release would hand over.
#[test]
fn a_hub_does_not_take_over_workers_of_another_layout() {
    use slotway_hub::lifecycle::handover::{self, Description, ENVIRONMENT};
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let worker = serde_json::json!({
        "worker_id": "x", "name": "old", "shares_routes": false, "started_ms": null,
        "routes": [],
    });
    let description = Description {
        layout_version: 7777,
        workers: vec![serde_json::from_value(worker).unwrap()],
        ..Description::default()
    };
    let new = Command::new(program())
        .args(["role", "hub"])
        .env(ENVIRONMENT, "stdin")
        .stdin(theirs)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    handover::send(&ours, &description, &[]).unwrap();
    let output = new.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("layout version 7777") && said.contains("rebuild the workers"),
        "{said}"
    );
}
