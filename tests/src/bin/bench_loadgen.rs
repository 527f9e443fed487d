//! `just bench-loadgen`: the load generator against wrk, over the same bare
//! epoll responder, in one run with the rounds interleaved; then what a known
//! stall looks like in an open loop; then memory over 10^9 values.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Instant;

use serde_json::Value;
use slotway_loadgen::compare::statistics::{Ratio, median};
use slotway_loadgen::load::Interval;
use slotway_loadgen::units::{count, duration};
use slotway_tests::roles;
use slotway_tests::system::{Part, address_in};
use slotway_tests::wrk;

const USAGE: &str = "usage: bench-loadgen [SECONDS_PER_ROUND [ROUNDS]]";

/// What one generator did in one round.
#[derive(Clone, Copy)]
struct Round {
    requests_per_s: f64,
    requests_per_cpu_s: f64,
    p50_us: f64,
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let numbers: Option<Vec<u32>> = std::env::args()
        .skip(1)
        .map(|text| text.parse().ok())
        .collect();
    let (seconds, rounds) = match numbers.as_deref() {
        Some([]) => (3, 8),
        Some([seconds]) => (*seconds, 8),
        Some([seconds, rounds]) if *rounds >= 3 => (*seconds, *rounds),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !wrk::is_installed() {
        eprintln!("bench-loadgen: wrk is needed; install it (`apt-get install wrk`)");
        return ExitCode::FAILURE;
    }
    let (_responder, address) = start_responder(&[]);
    println!(
        "slotway-loadgen against wrk -t1, bare epoll responder, {rounds} rounds of {seconds} s, interleaved; medians\n"
    );
    println!(
        "{:>6}  {:<18} {:>11} {:>22} {:>10}",
        "conns", "generator", "requests/s", "requests/CPU second", "p50"
    );
    for connections in [1, 64] {
        race(address, connections, seconds, rounds);
    }
    println!(
        "floors: requests per generator CPU second at least wrk's; p50 at 1 connection within 5 % of wrk's\n"
    );
    show_stall();
    show_memory();
    ExitCode::SUCCESS
}

fn start_responder(flags: &[&str]) -> (Part, SocketAddr) {
    let program = std::env::current_exe().expect("this program is a file");
    let mut part = Part::start(&program, "responder", flags);
    let address = address_in(&part.first_line()).expect("it says where it listens");
    (part, address)
}

fn race(address: SocketAddr, connections: u32, seconds: u32, rounds: u32) {
    let names = ["wrk", "loadgen", "loadgen io_uring", "loadgen epoll"];
    let mut results: [Vec<Round>; 4] = Default::default();
    for round in 0..rounds {
        let mut order = [0, 1, 2, 3];
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            eprint!(
                "\r{connections} connections: round {} of {rounds} ",
                round + 1
            );
            results[index].push(match index {
                0 => run_wrk(address, connections, seconds),
                1 => run_loadgen(address, connections, seconds, "auto"),
                2 => run_loadgen(address, connections, seconds, "uring"),
                _ => run_loadgen(address, connections, seconds, "epoll"),
            });
        }
    }
    eprint!("\r\x1b[2K");
    let values = |index: usize, of: fn(&Round) -> f64| -> Vec<f64> {
        results[index].iter().map(of).collect()
    };
    for (index, name) in names.iter().enumerate() {
        println!(
            "{connections:>6}  {name:<18} {:>11} {:>22} {:>10}",
            count(median(&values(index, |round| round.requests_per_s)) as u64),
            count(median(&values(index, |round| round.requests_per_cpu_s)) as u64),
            duration((median(&values(index, |round| round.p50_us)) * 1e3) as u64),
        );
    }
    for (index, name) in names.iter().enumerate().skip(1) {
        let ratio = |of: fn(&Round) -> f64| {
            Ratio::paired(&values(index, of), &values(0, of)).map_or("–".to_owned(), |ratio| {
                format!("{:.2} [{:.2}, {:.2}]", ratio.value, ratio.low, ratio.high)
            })
        };
        println!(
            "{connections:>6}  {name} / wrk: requests/CPU second {}, p50 {}",
            ratio(|round| round.requests_per_cpu_s),
            ratio(|round| round.p50_us),
        );
    }
    println!();
}

