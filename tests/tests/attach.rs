//! The attach socket and the registration, by workers that do it wrong. The
//! hub must refuse with a reason and lose nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use slotway_shm_proto::message::{FromHub, Hello, Refusal};
use slotway_shm_proto::packet;
use slotway_shm_proto::registration::NotRegistered;
use slotway_tests::fake_worker::{connect, hello, register};
use slotway_tests::http;
use slotway_tests::system::{HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// What the hub says to a packet; `None` when it just closes.
fn say(hub: &HubPart, packet: &[u8]) -> Option<FromHub> {
    let socket = connect(hub);
    packet::send(&socket, packet, &[]).unwrap();
    receive(&socket)
}

fn receive(socket: &OwnedFd) -> Option<FromHub> {
    let packet = packet::receive(socket).unwrap();
    (!packet.bytes.is_empty()).then(|| FromHub::from_packet(&packet.bytes).unwrap())
}

#[test]
fn every_wrong_hello_gets_its_refusal_and_leaves_nothing_behind() {
    let hub = HubPart::start(program(), &[]);
    let refused = |why| Some(FromHub::Refused(why));
    // Once it has answered one, everything of the hub's own is open.
    assert_eq!(say(&hub, b"first"), refused(Refusal::Garbage));
    let fds_before = hub.part.open_fd_count();
    for _ in 0..20 {
        assert_eq!(
            say(&hub, b"GET / HTTP/1.1\r\n\r\n"),
            refused(Refusal::Garbage)
        );
        assert_eq!(say(&hub, &[0xff; 250]), refused(Refusal::Garbage));
        assert_eq!(say(&hub, &[7; 5000]), refused(Refusal::Garbage));
        assert_eq!(
            say(&hub, &hello([b'0'; 32])[..30]),
            refused(Refusal::Garbage)
        );
        assert_eq!(
            say(&hub, &hello([b'0'; 32])),
            refused(Refusal::UnknownWorkerId)
        );
        assert_eq!(
            say(&hub, &hello([0xff; 32])),
            refused(Refusal::UnknownWorkerId)
        );
        let mut other_version = hello([b'0'; 32]);
        other_version[8] ^= 0x40;
        assert_eq!(say(&hub, &other_version), refused(Refusal::LayoutVersion));
        let none = Hello {
            worker_id: [b'0'; 32],
            thread_count: 0,
        }
        .to_packet();
        assert_eq!(say(&hub, &none), refused(Refusal::ThreadCount));
        let many = Hello {
            worker_id: [b'0'; 32],
            thread_count: 65,
        }
        .to_packet();
        assert_eq!(say(&hub, &many), refused(Refusal::ThreadCount));
    }
    hub.part.await_fds(fds_before);
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
}

#[test]
fn a_hello_with_descriptors_is_refused_and_they_are_closed() {
    let hub = HubPart::start(program(), &[]);
    let id = register(&hub, "w", "/w");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let socket = connect(&hub);
    let fds: Vec<_> = std::iter::repeat_n(write.as_fd(), 60).collect();
    packet::send(&socket, &hello(id), &fds).unwrap();
    assert_eq!(receive(&socket), Some(FromHub::Refused(Refusal::Garbage)));
    drop(write);
    // End of file: no copy of the writing end is open any more.
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0));
}

#[test]
fn a_worker_id_is_good_for_one_attachment() {
    let hub = HubPart::start(program(), &[]);
    let id = register(&hub, "w", "/w");
    assert!(
        !hub.health().contains("\"w\""),
        "registering alone makes nothing live"
    );
    assert_eq!(http::get(hub.address, "/w").status, 404);
    let socket = connect(&hub);
    packet::send(&socket, &hello(id), &[]).unwrap();
    let welcome = packet::receive(&socket).unwrap();
    assert!(matches!(
        FromHub::from_packet(&welcome.bytes),
        Ok(FromHub::Welcome { .. })
    ));
    assert_eq!(
        welcome.fds.len(),
        3,
        "two regions and the eventfd of one lane"
    );
    assert_eq!(
        say(&hub, &hello(id)),
        Some(FromHub::Refused(Refusal::UnknownWorkerId))
    );
    assert!(hub.health().contains("\"w\""));
    drop(socket);
    let start = std::time::Instant::now();
    while hub.health().contains("\"w\"") {
        assert!(
            start.elapsed() < PATIENCE,
            "a closed connection ends the session"
        );
    }
}

