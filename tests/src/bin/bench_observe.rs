//! `just bench-observe`: what being watched costs. One hub for each way of watching, in one run
//! on one machine, rounds interleaved; each round's figures over those of a hub that nobody
//! watches. Metrics are counted in all of them: they cannot be turned off.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use slotway_loadgen::compare::statistics;
use slotway_tests::http::Connection;
use slotway_tests::roles;
use slotway_tests::system::{Folder, HubPart, Part};
use slotway_tests::wrk;

const CONNECTIONS: u32 = 64;

/// A hub, and how it is watched.
struct Watched {
    name: &'static str,
    hub: HubPart,
    worker: Part,
}

impl Watched {
    fn start(program: &Path, name: &'static str, flags: &[&str]) -> Self {
        let hub = HubPart::start(program, flags);
        let worker = hub.start_worker("echo", "echo");
        Self { name, hub, worker }
    }

    /// Requests/s, and microseconds of processor time for each.
    fn measure(&self, seconds: u32) -> [f64; 2] {
        let cpu = || (self.hub.part.cpu_time() + self.worker.cpu_time()).as_secs_f64();
        let before = cpu();
        let run = wrk::run(
            &format!("{}/api/items/42", self.hub.url()),
            CONNECTIONS,
            seconds,
        );
        let used = cpu() - before;
        [run.rate, used * 1e6 / run.requests]
    }
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let (seconds, rounds) = match wrk::arguments("bench-observe", (1, 12)) {
        Ok(told) => told,
        Err(code) => return code,
    };
    let program = std::env::current_exe().expect("this program is a file");
    let folder = Folder::new();
    let file = folder.path().join("access.log");
    let file = file.to_str().expect("a path of ours is text");
    let start = |name, flags: &[&str]| Watched::start(&program, name, flags);
    let systems = [
        start("nobody watches", &[]),
        start("nobody watches, again", &[]),
        start(
            "access log, 1 of 100",
            &["--access-log", file, "--access-log-sample", "100"],
        ),
        start("access log", &["--access-log", file]),
        start("request ids", &["--request-id"]),
        start("trace context", &["--trace-context"]),
        start(
            "all of these",
            &["--access-log", file, "--request-id", "--trace-context"],
        ),
        start("five status pages", &[]),
    ];
    let pages = systems.last().expect("there are some");
    let _pages: Vec<_> = (0..5).map(|_| read_feed(&pages.hub)).collect();
    println!(
        "GET /api/items/42, {CONNECTIONS} connections, wrk -t1, {rounds} rounds of {seconds} s each, \
         interleaved;\nmedians of the ratios to the first of the same round\n"
    );
    let mut ratios = vec![[Vec::new(), Vec::new()]; systems.len()];
    for round in 0..rounds {
        let mut order: Vec<_> = (0..systems.len()).collect();
        order.rotate_left(round as usize % systems.len());
        let mut measured = vec![[0.0; 2]; systems.len()];
        for index in order {
            measured[index] = systems[index].measure(seconds);
        }
        eprint!("\rround {} of {rounds} ", round + 1);
        for (own, now) in ratios.iter_mut().zip(&measured) {
            for figure in 0..2 {
                own[figure].push(now[figure] / measured[0][figure]);
            }
        }
    }
    eprint!("\r\x1b[2K");
    println!("{:<24} {:>10} {:>12}", "", "requests/s", "CPU/request");
    for (system, [rates, cpu]) in systems.iter().zip(&ratios) {
        let (rate, cpu) = (statistics::median(rates), statistics::median(cpu));
        println!("{:<24} {rate:>10.3} {cpu:>12.3}", system.name);
    }
    print_idle(pages);
    ExitCode::SUCCESS
}

/// What five pages cost a hub that has nothing else to do.
fn print_idle(pages: &Watched) {
    let time = Duration::from_secs(10);
    let cpu = || pages.hub.part.cpu_time().as_secs_f64();
    let before = cpu();
    std::thread::sleep(time);
    let percent = 100.0 * (cpu() - before) / time.as_secs_f64();
    println!("\nfive status pages, no requests: {percent:.2} % of a core");
}

/// Reads what a page is told, until the hub ends.
fn read_feed(hub: &HubPart) -> std::thread::JoinHandle<()> {
    let mut feed = Connection::open(hub.address);
    feed.send("GET /_slotway/feed HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut stream = feed.stream().try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let _open = feed;
        let mut piece = [0; 16 * 1024];
        while stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {}
    })
}