/// CPU time of the children that have ended.
fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
    // Fields 16 and 17 of proc_pid_stat(5), counted behind the name.
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn run_wrk(address: SocketAddr, connections: u32, seconds: u32) -> Round {
    let before = children_cpu_s();
    let result = wrk::run(&format!("http://{address}/"), connections, seconds);
    let cpu = children_cpu_s() - before;
    Round {
        requests_per_s: result.rate,
        requests_per_cpu_s: result.requests / cpu,
        p50_us: result.p50_us,
    }
}

fn run_loadgen(address: SocketAddr, connections: u32, seconds: u32, io: &str) -> Round {
    let (connections, seconds) = (connections.to_string(), seconds.to_string());
    let before = children_cpu_s();
    let report = loadgen(&[
        &format!("http://{address}/"),
        "-c",
        &connections,
        "-d",
        &seconds,
        "--io",
        io,
        "--warmup",
        "0",
    ]);
    let cpu = children_cpu_s() - before;
    Round {
        requests_per_s: report["requests_per_s"].as_f64().unwrap_or(0.0),
        requests_per_cpu_s: report["requests"].as_f64().unwrap_or(0.0) / cpu,
        p50_us: report["latency_ns"]["p50"].as_f64().unwrap_or(0.0) / 1e3,
    }
}

fn loadgen(flags: &[&str]) -> Value {
    let output = Command::new(std::env::current_exe().expect("this program is a file"))
        .args(["role", "loadgen"])
        .args(flags)
        .args(["--noise-floor", "0", "--json", "-"])
        .output()
        .expect("this program can be started again");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A responder that stalls for 100 ms each second delays a tenth of the
/// requests of a steady rate evenly by 0 to 100 ms: so, counted from the
/// intended times as wrk2 does, p95 is 50 ms and p99 is 90 ms.
fn show_stall() {
    let (_responder, address) = start_responder(&["1000", "100"]);
    let url = format!("http://{address}/");
    let open = loadgen(&[&url, "-c", "64", "--rate", "2000", "-d", "10"]);
    println!(
        "a stall of 100 ms each second, 2,000 requests/s, 10 s; by the intended times p95 is 50 ms and p99 90 ms:"
    );
    for (name, field) in [
        ("from intended times", "latency_ns"),
        ("from sending", "service_ns"),
    ] {
        let at = |quantile: &str| open[field][quantile].as_u64().unwrap_or(0);
        println!(
            "  {name:<20} p50 {:>8}  p95 {:>8}  p99 {:>8}  max {:>8}",
            duration(at("p50")),
            duration(at("p95")),
            duration(at("p99")),
            duration(at("max"))
        );
    }
    let closed = wrk::run(&url, 8, 10);
    println!(
        "  wrk, its correction  p50 {:>8}                p99 {:>8}  max {:>8}\n",
        duration((closed.p50_us * 1e3) as u64),
        duration((closed.p99_us * 1e3) as u64),
        duration((closed.max_us * 1e3) as u64)
    );
}

fn show_memory() {
    const VALUES: u64 = 1_000_000_000;
    let mut interval = Interval::new();
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut record = |values: u64| {
        for _ in 0..values {
            // xorshift64, spread over nine decades.
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            interval
                .latency
                .saturating_record(number >> (34 + number % 30));
        }
    };
    record(1_000_000);
    let before = resident_kib();
    let start = Instant::now();
    record(VALUES);
    let each = start.elapsed().as_nanos() as f64 / VALUES as f64;
    println!(
        "{} values recorded, {each:.1} ns each; resident memory {} KiB before, {} KiB after",
        count(VALUES),
        count(before),
        count(resident_kib())
    );
    assert!(interval.latency.len() > VALUES);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
