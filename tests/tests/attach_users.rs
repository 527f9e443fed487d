//! Workers of other users than the hub's: who may attach, and as what. These tests need root,
//! to become somebody else, and say so where they cannot.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use slotway_tests::fake_worker::connect;
use slotway_tests::http;
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, Over, wait_until};
use slotway_tests::users::{NOBODY, as_user};
use slotway_worker_sdk::{HubWorker, SseEvent, SseTarget};

slotway_tests::on_each_engine! {
    a_named_users_worker_attaches_and_serves_through_an_upgrade
    a_member_of_a_named_group_attaches
    another_users_worker_neither_replaces_nor_joins_one
    a_user_registers_what_the_rules_allow_and_a_reload_changes_them
    another_user_takes_no_workers_place_while_a_hub_takes_over
    another_users_worker_pushes_events_if_it_may
    a_users_silent_connections_keep_nobody_else_out
    a_unix_listener_is_open_to_its_group_and_not_its_internal_paths
}

/// Users and a group without names.
const SHOP: u32 = 61_001;
const SHOP_GROUP: u32 = 61_002;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// A hub whose attach socket's folder lets everybody in; the socket may not.
fn open_hub(io: &str, flags: &[&str]) -> HubPart {
    let hub = HubPart::start(program(), &[&["--io", io], flags].concat());
    let folder = hub.socket.parent().expect("a folder");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    hub
}

