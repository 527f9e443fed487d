//! `just bench-http`: what large bodies, idle clients and dribbling clients cost the hub, in one
//! run. Echo of bodies beside other systems is one of the loads of `just bench`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slotway_loadgen::compare::statistics::median;
use slotway_loadgen::load::plan::{Length, Plan, Stop};
use slotway_loadgen::load::run::{allow_descriptors, run};
use slotway_loadgen::units::{count, duration};
use slotway_loadgen::workload::{Expected, Template, Workload};
use slotway_net::Engine;
use slotway_tests::http;
use slotway_tests::roles;
use slotway_tests::system::{HubPart, Part};

const GIB: u64 = 1 << 30;
const IDLE_COUNT: usize = 10_000;
const DRIBBLER_COUNT: usize = 1_000;

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    large_bodies();
    idle_clients();
    dribbling_clients();
    ExitCode::SUCCESS
}

fn program() -> std::path::PathBuf {
    std::env::current_exe().expect("this program is a file")
}

/// A figure of /proc/…/status in KiB.
fn memory_kib(part: &Part, name: &str) -> u64 {
    let path = format!("/proc/{}/status", part.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("it is running");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn peak_growth_mib(hub: &HubPart, transfer: impl FnOnce()) -> f64 {
    let before = memory_kib(&hub.part, "VmRSS:");
    // The highest mark starts anew (proc_pid_clear_refs(5)).
    let clear = format!("/proc/{}/clear_refs", hub.part.pid().as_raw_nonzero());
    std::fs::write(clear, "5").expect("it is our child");
    transfer();
    memory_kib(&hub.part, "VmHWM:").saturating_sub(before) as f64 / 1024.0
}

fn large_bodies() {
    let limit = (2 * GIB).to_string();
    let hub = HubPart::start(&program(), &["--body-bytes-max", &limit]);
    let _worker = hub.start_worker("odd", "odd");
    http::get(hub.address, "/odd/runs");
    let piece: Vec<u8> = (0..1 << 20)
        .map(|n: u32| (n.wrapping_mul(31) >> 3) as u8)
        .collect();
    let piece_sum: u64 = piece.iter().map(|byte| u64::from(*byte)).sum();
    let start = Instant::now();
    let growth = peak_growth_mib(&hub, || {
        let mut stream = TcpStream::connect(hub.address).expect("it listens");
        let head = format!("POST /odd/sum HTTP/1.0\r\nContent-Length: {GIB}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        for _ in 0..GIB >> 20 {
            stream.write_all(&piece).expect("it reads");
        }
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        let expected = format!("{GIB} {} 0", piece_sum * (GIB >> 20));
        assert!(response.ends_with(&expected), "{response}");
    });
    println!(
        "1 GiB upload to a handler that reads it as it comes:   hub memory +{growth:.1} MiB, {:.0} MB/s, its sum is right",
        GIB as f64 / 1e6 / start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let growth = peak_growth_mib(&hub, || {
        let mut stream = TcpStream::connect(hub.address).expect("it listens");
        let path = format!("/odd/pieces/{}", GIB >> 20);
        let head = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let (mut sum, mut bytes, mut buffer) = (0_u64, 0, vec![0; 1 << 20]);
        let head_bytes = stream.read(&mut buffer).expect("it answers");
        let body = buffer[..head_bytes]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(head_bytes, |end| end + 4);
        let mut add = |piece: &[u8]| {
            bytes += piece.len() as u64;
            sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        };
        add(&buffer[body..head_bytes]);
        loop {
            match stream.read(&mut buffer).expect("it answers to the end") {
                0 => break,
                count => add(&buffer[..count]),
            }
        }
        assert_eq!((bytes, sum), (GIB, piece_sum * (GIB >> 20)));
    });
    println!(
        "1 GiB download from a handler that writes as it goes:  hub memory +{growth:.1} MiB, {:.0} MB/s, its sum is right\n",
        GIB as f64 / 1e6 / start.elapsed().as_secs_f64()
    );
}

/// p50 and p99 of one busy connection, in nanoseconds.
fn busy_connection(address: SocketAddr) -> (u64, u64) {
    let plan = Plan {
        connection_count: 1,
        warmup: Duration::from_millis(300),
        length: Length::Time(Duration::from_secs(1)),
        ..Plan::new(
            workload(&format!("http://{address}/api/items/42")),
            Engine::Epoll,
        )
    };
    // Of three runs the middle one: the machine has its moods.
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let outcome = run(&plan, &Arc::new(Stop::default()), &mut ()).expect("the hub answers");
            let latency = outcome.total.latency;
            let at = |quantile| latency.value_at_quantile(quantile) as f64;
            (at(0.5), at(0.99))
        })
        .collect();
    let middle =
        |of: fn(&(f64, f64)) -> f64| median(&runs.iter().map(of).collect::<Vec<_>>()) as u64;
    (middle(|run| run.0), middle(|run| run.1))
}

fn workload(url: &str) -> Workload {
    let expected = Expected {
        status: Some(200),
        ..Expected::default()
    };
    let template = Template {
        method: "GET".to_owned(),
        ..Template::default()
    };
    Workload::of_url(url, &template, expected).expect("a URL of ours")
}

fn idle_clients() {
    allow_descriptors(IDLE_COUNT, 8).expect("the hard limit of open files is high enough");
    for io in slotway_tests::ENGINES {
        let hub = HubPart::start(&program(), &["--io", io, "--idle-timeout", "600"]);
        let _worker = hub.start_worker("echo", "echo");
        let (alone, _) = busy_connection(hub.address);
        let before = memory_kib(&hub.part, "VmRSS:");
        let idle: Vec<TcpStream> = (0..IDLE_COUNT)
            .map(|_| {
                let mut stream = TcpStream::connect(hub.address).expect("it listens");
                stream
                    .write_all(b"GET /api/items/42 HTTP/1.1\r\nHost: h\r\n\r\n")
                    .expect("it reads");
                let count = stream.read(&mut [0; 512]).expect("it answers");
                assert!(count > 0);
                stream
            })
            .collect();
        let each = (memory_kib(&hub.part, "VmRSS:") - before) as f64 / IDLE_COUNT as f64;
        let (among, _) = busy_connection(hub.address);
        println!(
            "{} idle connections ({io}): {each:.2} KiB of hub memory each; p50 of a busy one {} without them, {} with, ratio {:.2}",
            count(IDLE_COUNT as u64),
            duration(alone),
            duration(among),
            among as f64 / alone as f64
        );
        drop(idle);
    }
    println!();
}

fn dribbling_clients() {
    let hub = HubPart::start(&program(), &["--head-timeout", "6"]);
    let _worker = hub.start_worker("echo", "echo");
    let (_, alone) = busy_connection(hub.address);
    let dribblers: Vec<TcpStream> = (0..DRIBBLER_COUNT)
        .map(|_| {
            let stream = TcpStream::connect(hub.address).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            stream
        })
        .collect();
    let start = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let dribble = std::thread::spawn(move || {
        let mut left = dribblers;
        while !ends.load(Ordering::Relaxed) && !left.is_empty() {
            // A byte a second each, spread over the second.
            let pause = Duration::from_secs(1) / (left.len() as u32).max(1);
            left.retain(|mut stream| {
                std::thread::sleep(pause);
                let is_open = match stream.read(&mut [0; 64]) {
                    Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
                    Ok(_) => false,
                };
                is_open && stream.write_all(b"a").is_ok()
            });
        }
        (left.len(), start.elapsed())
    });
    let (_, among) = busy_connection(hub.address);
    std::thread::sleep(Duration::from_secs(9).saturating_sub(start.elapsed()));
    is_over.store(true, Ordering::Relaxed);
    let (left, took) = dribble.join().expect("it ends");
    println!(
        "{} clients dribbling a byte a second, --head-timeout 6: {left} left after {:.1} s; p99 of a good client {} without them, {} with, ratio {:.2}\n",
        count(DRIBBLER_COUNT as u64),
        took.as_secs_f64(),
        duration(alone),
        duration(among),
        among as f64 / alone as f64
    );
}
