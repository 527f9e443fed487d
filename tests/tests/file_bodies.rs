//! Responses from files of workers.

use std::io::Read;
use std::path::{Path, PathBuf};

use slotway_shm_proto::file_body::FileBody;
use slotway_shm_proto::layout::{ResponseHead, response_flags};
use slotway_shm_proto::upgrade::SlotUse;
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

const BYTES: usize = 5_000_000;

fn content() -> Vec<u8> {
    (0..BYTES).map(|index| (index % 251) as u8).collect()
}

struct Bench {
    hub: HubPart,
    worker: Part,
    file: PathBuf,
    _folder: Folder,
}

impl Bench {
    fn start(io: &str, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("content");
        std::fs::write(&file, content()).unwrap();
        let hub = HubPart::start(program(), &[&["--io", io], flags].concat());
        let path = file.to_str().unwrap();
        let worker = hub.start_worker_with("upgrades", "upgrades", &[path]);
        Self {
            hub,
            worker,
            file,
            _folder: folder,
        }
    }
}

slotway_tests::on_each_engine! {
    a_file_comes_whole_in_part_and_without_a_byte
    what_cannot_be_sent_is_502_and_says_why
    a_file_that_shrinks_while_it_is_sent_cuts_its_response_off
    a_client_that_reads_slowly_gets_all_of_it_and_holds_no_slot
    files_that_are_not_asked_for_or_do_not_come_leave_nothing_behind
}

fn a_file_comes_whole_in_part_and_without_a_byte(io: &str) {
    let bench = Bench::start(io, &[]);
    let all = content();
    let mut connection = Connection::open(bench.hub.address);
    for _ in 0..3 {
        for (what, expected) in [
            ("all", &all[..]),
            ("part", &all[10..BYTES - 10]),
            ("empty", &[]),
        ] {
            connection.send(format!("GET /file/{what} HTTP/1.1\r\nHost: h\r\n\r\n"));
            let response = connection.read_response("GET").unwrap();
            assert_eq!(response.status, 200, "{what}: {}", bench.hub.part.log());
            assert_eq!(response.field("content-type"), Some("text/x-test"));
            assert!(
                response.body == expected,
                "{what}: {} bytes",
                response.body.len()
            );
            connection.send(format!("HEAD /file/{what} HTTP/1.1\r\nHost: h\r\n\r\n"));
            let head = connection.read_response("HEAD").unwrap();
            let length = expected.len().to_string();
            assert_eq!(head.field("content-length"), Some(&*length));
        }
    }
    assert!(bench.worker.log().matches("ERROR").count() == 0);
}

fn what_cannot_be_sent_is_502_and_says_why(io: &str) {
    let bench = Bench::start(io, &[]);
    for (what, status, log) in [
        ("beyond", 502, "fewer bytes than its response"),
        ("folder", 502, "no regular file"),
        ("device", 502, "no regular file"),
        ("pipe", 502, "no regular file"),
        ("write-only", 502, "the worker's file cannot be sent"),
        ("backwards", 500, ""),
    ] {
        let mut connection = Connection::open(bench.hub.address);
        connection.send(format!("GET /file/{what} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(
            connection.read_response("GET").unwrap().status,
            status,
            "{what}"
        );
        bench.hub.part.wait_for_log(log);
    }
    assert_eq!(http::get(bench.hub.address, "/file/part").status, 200);
}

fn a_file_that_shrinks_while_it_is_sent_cuts_its_response_off(io: &str) {
    let bench = Bench::start(io, &[]);
    // More than sockets and the pipe hold.
    let file = std::fs::File::options()
        .write(true)
        .open(&bench.file)
        .unwrap();
    file.set_len(200_000_000).unwrap();
    let mut client = Connection::open(bench.hub.address);
    client.send("GET /file/all HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status, 200);
    file.set_len(1000).unwrap();
    let mut rest = Vec::new();
    let ended = client.read_rest(&mut rest);
    assert!(ended.is_err() || rest.len() < 200_000_000);
    bench
        .hub
        .part
        .wait_for_log("a response from a file was cut off");
}

fn a_client_that_reads_slowly_gets_all_of_it_and_holds_no_slot(io: &str) {
    let bench = Bench::start(io, &["--slots", "2"]);
    let file = std::fs::File::options()
        .write(true)
        .open(&bench.file)
        .unwrap();
    file.set_len(60_000_000).unwrap();
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Connection::open(bench.hub.address);
            client.send("GET /file/all HTTP/1.1\r\nHost: h\r\n\r\n");
            client.read_head().unwrap();
            client
        })
        .collect();
    // Both slots are free.
    for _ in 0..10 {
        assert_eq!(http::get(bench.hub.address, "/refuse").status, 426);
    }
    let mut bytes = 0;
    let mut stream = slow.pop().unwrap().stream().try_clone().unwrap();
    let mut buffer = vec![0; 1 << 20];
    while bytes < 50_000_000 {
        bytes += stream.read(&mut buffer).unwrap();
    }
}

fn files_that_are_not_asked_for_or_do_not_come_leave_nothing_behind(io: &str) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = FakeWorker::attach_for_upgrades(&hub, "liar", "/liar");
    // Messages of a session are heard in their order: once this one is, those before it have been.
    let await_heard = |held| {
        wait_until("the worker is heard", || {
            Scrape::of(hub.address).count("slotway_upgraded_connections", &[]) == held
        });
    };
    worker.say_held(1);
    await_heard(1);
    let before = hub.part.open_fd_count();
    let send_file = |slot_index, generation| {
        let message = FileBody {
            slot: SlotUse {
                lane_index: 0,
                slot_index,
                generation,
            },
            offset: 0,
        };
        worker.send_file(message, &std::fs::File::open("/proc/self/exe").unwrap());
    };
    let mut client = Connection::open(hub.address);
    let ask = "GET /liar HTTP/1.1\r\nHost: h\r\n\r\n";
    for _ in 0..50 {
        client.send(ask);
        let request = worker.take();
        // Of slots that there are not, of other uses, and of one whose response is another.
        send_file(1_000_000, 1);
        send_file(request.slot_index, request.generation + 1);
        send_file(request.slot_index, request.generation);
        worker.respond_with(&request, 200, "", b"plain");
        assert_eq!(client.read_response("GET").unwrap().text(), "plain");
    }
    worker.say_released(0, 1);
    await_heard(0);
    // One that comes behind its response stays until the next use of its slot, at most.
    wait_until("files are closed", || {
        hub.part.open_fd_count() <= before + 2
    });
    client.send(ask);
    let request = worker.take();
    let head = ResponseHead {
        generation: request.generation,
        status: 200,
        flags: response_flags::BODY_IS_FILE,
        body_bytes: 10,
        ..ResponseHead::default()
    };
    worker.respond(&request, &head);
    assert_eq!(client.read_response("GET").unwrap().status, 502);
    hub.part.wait_for_log("it did not come");
    assert!(hub.health().contains("\"liar\""));
}
