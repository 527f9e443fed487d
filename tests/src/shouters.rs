//! Clients that upgrade their connections, and check every byte that comes back.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::http::Connection;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shouted {
    /// Connections that were upgraded.
    pub upgraded: u64,
    /// Messages that came back.
    pub messages: u64,
    /// Connections that ended before their client wanted it: with their worker.
    pub ended: u64,
}

/// Most connections at a time.
const CONNECTION_COUNT_MAX: usize = 20;

/// Opens connections at a path that shouts, exchanges messages over them and closes them, until it is
/// told to stop. Panics if anything else comes back than was sent, in capitals.
pub fn keep_shouting(
    address: SocketAddr,
    path: &str,
    stop: &AtomicBool,
    random: &mut Rng,
) -> Shouted {
    let mut shouted = Shouted::default();
    let mut open: Vec<Connection> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(random.u64(..5)));
        if open.len() < CONNECTION_COUNT_MAX
            && random.u32(..4) == 0
            && let Some(connection) = upgrade(address, path)
        {
            shouted.upgraded += 1;
            open.push(connection);
        }
        if open.is_empty() {
            continue;
        }
        let index = random.usize(..open.len());
        if random.u32(..50) == 0 {
            drop(open.swap_remove(index));
        } else if shout(&open[index], random) {
            shouted.messages += 1;
        } else {
            shouted.ended += 1;
            drop(open.swap_remove(index));
        }
    }
    shouted
}

fn upgrade(address: SocketAddr, path: &str) -> Option<Connection> {
    let mut connection = Connection::try_open(address).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
    connection.try_send(request).ok()?;
    // A worker may be gone, or the hub at its limits.
    let head = connection.read_head().ok()?;
    (head.status == 101).then_some(connection)
}

/// False: the other end is gone.
fn shout(connection: &Connection, random: &mut Rng) -> bool {
    let bytes = random.usize(1..20_000);
    let text: Vec<u8> = std::iter::repeat_with(|| random.u8(b'a'..=b'z'))
        .take(bytes)
        .collect();
    let mut stream = connection.stream();
    if stream.write_all(&text).is_err() {
        return false;
    }
    let mut answer = vec![0; bytes];
    if stream.read_exact(&mut answer).is_err() {
        return false;
    }
    assert!(
        answer == text.to_ascii_uppercase(),
        "another's bytes, or none that were sent"
    );
    true
}
