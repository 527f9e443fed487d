//! `just bench-attach`: what many workers and routes cost, in one run. A thousand workers of
//! ten routes attach after a cold start and after the hub was killed; ten thousand routes of
//! one worker; what requests cost with all of them there (needs wrk).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slotway_loadgen::compare::statistics::median;
use slotway_tests::fd_limit::raise_fd_limit;
use slotway_tests::system::{Folder, Part, free_port};
use slotway_tests::{http, roles, wrk};

const WORKER_COUNT: usize = 1_000;
const PROCESS_COUNT: usize = 4;
const ROUTE_COUNT: usize = 10;
const CONNECTIONS: u32 = 64;
/// What takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(120);
const IDLE_TIME: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let (seconds, rounds) = match wrk::arguments("bench-attach", (2, 8)) {
        Ok(told) => told,
        Err(code) => return code,
    };
    raise_fd_limit();
    let program = std::env::current_exe().expect("this program is a file");
    println!("{WORKER_COUNT} workers of {ROUTE_COUNT} routes, {PROCESS_COUNT} processes");
    let place = Place::new(&program);
    let start = Instant::now();
    let mut hub = place.start_hub();
    let crowd: Vec<Part> = (0..PROCESS_COUNT)
        .map(|index| {
            let name = format!("crowd{index}");
            place.start_worker("crowd", &name, &[WORKER_COUNT / PROCESS_COUNT, ROUTE_COUNT])
        })
        .collect();
    place.await_workers(WORKER_COUNT);
    report("hub and workers started", start, &hub, &crowd);
    for pause in [Duration::ZERO, Duration::from_secs(5)] {
        hub.signal(Signal::KILL);
        hub.wait();
        std::thread::sleep(pause);
        let start = Instant::now();
        hub = place.start_hub();
        place.await_workers(WORKER_COUNT);
        let what = format!("hub killed, started again after {} s", pause.as_secs());
        report(&what, start, &hub, &crowd);
    }
    let _echo = place.start_worker("echo", "echo", &[]);
    place.await_workers(WORKER_COUNT + 1);
    let start = Instant::now();
    let large = place.start_worker("crowd", "large", &[1, 10_000]);
    place.await_workers(WORKER_COUNT + 2);
    report("another worker with 10000 routes", start, &hub, &[]);
    drop(large);
    place.await_workers(WORKER_COUNT + 1);
    let idle = hub.cpu_time();
    std::thread::sleep(IDLE_TIME);
    let idle = hub.cpu_time().saturating_sub(idle).as_secs_f64() / IDLE_TIME.as_secs_f64();
    println!(
        "  with all of them and no requests: the hub uses {:.1} % of a core",
        idle * 100.0
    );
    compare(&program, (&place, &hub), (seconds, rounds));
    ExitCode::SUCCESS
}

/// Where a hub is started again and again.
struct Place {
    program: PathBuf,
    folder: Folder,
    address: SocketAddr,
}

impl Place {
    fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            folder: Folder::new(),
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
        }
    }

    fn socket(&self) -> String {
        let socket = self.folder.path().join("attach.sock");
        socket.to_str().expect("a path of ours is text").to_owned()
    }

    fn start_hub(&self) -> Part {
        let port = self.address.port().to_string();
        let arguments = ["--port", &port, "--socket", &self.socket()];
        let mut hub = Part::start(&self.program, "hub", &arguments);
        assert!(hub.first_line().contains("http://"), "{}", hub.log());
        hub
    }

    fn start_worker(&self, role: &str, name: &str, numbers: &[usize]) -> Part {
        let url = format!("http://{}", self.address);
        let numbers = numbers.iter().map(ToString::to_string);
        let arguments: Vec<_> = [url.clone(), name.to_owned()]
            .into_iter()
            .chain(numbers)
            .collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (url, socket) = (("HUB_URL", &*url), &*self.socket());
        Part::start_in(
            &self.program,
            role,
            &arguments,
            &[url, ("HUB_SOCKET", socket)],
        )
    }

    fn await_workers(&self, expected: usize) {
        let start = Instant::now();
        loop {
            let health = http::get(self.address, "/health").text();
            let attached = health.matches("\"worker_id\"").count();
            if attached == expected {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{attached} of {expected} workers attached"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn report(what: &str, start: Instant, hub: &Part, crowd: &[Part]) {
    let took = start.elapsed().as_secs_f64();
    let refused = hub
        .log()
        .lines()
        .filter(|line| line.contains(" WARN "))
        .count();
    let troubles: usize = crowd
        .iter()
        .map(|part| part.log().matches("the hub refused").count())
        .sum();
    println!(
        "  {what}: all attached after {took:.2} s; hub: {refused} warnings, {:.2} s of processor time; \
         refusals in the workers' logs: {troubles}",
        hub.cpu_time().as_secs_f64()
    );
    for line in hub
        .log()
        .lines()
        .filter(|line| line.contains(" WARN "))
        .take(3)
    {
        println!("    {line}");
    }
}

/// Rounds with a thousand workers beside rounds with one.
fn compare(program: &Path, (many, hub): (&Place, &Part), (seconds, rounds): (u32, u32)) {
    let one = Place::new(program);
    let other = one.start_hub();
    let _echo = one.start_worker("echo", "echo", &[]);
    one.await_workers(1);
    let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        let measure = |place: &Place, hub: &Part| {
            let before = hub.cpu_time();
            let url = format!("http://{}/api/items/42", place.address);
            let run = wrk::run(&url, CONNECTIONS, seconds);
            let cpu = hub.cpu_time().saturating_sub(before).as_secs_f64() / run.requests;
            [run.rate, cpu, run.p99_us]
        };
        let (with, without) = if round % 2 == 0 {
            let with = measure(many, hub);
            (with, measure(&one, &other))
        } else {
            let without = measure(&one, &other);
            (measure(many, hub), without)
        };
        for figure in 0..3 {
            ratios[figure].push(with[figure] / without[figure]);
        }
        eprint!("\rround {} of {rounds} ", round + 1);
    }
    eprint!("\r\x1b[2K");
    let [rate, cpu, p99] = ratios.map(|ratios| median(&ratios));
    println!(
        "  requests at {CONNECTIONS} connections, with all of them against one worker alone, medians of {rounds} \
         rounds of {seconds} s: requests/s {rate:.2}, the hub's CPU/request {cpu:.2}, p99 {p99:.2}"
    );
}