fn worker(hub: &HubPart, name: &str, path: &str) -> HubWorker<()> {
    HubWorker::new(&hub.url(), name, ())
        .hub_socket(&hub.socket)
        .get(path, || "served")
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

fn a_named_users_worker_attaches_and_serves_through_an_upgrade(io: &str) {
    let shop = SHOP.to_string();
    let hub = open_hub(io, &["--attach-user", &shop]);
    assert_eq!(mode_of(&hub.socket), 0o666, "the system says who attaches");
    let started = as_user(SHOP, &[], || worker(&hub, "shop", "/shop").start().unwrap());
    let Some(running) = started else { return };
    wait_until("it is attached", || hub.health().contains("shop"));
    assert_eq!(http::get(hub.address, "/shop").text(), "served");
    let successor = Successor::take_over(&hub, hub.part.pid());
    wait_until("it has moved", || hub.health().contains("shop"));
    assert_eq!(http::get(hub.address, "/shop").text(), "served");
    // Commands are not for it.
    let asked = as_user(SHOP, &[], || {
        Command::new(program())
            .args(["role", "hub", "workers", "--socket"])
            .arg(&hub.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let asked = asked.expect("it was root before");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(
        !asked.status.success() && said.contains("commands are for"),
        "{said}"
    );
    running.stop();
    running.wait().unwrap();
    drop(successor);
}

fn a_member_of_a_named_group_attaches(io: &str) {
    let group = SHOP_GROUP.to_string();
    let flags = ["--attach-group", &group, "--socket-group", &group];
    let hub = open_hub(io, &flags);
    assert_eq!(mode_of(&hub.socket), 0o660);
    assert_eq!(std::fs::metadata(&hub.socket).unwrap().gid(), SHOP_GROUP);
    let started = as_user(SHOP, &[SHOP_GROUP], || {
        worker(&hub, "shop", "/shop").start().unwrap()
    });
    let Some(running) = started else { return };
    wait_until("it is attached", || hub.health().contains("shop"));
    assert_eq!(http::get(hub.address, "/shop").text(), "served");
    running.stop();
    running.wait().unwrap();
    // Who is no member does not even reach it.
    let refused = as_user(SHOP, &[], || worker(&hub, "w", "/w").run_blocking());
    let refused = refused
        .expect("it was root before")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("may not use the attach socket"),
        "{refused}"
    );
}

#[test]
fn a_refusal_says_who_was_refused_and_which_flag_would_let_it_in() {
    let hub = open_hub("epoll", &["--socket-mode", "0666"]);
    let refused = as_user(SHOP, &[], || worker(&hub, "shop", "/shop").run_blocking());
    let Some(refused) = refused else { return };
    let refused = refused.unwrap_err().to_string();
    for part in ["403", &format!("--attach-user {SHOP}"), "as user 61001"] {
        assert!(refused.contains(part), "{refused}");
    }
    hub.part.wait_for_log("attach refused");
}

fn another_users_worker_neither_replaces_nor_joins_one(io: &str) {
    let shop = SHOP.to_string();
    let hub = open_hub(io, &["--attach-user", &shop]);
    let _own = hub.start_worker("echo", "echo");
    let refused = |worker: HubWorker<()>| {
        let ended = as_user(SHOP, &[], || worker.run_blocking());
        ended.map(|ended| ended.unwrap_err().to_string())
    };
    let Some(replaces) = refused(worker(&hub, "echo", "/other")) else {
        return;
    };
    assert!(replaces.contains("runs as user 0"), "{replaces}");
    let joins = refused(worker(&hub, "echo", "/other").instance()).unwrap();
    assert!(joins.contains("choose another name"), "{joins}");
    let open = worker(&hub, "open", "/open")
        .share_routes()
        .start()
        .unwrap();
    wait_until("it is attached", || hub.health().contains("open"));
    let shares = refused(worker(&hub, "mine", "/open").share_routes()).unwrap();
    assert!(shares.contains("of user 0"), "{shares}");
    open.stop();
    open.wait().unwrap();
    assert_eq!(http::get(hub.address, "/api/items/1").text(), "item 1");
    // The hub's own user may replace what it likes.
    let started = as_user(SHOP, &[], || worker(&hub, "shop", "/shop").start().unwrap());
    wait_until("it is attached", || hub.health().contains("shop"));
    let own = worker(&hub, "shop", "/own").start().unwrap();
    started.unwrap().wait().unwrap();
    assert_eq!(http::get(hub.address, "/own").text(), "served");
    own.stop();
    own.wait().unwrap();
}

fn a_user_registers_what_the_rules_allow_and_a_reload_changes_them(io: &str) {
    let folder = Folder::new();
    let path = folder.path().join("hub.toml");
    let rules = format!(
        "[[attach]]\nuser = {SHOP}\nnames = [\"shop\"]\n\
         routes = [\"/shop\", \"/shop/{{*rest}}\"]\n"
    );
    // Nobody else at first.
    std::fs::write(&path, "").unwrap();
    let hub = open_hub(io, &["--config", path.to_str().unwrap()]);
    assert_eq!(mode_of(&hub.socket), 0o600);
    std::fs::write(&path, &rules).unwrap();
    hub.part.signal(rustix::process::Signal::HUP);
    wait_until("the file is open", || mode_of(&hub.socket) == 0o666);
    hub.part.wait_for_log("taken: [[attach]]");
    let run = |user: u32, worker: HubWorker<()>| {
        let ended = as_user(user, &[], || worker.run_blocking());
        ended.map(|ended| ended.unwrap_err().to_string())
    };
    let Some(refused) = run(SHOP, worker(&hub, "shop", "/pay")) else {
        return;
    };
    assert!(
        refused.contains("403") && refused.contains("may not serve GET /pay"),
        "{refused}"
    );
    let refused = run(SHOP, worker(&hub, "pay", "/shop")).unwrap();
    assert!(refused.contains("may have the names shop"), "{refused}");
    let refused = run(NOBODY, worker(&hub, "shop", "/shop")).unwrap();
    assert!(refused.contains("--attach-user 65534"), "{refused}");
    let running = as_user(SHOP, &[], || {
        worker(&hub, "shop", "/shop/{id}").start().unwrap()
    });
    wait_until("it is attached", || hub.health().contains("\"shop\""));
    assert_eq!(http::get(hub.address, "/shop/1").text(), "served");
    // Another user, without a new start.
    std::fs::write(&path, format!("{rules}[[attach]]\nuser = {NOBODY}\n")).unwrap();
    hub.part.signal(rustix::process::Signal::HUP);
    wait_until("it is taken", || {
        hub.part.log().matches("taken: [[attach]]").count() == 2
    });
    let other = as_user(NOBODY, &[], || {
        worker(&hub, "other", "/pay").start().unwrap()
    });
    wait_until("it is attached", || hub.health().contains("\"other\""));
    // And the first no more: its worker finishes what it has, and the others stay.
    std::fs::write(&path, format!("[[attach]]\nuser = {NOBODY}\n")).unwrap();
    hub.part.signal(rustix::process::Signal::HUP);
    hub.part.wait_for_log("its user may not attach any more");
    running.unwrap().wait().unwrap();
    assert_eq!(http::get(hub.address, "/pay").text(), "served");
    let other = other.unwrap();
    other.stop();
    other.wait().unwrap();
}

fn another_user_takes_no_workers_place_while_a_hub_takes_over(io: &str) {
    let shop = SHOP.to_string();
    let hub = open_hub(io, &["--attach-user", &shop]);
    let _own = hub.start_worker("echo", "echo");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // It tries without a pause to be the worker, or one more of them.
        let tries = scope.spawn(|| {
            as_user(SHOP, &[], || {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let other = worker(&hub, "echo", "/other").instance().start();
                    let other = other.unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    other.stop();
                    let _ = other.wait();
                }
            })
        });
        let over = Over(&is_over);
        let count = |text: &str| hub.part.log().matches(text).count();
        let mut serving = hub.part.pid();
        let mut successors = Vec::new();
        for upgrade in 1..=3 {
            let successor = Successor::take_over(&hub, serving);
            // Each hub has a log of its own, whose lines come when they come.
            wait_until("it has taken over", || {
                count("a new hub has taken over") == upgrade
                    && count("attached worker=\"echo\"") > upgrade
            });
            serving = successor.pid();
            successors.push(successor);
        }
        drop(over);
        tries.join().unwrap();
        // Once at each hub, and nobody else.
        let log = hub.part.log();
        assert_eq!(count("attached worker=\"echo\""), 4, "{log}");
    });
}

