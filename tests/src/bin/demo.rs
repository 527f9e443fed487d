//! `cargo run --release --bin demo`: a hub and a worker as two processes, some
//! seconds of load, and what came of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use slotway_loadgen::environment::Environment;
use slotway_loadgen::limits::LAG_SHARE_MAX_DEFAULT;
use slotway_loadgen::load::outcome::Outcome;
use slotway_loadgen::load::plan::{Length, Plan, Stop};
use slotway_loadgen::load::run::{RunFailure, run as run_load};
use slotway_loadgen::noise::{self, Trust};
use slotway_loadgen::report::described::DescribedPlan;
use slotway_loadgen::report::progress::Progress;
use slotway_loadgen::report::{Report, html, terminal};
use slotway_loadgen::schedule::Rate;
use slotway_loadgen::workload::{Expected, Template, Workload};
use slotway_net::{Engine, IoChoice, choose};
use slotway_tests::roles;
use slotway_tests::system::HubPart;

const USAGE: &str = "usage: demo [--keep] [--seconds N] [--connections N]

  --keep            leave hub and worker running until Ctrl-C
  --seconds N       seconds of each of the two loads (4)
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
        seconds: 4,
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
    let (throughput, latency) = match loads(options, &url) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            eprintln!("demo: cannot make load: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("Load, hub and worker share this machine's cores; `just bench` compares with axum.");
    if options.keep {
        println!("\nStill running; try it, and end it with Ctrl-C:\n\n  curl -i {url}");
        println!("  curl -i {}/health", hub.url());
        wait_for_interrupt();
    } else {
        println!("\nTo curl it yourself, leave it running:\n");
        println!("  cargo run --release --bin demo -- --keep");
    }
    let went_well =
        |outcome: &Outcome| !outcome.total.latency.is_empty() && outcome.errors().count() == 0;
    if !went_well(&throughput) || !went_well(&latency) {
        eprintln!(
            "demo: there were errors; the hub's log:\n{}",
            hub.part.log()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// First as many requests as it takes, then a steady rate that leaves the
/// machine room: the one shows throughput, the other latency.
fn loads(options: &Options, url: &str) -> Result<(Outcome, Outcome), RunFailure> {
    let engine = choose(IoChoice::Auto).expect("auto always finds one");
    let template = Template {
        method: "GET".to_owned(),
        ..Template::default()
    };
    let expected = Expected {
        status: Some(200),
        ..Expected::default()
    };
    let workload = Workload::of_url(url, &template, expected).expect("a URL of ours");
    let closed = Plan {
        connection_count: options.connections,
        warmup: Duration::from_millis(500),
        length: Length::Time(Duration::from_secs(options.seconds)),
        ..Plan::new(workload, engine.engine)
    };
    println!("\nThroughput: each connection asks again as soon as it is answered.\n");
    let throughput = load(url, &closed, None)?;
    let rate = (throughput.rate() / 10.0 / 1000.0).round().max(0.1) * 1000.0;
    // A generator that never sleeps is never late: with two cores it can have one of them, since
    // a worker keeps to the core of its hub.
    let spin = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
    let open = Plan {
        rate: Some(Rate::constant(rate)),
        engine: if spin { Engine::Epoll } else { closed.engine },
        spin,
        ..closed
    };
    println!(
        "Latency: a steady rate, a tenth of that, counted from each request's intended time.\n"
    );
    let page = page_path();
    let latency = load(url, &open, Some(&page))?;
    println!("The same as a page with charts: {}\n", page.display());
    Ok((throughput, latency))
}

fn load(url: &str, plan: &Plan, page: Option<&Path>) -> Result<Outcome, RunFailure> {
    let stop = Arc::new(Stop::default());
    let noise = match page {
        Some(_) => Some(noise::measure(plan, Duration::from_millis(500), &stop)?),
        None => None,
    };
    let mut progress = Progress::new(plan);
    let outcome = run_load(plan, &stop, &mut progress)?;
    drop(progress);
    let environment = Environment::look(plan.engine.to_string(), std::env::args());
    let report = Report {
        plan: &DescribedPlan::of(plan, url),
        outcome: &outcome,
        noise: noise.as_ref(),
        trust: &Trust::judge(
            &outcome.total.latency,
            &outcome.total.lag,
            LAG_SHARE_MAX_DEFAULT,
        ),
        environment: &environment,
    };
    println!("{}", terminal::render(&report));
    if let Some(page) = page
        && let Err(error) = std::fs::write(page, html::render(&report))
    {
        eprintln!("demo: cannot write {}: {error}", page.display());
    }
    Ok(outcome)
}

/// Beside the folder of this program, which a build made and may clean.
fn page_path() -> PathBuf {
    let program = std::env::current_exe().expect("this program is a file");
    let build = program.parent().and_then(Path::parent);
    build.unwrap_or(Path::new(".")).join("demo.html")
}

fn wait_for_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    // An error would mean that Ctrl-C cannot be waited for: then end.
    let _ = runtime.block_on(tokio::signal::ctrl_c());
}
