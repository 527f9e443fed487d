//! `just bench`: the hub and a worker against axum directly, in one run on one
//! machine, rounds interleaved (A B B A …), by wrk. Prints medians and ratios;
//! only the ratios mean anything on another day or machine.

use std::net::SocketAddr;
use std::process::ExitCode;

use slotway_loadgen::compare::statistics;
use slotway_loadgen::units;
use slotway_tests::roles;
use slotway_tests::system::{HubPart, Part, address_in};
use slotway_tests::wrk;

const CONNECTIONS: [u32; 4] = [1, 16, 64, 256];

/// What must hold (hub and worker against axum, medians of the rounds).
const FLOORS: &str = "floors: requests/s 0.95 at 64 and 0.90 at 16; p50 at most 1.15 at 1; \
                      CPU/request at most 1.10 at 64";

/// One system: what to ask, and whose CPU time counts.
struct System {
    name: &'static str,
    address: SocketAddr,
    parts: Vec<Part>,
    hub: Option<HubPart>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    errors: u64,
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let (seconds, rounds) = match wrk::arguments("bench", (3, 6)) {
        Ok(told) => told,
        Err(code) => return code,
    };
    let program = std::env::current_exe().expect("this program is a file");
    let systems = start_systems(&program);
    println!(
        "GET /api/items/42, wrk -t1, {rounds} rounds of {seconds} s each, interleaved; medians\n"
    );
    println!(
        "{:>6}  {:<8} {:>10} {:>9} {:>9} {:>12} {:>7}",
        "conns", "system", "requests/s", "p50", "p99", "CPU/request", "errors"
    );
    let mut any_errors = false;
    for connections in CONNECTIONS {
        let mut results = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                results[index].push(systems[index].measure(connections, seconds));
                eprint!(
                    "\r{connections} connections: round {} of {rounds} ",
                    round + 1
                );
            }
        }
        eprint!("\r\x1b[2K");
        let medians = results.map(|rounds| median(&rounds));
        for (system, round) in systems.iter().zip(medians) {
            any_errors |= round.errors > 0;
            println!(
                "{connections:>6}  {:<8} {:>10.0} {:>9} {:>9} {:>12} {:>7}",
                system.name,
                round.rate,
                units::duration((round.p50_us * 1e3) as u64),
                units::duration((round.p99_us * 1e3) as u64),
                units::duration((round.cpu_us * 1e3) as u64),
                round.errors,
            );
        }
        print_ratios(connections, medians);
    }
    println!("{FLOORS}");
    if any_errors {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn start_systems(program: &std::path::Path) -> [System; 2] {
    let hub = HubPart::start(program, &[]);
    let worker = hub.start_worker("echo", "echo");
    let mut axum = Part::start(program, "axum", &[]);
    let axum_address = address_in(&axum.first_line()).expect("axum says where it listens");
    [
        System {
            name: "slotway",
            address: hub.address,
            parts: vec![worker],
            hub: Some(hub),
        },
        System {
            name: "axum",
            address: axum_address,
            parts: vec![axum],
            hub: None,
        },
    ]
}

fn print_ratios(connections: u32, [ours, theirs]: [Round; 2]) {
    println!(
        "{connections:>6}  {:<8} {:>10.2} {:>9.2} {:>9.2} {:>12.2}\n",
        "ratio",
        ours.rate / theirs.rate,
        ours.p50_us / theirs.p50_us,
        ours.p99_us / theirs.p99_us,
        ours.cpu_us / theirs.cpu_us,
    );
}

impl System {
    fn cpu_seconds(&self) -> f64 {
        self.parts
            .iter()
            .chain(self.hub.iter().map(|hub| &hub.part))
            .map(|part| part.cpu_time().as_secs_f64())
            .sum()
    }

    fn measure(&self, connections: u32, seconds: u32) -> Round {
        let before = self.cpu_seconds();
        let url = format!("http://{}/api/items/42", self.address);
        let result = wrk::run(&url, connections, seconds);
        let cpu = self.cpu_seconds() - before;
        Round {
            rate: result.rate,
            p50_us: result.p50_us,
            p99_us: result.p99_us,
            cpu_us: cpu * 1e6 / result.requests,
            errors: result.errors,
        }
    }
}

fn median(rounds: &[Round]) -> Round {
    let of = |field: fn(&Round) -> f64| {
        statistics::median(&rounds.iter().map(field).collect::<Vec<_>>())
    };
    Round {
        rate: of(|round| round.rate),
        p50_us: of(|round| round.p50_us),
        p99_us: of(|round| round.p99_us),
        cpu_us: of(|round| round.cpu_us),
        errors: rounds.iter().map(|round| round.errors).sum(),
    }
}
