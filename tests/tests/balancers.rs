//! Hubs behind balancers: PROXY headers, agent checks, and three hubs behind a real `HAProxy` under load, one of
//! which is drained, upgraded or killed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::http::{self, Connection};
use slotway_tests::successor::Successor;
use slotway_tests::system::{Folder, HubPart, Over, Part, wait_until};

slotway_tests::on_each_engine! {
    a_client_is_whom_the_proxy_header_names
    what_begins_without_a_right_header_is_closed_counted_and_said_once
    a_balancer_is_told_of_load_and_of_leaving
    behind_haproxy_one_hub_of_three_is_drained_upgraded_and_killed
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// Version 2, of a client on TLS.
fn header_v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(20_u16.to_be_bytes());
    header.extend([192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    header.extend([0x20, 0, 5, 1, 0, 0, 0, 0]);
    header
}

const GET: &str = "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";

fn a_client_is_whom_the_proxy_header_names(io: &str) {
    let hub = HubPart::start(program(), &["--io", io, "--proxy-protocol", "127.0.0.0/8"]);
    let _worker = hub.start_worker("axum-service", "clients");
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n".to_vec();
    for header in [v1, header_v2()] {
        // In one piece, and byte by byte.
        for piece in [header.len() + GET.len(), 1] {
            let mut connection = Connection::open(hub.address);
            let bytes = [&header[..], GET.as_bytes()].concat();
            for piece in bytes.chunks(piece) {
                connection.send(piece);
            }
            let client = connection.read_response("GET").unwrap().text();
            assert_eq!(client, "192.0.2.7");
            // It is the connection's, for all of its requests.
            connection.send(GET);
            assert_eq!(connection.read_response("GET").unwrap().text(), client);
        }
    }
    // Who comes through a balancer may be anybody.
    let mut connection = Connection::open(hub.address);
    connection.send(
        [
            &header_v2()[..],
            b"GET /internal/slots HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ]
        .concat(),
    );
    let refused = connection.read_response("GET").unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    // The balancer itself is a client of this host.
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"[..], GET.as_bytes()].concat();
    let mut connection = Connection::open(hub.address);
    connection.send(local);
    let client = connection.read_response("GET").unwrap().text();
    assert_eq!(client, "127.0.0.1");
}

/// What comes before the other side closes.
fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // It may close in the middle of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

fn what_begins_without_a_right_header_is_closed_counted_and_said_once(io: &str) {
    let flags = [
        "--io",
        io,
        "--proxy-protocol",
        "127.0.0.1",
        "--ops",
        "127.0.0.1:0",
    ];
    let hub = HubPart::start(
        program(),
        &[&flags[..], &["--head-timeout", "300ms"]].concat(),
    );
    for bytes in [
        GET.as_bytes(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        &[b'x'; 5000],
    ] {
        assert_eq!(
            answer(hub.address, bytes),
            b"",
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    // Nothing at all is a health check, and no fault.
    drop(TcpStream::connect(hub.address).unwrap());
    let metrics = || http::get(hub.other_address(), "/metrics").text();
    let counted = "slotway_faults_total{fault=\"proxy_refused\"} 5";
    wait_until("they are counted", || metrics().contains(counted));
    assert_eq!(
        hub.part.log().matches("--proxy-protocol").count(),
        1,
        "{}",
        hub.part.log()
    );
    // Peers that may not send one are closed whatever they send.
    let other = HubPart::start(program(), &["--io", io, "--proxy-protocol", "192.0.2.0/24"]);
    assert_eq!(
        answer(other.address, &[&header_v2()[..], GET.as_bytes()].concat()),
        b""
    );
    other.part.wait_for_log("none of the peers that may come");
}

fn a_balancer_is_told_of_load_and_of_leaving(io: &str) {
    let agent = free_address();
    let agent_text = agent.to_string();
    let flags = [
        "--io",
        io,
        "--agent-check",
        &agent_text,
        "--slots",
        "8",
        "--reactors",
        "1",
    ];
    let hub = HubPart::start(
        program(),
        &[&flags[..], &["--shutdown-delay", "20s"]].concat(),
    );
    let told = || String::from_utf8(answer(agent, b"")).unwrap();
    assert_eq!(told(), "down#no worker is attached\n");
    let _worker = hub.start_worker("sleeper", "sleeper");
    wait_until("it is up", || told() == "ready up 100% maxconn:8\n");
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| http::get(hub.address, "/sleep/1500").status))
            .collect();
        wait_until("its weight follows", || {
            told() == "ready up 25% maxconn:8\n"
        });
        for one in busy {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    // The hub that takes over answers there.
    let successor = Successor::take_over(&hub, hub.part.pid());
    hub.part.wait_for_log("a new hub has taken over");
    wait_until("the new hub is up", || {
        told() == "ready up 100% maxconn:8\n"
    });
    rustix::process::kill_process(successor.pid(), Signal::TERM).unwrap();
    wait_until("it leaves", || told() == "drain\n");
    let mut connection = Connection::open(hub.address);
    connection.send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let ready = connection.read_response("GET").unwrap();
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.field("x-envoy-immediate-health-check-fail"),
        Some("true")
    );
    let mut connection = Connection::open(hub.address);
    connection.send("GET /sleep/0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = connection.read_response("GET").unwrap();
    assert_eq!(
        (last.status, last.field("connection")),
        (200, Some("close"))
    );
    rustix::process::kill_process(successor.pid(), Signal::TERM).unwrap();
}

/// A free one that nobody gets who asks the system for any port: those are above.
fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A hub with its worker, and where it is asked how it is.
struct Backend {
    hub: HubPart,
    _worker: Part,
    agent: SocketAddr,
    ops: SocketAddr,
}

fn backend(io: &str) -> Backend {
    let agent = free_address();
    let agent_text = agent.to_string();
    let flags = [
        "--io",
        io,
        "--agent-check",
        &agent_text,
        "--proxy-protocol",
        "127.0.0.1",
    ];
    let more = [
        "--ops",
        "127.0.0.1:0",
        "--shutdown-delay",
        "2s",
        "--slots",
        "16",
        "--reactors",
        "1",
    ];
    let hub = HubPart::start(program(), &[&flags[..], &more].concat());
    let worker = hub.start_worker("sleeper", "sleeper");
    let ops = hub.other_address();
    Backend {
        hub,
        _worker: worker,
        agent,
        ops,
    }
}

/// `HAProxy` in front of them, with the configuration that the repository has for it.
struct Haproxy {
    child: Child,
    address: SocketAddr,
    statistics: PathBuf,
    folder: Folder,
}

impl Haproxy {
    fn start(backends: &[Backend]) -> Self {
        let folder = Folder::new();
        let address = free_address();
        let statistics = folder.path().join("stats.sock");
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/balancers/haproxy.cfg");
        let text = std::fs::read_to_string(deploy).unwrap();
        let lines = text.lines().filter(|line| {
            let line = line.trim();
            let is_here = [
                "bind",
                "http-request redirect",
                "server",
                "log",
                "option httplog",
            ];
            !is_here
                .iter()
                .any(|word| line.starts_with(&format!("{word} ")))
        });
        let mut text = String::new();
        for line in lines {
            let line = line
                .replace("check port 3202 ", "check ")
                .replace("agent-port 3201 ", "");
            let line = line.replace("maxconn 20000", "maxconn 2000");
            text.push_str(&line.replace("inter 1s", "inter 100ms"));
            text.push('\n');
            match line.trim() {
                "global" => {
                    let path = statistics.display();
                    text.push_str(&format!("    stats socket {path} level admin\n"));
                }
                "frontend web" => text.push_str(&format!("    bind {address}\n")),
                _ => {}
            }
        }
        for (index, backend) in backends.iter().enumerate() {
            let (hub, ops, agent) = (backend.hub.address, backend.ops, backend.agent);
            text.push_str(&format!(
                "    server hub{index} {hub} port {} agent-addr 127.0.0.1 agent-port {}\n",
                ops.port(),
                agent.port()
            ));
        }
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("haproxy")
            .env("PATH", path_with_sbin())
            .env("HUB_SECRET", "0123456789abcdef")
            .args(["-db", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self {
            child,
            address,
            statistics,
            folder,
        };
        wait_until("HAProxy serves", || {
            let log = || std::fs::read_to_string(this.folder.path().join("log"));
            let ended = rustix::process::waitid(
                rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&this.child)),
                rustix::process::WaitIdOptions::EXITED
                    | rustix::process::WaitIdOptions::NOHANG
                    | rustix::process::WaitIdOptions::NOWAIT,
            );
            assert!(matches!(ended, Ok(None)), "{:?}", log());
            TcpStream::connect(address).is_ok() && UnixStream::connect(&this.statistics).is_ok()
        });
        this
    }

    /// Of each server: its weight and state.
    fn servers(&self) -> Vec<(u32, String)> {
        let mut socket = UnixStream::connect(&self.statistics).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("hubs,hub"));
        rows.map(|row| {
            let fields: Vec<_> = row.split(',').collect();
            (fields[18].parse().unwrap_or(0), fields[17].to_owned())
        })
        .collect()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Clients without a pause, until they are told; how many answers were right, and the others.
fn under_load<R>(address: SocketAddr, act: impl FnOnce(&AtomicU64) -> R) -> (u64, Vec<String>, R) {
    let (done, right) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let client = || {
            let mut wrong = Vec::new();
            let mut kept: Option<Connection> = None;
            while !done.load(Ordering::Relaxed) {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => match Connection::try_open(address) {
                        Ok(connection) => connection,
                        Err(error) => {
                            wrong.push(error.to_string());
                            continue;
                        }
                    },
                };
                let asked = connection.try_send("GET /sleep/5 HTTP/1.1\r\nHost: a\r\n\r\n");
                match asked.and_then(|()| connection.read_response("GET")) {
                    Ok(response) if response.status == 200 => {
                        right.fetch_add(1, Ordering::Relaxed);
                        if response.field("connection") != Some("close") {
                            kept = Some(connection);
                        }
                    }
                    Ok(response) => wrong.push(format!("{} {}", response.status, response.text())),
                    Err(error) => wrong.push(error.to_string()),
                }
            }
            wrong
        };
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(client)).collect();
        let over = Over(&done);
        let result = act(&right);
        drop(over);
        let wrong = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        let wrong = wrong.collect();
        (right.load(Ordering::Relaxed), wrong, result)
    })
}

fn behind_haproxy_one_hub_of_three_is_drained_upgraded_and_killed(io: &str) {
    if !Path::new("/usr/sbin/haproxy").exists() && !slotway_tests::has_program("haproxy") {
        return;
    }
    let mut backends: Vec<_> = (0..3).map(|_| backend(io)).collect();
    let haproxy = Haproxy::start(&backends);
    let is_up = |state: &str| state.starts_with("UP");
    let count_up = || {
        haproxy
            .servers()
            .iter()
            .filter(|(_, state)| is_up(state))
            .count()
    };
    wait_until("all hubs are up", || count_up() == 3);
    let await_more = |right: &AtomicU64| {
        let before = right.load(Ordering::Relaxed);
        wait_until("requests go on", || {
            right.load(Ordering::Relaxed) > before + 300
        });
    };

    // Weights follow load that comes from elsewhere.
    std::thread::scope(|scope| {
        let address = backends[0].hub.address;
        let direct = move || {
            let mut connection = Connection::open(address);
            connection.send("PROXY UNKNOWN\r\nGET /sleep/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
            connection.read_response("GET").unwrap().status
        };
        let busy: Vec<_> = (0..12).map(|_| scope.spawn(direct)).collect();
        wait_until("its weight is a quarter", || {
            let servers = haproxy.servers();
            servers[0].0 <= 30 && servers[1].0 >= 90
        });
        for one in busy {
            assert_eq!(one.join().unwrap(), 200);
        }
    });

    // Upgraded: nobody notices.
    let upgraded = backends.remove(0);
    let (_, wrong, successor) = under_load(haproxy.address, |right| {
        await_more(right);
        let successor = Successor::take_over(&upgraded.hub, upgraded.hub.part.pid());
        await_more(right);
        successor
    });
    assert!(wrong.is_empty(), "upgraded: {wrong:?}");

    // Drained: nobody notices either, and HAProxy knows before anything is refused.
    let (_, wrong, ()) = under_load(haproxy.address, |right| {
        await_more(right);
        backends[0].hub.part.signal(Signal::TERM);
        wait_until("HAProxy knows", || count_up() == 2);
        assert_eq!(backends[0].hub.part.wait().code(), Some(0));
        await_more(right);
    });
    assert!(wrong.is_empty(), "drained: {wrong:?}");

    // Killed: what it had fails at most.
    let (_, wrong, in_flight) = under_load(haproxy.address, |right| {
        await_more(right);
        backends[1].hub.part.signal(Signal::KILL);
        wait_until("HAProxy knows", || count_up() == 1);
        await_more(right);
        12
    });
    assert!(wrong.len() <= in_flight, "killed: {wrong:?}");
    drop(successor);
}