#[test]
fn a_registration_that_waits_too_long_has_expired() {
    let hub = HubPart::start(program(), &[]);
    let id = register(&hub, "late", "/late");
    hub.part.wait_for_log("did not attach in time");
    assert_eq!(
        say(&hub, &hello(id)),
        Some(FromHub::Refused(Refusal::Expired))
    );
}

#[test]
fn a_peer_that_says_nothing_is_closed_and_holds_nobody_up() {
    let hub = HubPart::start(program(), &[]);
    let silent: Vec<_> = (0..50).map(|_| connect(&hub)).collect();
    let _worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    for socket in silent {
        assert!(packet::receive(&socket).unwrap().bytes.is_empty());
    }
}

#[test]
fn a_session_that_sends_more_than_hello_is_ended() {
    let hub = HubPart::start(program(), &[]);
    let id = register(&hub, "w", "/w");
    let socket = connect(&hub);
    packet::send(&socket, &hello(id), &[]).unwrap();
    packet::receive(&socket).unwrap();
    packet::send(&socket, b"more", &[]).unwrap();
    hub.part.wait_for_log("it sent an unexpected message");
}

#[test]
fn another_user_is_refused_even_where_the_file_lets_it_in() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can become another user; the socket's mode is tested elsewhere");
        return;
    }
    let hub = HubPart::start(program(), &[]);
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&hub.socket, 0o666);
    open(hub.socket.parent().unwrap(), 0o755);
    // "nobody" connects, which the file's mode lets it.
    let script = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n\
        s.connect(sys.argv[1])\nsys.stdout.buffer.write(s.recv(256))";
    let output = std::process::Command::new("python3")
        .args(["-c", script, hub.socket.to_str().unwrap()])
        .uid(65_534)
        .output();
    let Ok(output) = output else {
        eprintln!("no python3 here to play the other user");
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let refused = NotRegistered::from_packet(&output.stdout).unwrap().unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(refused.status, 403);
    for user in [format!("as user {own}"), "as user 65534".to_owned()] {
        assert!(refused.text.contains(&user), "{}", refused.text);
    }
}

#[test]
fn a_bad_registration_is_400_with_the_field_and_a_conflicting_one_409() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("echo", "echo");
    let post =
        |body: &str| http::request(hub.address, "POST", "/internal/register", body.as_bytes());
    let empty_name = post(r#"{"name":"","routes":[{"method":"GET","path":"/x"}]}"#);
    assert_eq!(empty_name.status, 400);
    assert!(
        empty_name.text().contains(r#""field":"name""#),
        "{}",
        empty_name.text()
    );
    let bad_path = post(r#"{"name":"a","routes":[{"method":"GET","path":"/{x"}]}"#);
    assert_eq!(bad_path.status, 400);
    assert!(
        bad_path.text().contains(r#""field":"routes[0].path""#),
        "{}",
        bad_path.text()
    );
    let conflict = post(r#"{"name":"a","routes":[{"method":"GET","path":"/api/items/{other}"}]}"#);
    assert_eq!(conflict.status, 409);
    assert!(
        conflict.text().contains("/api/items/{id}"),
        "{}",
        conflict.text()
    );
    assert_eq!(post("not json").status, 400);
    assert_eq!(http::get(hub.address, "/internal/register").status, 405);
    assert_eq!(http::get(hub.address, "/internal/none").status, 404);
    assert_eq!(
        hub.health().matches("worker_id").count(),
        1,
        "nothing half-registered"
    );
}

#[test]
fn health_has_the_shape_that_the_seed_gave_it() {
    let hub = HubPart::start(program(), &[]);
    assert_eq!(hub.health().trim(), r#"{"ok":true,"workers":[]}"#);
    let _worker = hub.start_worker("echo", "echo");
    let health: serde_json::Value = serde_json::from_str(&hub.health()).unwrap();
    let worker = &health["workers"][0];
    assert_eq!(
        (&worker["name"], &worker["route_count"]),
        (&"echo".into(), &4.into())
    );
    assert_eq!(worker["transport"], "shm");
    assert_eq!(worker["worker_id"].as_str().unwrap().len(), 32);
}

#[test]
fn a_worker_with_a_route_that_cannot_be_ends_with_the_hubs_reason() {
    let hub = HubPart::start(program(), &[]);
    let mut worker = Part::start(program(), "echo", &[&hub.url(), "bad\nname"]);
    assert!(!worker.wait().success());
    worker.wait_for_log("the hub refused the registration with 400");
}
