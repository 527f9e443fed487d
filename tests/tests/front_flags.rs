//! What the flags of the HTTP front end do: limits, addresses, trusted proxies.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::http_corpus::PATH;
use slotway_tests::system::{Folder, HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn start(io: &str, role: &str, flags: &[&str]) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, role, flags)
}

slotway_tests::on_each_engine! {
    a_connection_is_closed_after_its_share_of_requests
    connections_beyond_the_limit_wait_until_there_is_room
    limits_of_line_head_and_fields_are_those_of_the_flags
    it_listens_on_several_addresses_and_on_a_unix_socket_whose_file_goes_with_it
    what_a_trusted_proxy_says_is_believed_and_what_others_say_does_not_reach_the_worker
    reactors_keep_to_the_cores_that_they_are_given
}

fn a_connection_is_closed_after_its_share_of_requests(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--requests-per-connection", "2"]);
    let mut connection = Connection::open(hub.address);
    for expected in [None, Some("close")] {
        connection.send(format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let response = connection.read_response("GET").unwrap();
        assert_eq!(response.field("connection"), expected);
    }
    assert!(connection.is_closed());
}

fn connections_beyond_the_limit_wait_until_there_is_room(io: &str) {
    let (hub, _worker) = start(io, "odd", &["--connections-max", "3"]);
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = Connection::open(hub.address);
            connection.send(format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert_eq!(connection.read_response("GET").unwrap().status, 200);
            connection
        })
        .collect();
    let mut waiting = Connection::open(hub.address);
    waiting.send(format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"));
    hub.part.wait_for_log("the connection limit is reached");
    waiting
        .stream()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(
        waiting.read_response("GET").is_err(),
        "answered beyond the limit"
    );
    waiting.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    drop(held);
    assert_eq!(waiting.read_response("GET").unwrap().status, 200);
}

fn limits_of_line_head_and_fields_are_those_of_the_flags(io: &str) {
    let flags = [
        "--line-bytes-max",
        "200",
        "--head-bytes-max",
        "1000",
        "--fields-max",
        "5",
    ];
    let (hub, _worker) = start(io, "odd", &flags);
    let status = |line: usize, fields: usize, value: usize| {
        let path = format!("{PATH}/{}", "x".repeat(line - PATH.len() - 14));
        let field = format!("X-A: {}\r\n", "b".repeat(value));
        let mut connection = Connection::open(hub.address);
        connection.send(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n",
            field.repeat(fields)
        ));
        connection.read_response("GET").unwrap().status
    };
    assert_eq!(status(200, 4, 10), 200);
    assert_eq!(status(201, 4, 10), 414);
    assert_eq!(status(100, 5, 10), 431);
    assert_eq!(status(100, 4, 250), 431);
}

fn it_listens_on_several_addresses_and_on_a_unix_socket_whose_file_goes_with_it(io: &str) {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name);
    let (http_socket, attach) = (file("http.sock"), file("attach.sock"));
    let unix = format!("unix:{}", http_socket.display());
    let flags = [
        "--io",
        io,
        "--reactors",
        "2",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::ffff:127.0.0.1]:0",
        "--listen",
        &unix,
        "--socket",
        attach.to_str().unwrap(),
    ];
    let mut hub = Part::start(program(), "hub", &flags);
    let line = hub.first_line();
    assert!(line.contains(&unix), "{line}");
    let addresses: Vec<SocketAddr> = line
        .split("http://")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2, "{line}");
    for address in &addresses {
        assert_eq!(http::get(*address, "/health").status, 200, "{address}");
    }
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&http_socket).unwrap();
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    hub.signal(Signal::TERM);
    assert_eq!(hub.wait().code(), Some(0));
    assert!(!http_socket.exists() && !attach.exists());
}

fn what_a_trusted_proxy_says_is_believed_and_what_others_say_does_not_reach_the_worker(io: &str) {
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n\
         X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\r\n"
    );
    for (flags, peer, scheme, is_seen) in [
        (&[][..], "127.0.0.1", "http", true),
        (
            &["--trusted-proxy", "127.0.0.0/8"][..],
            "192.0.2.7",
            "https",
            true,
        ),
        (
            &["--trusted-proxy", "10.0.0.0/8"][..],
            "127.0.0.1",
            "http",
            false,
        ),
    ] {
        let (hub, _worker) = start(io, "odd", flags);
        let mut connection = Connection::open(hub.address);
        connection.send(&request);
        let response = connection.read_response("GET").unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(
            (&seen["peer"], &seen["scheme"]),
            (&peer.into(), &scheme.into()),
            "{flags:?}"
        );
        for name in ["x-forwarded-for", "x-forwarded-proto", "forwarded"] {
            assert_eq!(
                seen["headers"].get(name).is_some(),
                is_seen,
                "{name} {flags:?}"
            );
        }
    }
}

fn reactors_keep_to_the_cores_that_they_are_given(io: &str) {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let cores_of = |status: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    let first = cores_of(&own).split(['-', ',']).next().unwrap().to_owned();
    for (affinity, expected) in [(&*first, &*first), ("off", &*cores_of(&own))] {
        let flags = ["--reactors", "2", "--affinity", affinity];
        let (hub, _worker) = start(io, "odd", &flags);
        assert_eq!(http::get(hub.address, PATH).status, 200);
        let tasks = format!("/proc/{}/task", hub.part.pid().as_raw_nonzero());
        let tasks = std::fs::read_dir(tasks).unwrap().flatten();
        let names = tasks.map(|task| {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            (read("comm"), read("status"))
        });
        let reactors = names.filter(|(name, _)| name.starts_with("reactor-"));
        let cores: Vec<_> = reactors.map(|(_, status)| cores_of(&status)).collect();
        assert_eq!(cores, [expected, expected], "--affinity {affinity}");
    }
    let mut wrong = Part::start(
        program(),
        "hub",
        &["--io", io, "--port", "0", "--affinity", "1023"],
    );
    assert!(!wrong.wait().success());
    wrong.wait_for_log("--affinity: core 1023 is not one of those that this process may use");
}
