//! `cargo run --release --bin demo`: a hub and a worker as two processes, some
//! seconds of load, and what came of it.

use std::process::ExitCode;
use std::time::Duration;

use slotway_loadgen::closed_loop::{self, Plan};
use slotway_loadgen::target::Target;
use slotway_loadgen::{cli, report};
use slotway_tests::roles;
use slotway_tests::system::HubPart;

const USAGE: &str = "usage: demo [--keep] [--seconds N] [--connections N]

  --keep            leave hub and worker running until Ctrl-C
  --seconds N       seconds of load (5)
  --connections N   connections (64)";

struct Options {
    keep: bool,
    seconds: u64,
    connections: usize,
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    match options(std::env::args().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("demo: {why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        keep: false,
        seconds: 5,
        connections: 64,
    };
    while let Some(argument) = arguments.next() {
        let mut number = |least: u64, most: u64| {
            let value = arguments.next().unwrap_or_default();
            value
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or(format!("{argument} {value}: expected {least} to {most}"))
        };
        match argument.as_str() {
            "--keep" => options.keep = true,
            "--seconds" => options.seconds = number(1, 3600)?,
            "--connections" => options.connections = number(1, 1000)? as usize,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("{other}: no such flag")),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> ExitCode {
    let program = std::env::current_exe().expect("this program is a file");
    println!("starting a hub and a worker, two processes that share memory …");
    let slots = options.connections.max(256).to_string();
    let hub = HubPart::start(&program, &["--slots", &slots]);
    let worker = hub.start_worker("echo", "echo");
    let url = format!("{}/api/items/42", hub.url());
    println!(
        "  hub     process {}, {}\n  worker  process {}, attached at {}",
        hub.part.pid().as_raw_nonzero(),
        hub.url(),
        worker.pid().as_raw_nonzero(),
        hub.socket.display(),
    );
    println!(
        "\nGET /api/items/42 over {} connections for {} s:",
        options.connections, options.seconds
    );
    let plan = Plan {
        target: Target::parse(&url).expect("a URL of ours"),
        connection_count: options.connections,
        warmup: Duration::from_millis(500),
        duration: Duration::from_secs(options.seconds),
    };
    let outcome = match closed_loop::run(&plan, cli::show_progress) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("demo: cannot make load: {error}");
            return ExitCode::FAILURE;
        }
    };
    cli::end_progress();
    println!(
        "\n{}\n{}",
        report::table(&outcome),
        report::histogram(&outcome.latencies)
    );
    println!("Load, hub and worker share this machine's cores; `just bench` compares with axum.");
    if options.keep {
        println!("\nStill running; try it, and end it with Ctrl-C:\n\n  curl -i {url}");
        println!("  curl -i {}/health", hub.url());
        wait_for_interrupt();
    } else {
        println!("\nTo curl it yourself, leave it running:\n");
        println!("  cargo run --release --bin demo -- --keep");
    }
    if outcome.latencies.is_empty() || outcome.error_count() > 0 {
        eprintln!(
            "demo: there were errors; the hub's log:\n{}",
            hub.part.log()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn wait_for_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    // An error would mean that Ctrl-C cannot be waited for: then end.
    let _ = runtime.block_on(tokio::signal::ctrl_c());
}