fn another_users_worker_pushes_events_if_it_may(io: &str) {
    let folder = Folder::new();
    let path = folder.path().join("hub.toml");
    let rule = |user: u32, name: &str, events: bool| {
        format!("[[attach]]\nuser = {user}\nnames = [\"{name}\"]\nevents = {events}\n")
    };
    std::fs::write(
        &path,
        rule(SHOP, "shop", true) + &rule(NOBODY, "mute", false),
    )
    .unwrap();
    let hub = open_hub(io, &["--config", path.to_str().unwrap()]);
    let push = |user: u32, name: &str| {
        let pushed = as_user(user, &[], || {
            let worker = HubWorker::new(&hub.url(), name, ()).hub_socket(&hub.socket);
            let emitter = worker.emitter();
            let running = worker
                .sse(&format!("/{name}/stream"), || ())
                .start()
                .unwrap();
            wait_until("it is attached", || {
                hub.health().contains(&format!("{name:?}"))
            });
            // Nobody listens: 404 says that it might have.
            let pushed = emitter.push_blocking(
                &SseTarget::path(&format!("/{name}/stream")),
                &SseEvent::new("tick", "1"),
            );
            running.stop();
            running.wait().unwrap();
            pushed.unwrap_err().to_string()
        });
        pushed.unwrap_or_default()
    };
    let (may, may_not) = (push(SHOP, "shop"), push(NOBODY, "mute"));
    if rustix::process::geteuid().is_root() {
        assert!(may.contains("404"), "{may}");
        assert!(may_not.contains("403"), "{may_not}");
    }
}

fn a_users_silent_connections_keep_nobody_else_out(io: &str) {
    let users = format!("{SHOP},{NOBODY}");
    let hub = open_hub(io, &["--attach-user", &users]);
    // More than are heard at a time; each may say nothing for two seconds.
    let silent = as_user(SHOP, &[], || {
        (0..256).map(|_| connect(&hub)).collect::<Vec<_>>()
    });
    let Some(silent) = silent else { return };
    let running = as_user(NOBODY, &[], || worker(&hub, "other", "/x").start().unwrap());
    wait_until("it is attached", || hub.health().contains("other"));
    // All of them were there until then.
    assert!(!hub.part.log().contains("sent nothing in time"));
    let _own = hub.start_worker("echo", "echo");
    drop(silent);
    let running = running.unwrap();
    running.stop();
    running.wait().unwrap();
}

fn a_unix_listener_is_open_to_its_group_and_not_its_internal_paths(io: &str) {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{},mode=0660,group={SHOP_GROUP}", path.display());
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let flags = ["--io", io, "--listen", "127.0.0.1:0", "--listen", &listen];
    let hub = HubPart::start_listening(program(), &flags);
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(
        (mode_of(&path), std::fs::metadata(&path).unwrap().gid()),
        (0o660, SHOP_GROUP)
    );
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let get = |path: &str| {
        ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ))
    };
    let of_group = as_user(SHOP, &[SHOP_GROUP], || {
        (
            get("/api/items/1").unwrap(),
            get("/internal/slots").unwrap(),
        )
    });
    let (item, slots) = of_group.expect("it is root");
    assert!(item.ends_with("item 1"), "{item}");
    assert!(
        slots.starts_with("HTTP/1.1 403"),
        "a proxy's user registers nobody: {slots}"
    );
    assert!(get("/internal/slots").unwrap().starts_with("HTTP/1.1 200"));
    let stranger = as_user(SHOP, &[], || get("/api/items/1"));
    assert!(stranger.expect("it is root").is_err());
}

#[test]
fn users_and_groups_that_do_not_exist_are_errors_at_the_start() {
    for (flags, why) in [
        (["--attach-user", "no-such-user"], "no user of this name"),
        (["--attach-group", "no-such-group"], "no group of this name"),
        (["--socket-group", "no-such-group"], "no group of this name"),
        (["--socket-mode", "rw"], "permissions like 0660"),
        (
            ["--listen", "unix:/tmp/x,group=no-such-group"],
            "no group of this name",
        ),
    ] {
        let output = Command::new(program())
            .args(["role", "hub"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && said.contains(flags[0]), "{said}");
    }
}
