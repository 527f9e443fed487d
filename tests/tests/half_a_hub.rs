//! No failure leaves half a hub: what panics is contained, or the hub ends with a clear
//! line and a code by which a supervisor starts it again. Panics are made by the hub's
//! own sabotage, which release builds do not have.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::event_stream::EventStream;
use slotway_tests::http::{self, Connection};
use slotway_tests::system::HubPart;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    a_panic_of_the_control_task_ends_the_hub_with_70
    a_panic_of_the_accept_loop_ends_the_hub_with_70
    a_panic_of_a_connection_ends_it_alone_and_a_stop_is_not_held_up
    a_log_that_cannot_be_written_stops_nothing
    a_client_of_an_event_stream_is_not_refused_while_its_worker_is_replaced
    an_expected_worker_is_known_from_the_first_request_on
}

fn start(io: &str, place: &str) -> HubPart {
    let variable = ("SLOTWAY_SABOTAGE", place);
    HubPart::start_with_variable(program(), &["--io", io], variable)
}

fn a_panic_of_the_control_task_ends_the_hub_with_70(io: &str) {
    let mut hub = start(io, "control");
    let worker = hub.start_worker("echo", "echo");
    assert_eq!(http::get(hub.address, "/api/items/1").status, 200);
    let mut connection = Connection::open(hub.address);
    connection.send("GET /internal/sabotage HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.read_response("GET").unwrap().status, 503);
    assert_eq!(hub.part.wait().code(), Some(70), "{}", hub.part.log());
    hub.part
        .wait_for_log("the control task panicked: the hub ends");
    drop(worker);
}

fn a_panic_of_the_accept_loop_ends_the_hub_with_70(io: &str) {
    let mut hub = start(io, "accept");
    let _connection = Connection::open(hub.address);
    assert_eq!(hub.part.wait().code(), Some(70), "{}", hub.part.log());
    hub.part
        .wait_for_log("accepting clients panicked: the hub ends");
    hub.part.wait_for_log("sabotage at accept");
}

fn a_panic_of_a_connection_ends_it_alone_and_a_stop_is_not_held_up(io: &str) {
    let mut hub = start(io, "connection");
    let _worker = hub.start_worker("echo", "echo");
    let mut other = Connection::open(hub.address);
    let mut broken: Vec<_> = (0..4).map(|_| Connection::open(hub.address)).collect();
    for connection in &mut broken {
        connection.send("GET /sabotage HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(connection.is_closed());
    }
    other.send("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(other.read_response("GET").unwrap().text(), "item 1");
    // The clients whose connections panicked keep their side open.
    hub.part.signal(Signal::TERM);
    assert!(hub.part.wait().success(), "{}", hub.part.log());
}

/// A pipe that nobody reads and that takes no more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

fn a_log_that_cannot_be_written_stops_nothing(io: &str) {
    use std::process::{Command, Stdio};
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let (unread, pipe) = full_pipe();
    for stderr in [Stdio::from(full.unwrap()), Stdio::from(pipe)] {
        let folder = slotway_tests::system::Folder::new();
        let socket = folder.path().join("attach.sock");
        let mut hub = Command::new(program())
            .args([
                "role",
                "hub",
                "--io",
                io,
                "--port",
                "0",
                "--connections-max",
                "2",
            ])
            .arg("--socket")
            .arg(&socket)
            .env("HUB_SECRET", "")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = hub.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let address = slotway_tests::system::address_in(&line).unwrap();
        // Each pause of accepting is a line.
        for _ in 0..300 {
            let held: Vec<_> = (0..3).map(|_| Connection::open(address)).collect();
            drop(held);
        }
        assert_eq!(http::get(address, "/health").status, 200);
        let pid = rustix::process::Pid::from_child(&hub);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert!(hub.wait().unwrap().success());
    }
    drop(unread);
}

/// Between a worker's replacement and the table that says so clients still come to it.
/// An `EventSource` takes any error for final.
fn a_client_of_an_event_stream_is_not_refused_while_its_worker_is_replaced(io: &str) {
    let hub = start(io, "publish");
    let _first = hub.start_worker("sse", "rooms");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let stream = EventStream::open(hub.address, "/sse/a");
                        assert_eq!(stream.head.status, 200, "{}", stream.head.fields);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        // Those that are replaced live on until they have finished.
        let _workers: Vec<_> = (0..6).map(|_| hub.start_worker("sse", "rooms")).collect();
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        assert!(counts.sum::<u32>() > 10, "clients came");
    });
}

fn an_expected_worker_is_known_from_the_first_request_on(io: &str) {
    let flags = ["--io", io, "--expect-worker", "echo", "--worker-grace", "0"];
    for _ in 0..5 {
        let hub = HubPart::start_with_variable(program(), &flags, ("SLOTWAY_SABOTAGE", "publish"));
        let first = http::get(hub.address, "/api/items/1");
        assert_eq!(first.status, 503, "{}", first.text());
    }
}
