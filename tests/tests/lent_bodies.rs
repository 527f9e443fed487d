//! Responses with bytes of their own requests, which are not copied: they are sent from where
//! the hub has put them.

use std::io::Write;
use std::path::Path;

use slotway_tests::http::{self, Connection};
use slotway_tests::system::HubPart;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    any_part_of_a_request_can_be_the_response
    a_client_that_reads_slowly_gets_its_own_bytes_while_others_use_the_slots
}

/// No two places of it look alike.
fn body(bytes: u32, seed: u32) -> Vec<u8> {
    let words =
        (0..bytes.div_ceil(4)).map(|n| (n.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes());
    let mut body: Vec<u8> = words.flatten().collect();
    body.truncate(bytes as usize);
    body
}

fn any_part_of_a_request_can_be_the_response(io: &str) {
    let (hub, _worker) = HubPart::start_with_worker(program(), io, "odd", &[]);
    // In one read, in the slot, and collected since it does not fit a slot.
    for bytes in [0, 1, 900, 5_000, 8_191, 8_192, 60_000, 120_000, 400_000] {
        let sent = body(bytes, bytes);
        let length = sent.len();
        for (start, end) in [
            (0, length),
            (length / 3, length),
            (1, length / 2),
            (length, length),
        ] {
            let path = format!("/odd/part/{start}/{end}");
            let answer = http::request(hub.address, "POST", &path, &sent);
            assert_eq!(answer.status, 200);
            let (start, end) = (start.min(end), end);
            assert!(
                answer.body == sent[start..end],
                "{start}..{end} of {length}"
            );
        }
    }
    // Later, by an async handler; and many on one connection, which differ.
    let mut connection = Connection::open(hub.address);
    for seed in 0..50 {
        let sent = body(20_000 + seed * 11, seed);
        let path = if seed % 2 == 0 {
            "/odd/echo"
        } else {
            "/odd/echo-later"
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            sent.len()
        );
        connection.send([head.as_bytes(), &sent].concat());
        assert!(
            connection.read_response("POST").unwrap().body == sent,
            "{seed}"
        );
    }
}

fn a_client_that_reads_slowly_gets_its_own_bytes_while_others_use_the_slots(io: &str) {
    let flags = ["--slots", "2"];
    let (hub, _worker) = HubPart::start_with_worker(program(), io, "odd", &flags);
    let bodies: Vec<_> = (0..12).map(|seed| body(110_000, seed)).collect();
    let mut slow: Vec<_> = bodies
        .iter()
        .map(|_| Connection::open(hub.address))
        .collect();
    std::thread::scope(|scope| {
        for (connection, sent) in slow.iter().zip(&bodies) {
            let mut stream = connection.stream().try_clone().unwrap();
            // More than the sockets take: each waits for its answers to be read.
            scope.spawn(move || {
                let head = "POST /odd/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 110000\r\n\r\n";
                for _ in 0..20 {
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.write_all(sent).unwrap();
                }
            });
        }
        for (connection, sent) in slow.iter_mut().zip(&bodies).rev() {
            for _ in 0..20 {
                assert!(connection.read_response("POST").unwrap().body == *sent);
            }
        }
    });
}
