//! `just bench`: the hub and a worker, and what people use in its place, in one run on one
//! machine, rounds interleaved. Writes Markdown, JSON and one page. Only the ratios mean
//! anything on another day or machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use slotway_loadgen::compare::rounds::{Contestant, Rounds, measure};
use slotway_loadgen::environment::Environment;
use slotway_loadgen::load::plan::Stop;
use slotway_net::Engine;
use slotway_tests::bench::facts::{self, cpu_time};
use slotway_tests::bench::loads::{self, Load};
use slotway_tests::bench::results::{LoadResult, REFERENCE, Results};
use slotway_tests::bench::systems::{self, System};
use slotway_tests::bench::{markdown, page};
use slotway_tests::roles;

/// Compares the hub with its peers, in one run.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Flags {
    /// Rounds of each load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=100))]
    rounds: u32,
    /// Seconds of each round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// These systems alone, and axum
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(systems::names()))]
    systems: Vec<String>,
    /// These loads alone: get-1, get-16, get-64, get-256, rate-2000, rate-20000, echo-1, echo-16, …
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(loads::ALL.map(|load| load.name())))]
    loads: Vec<String>,
    /// Folder of bench.md, bench.json and bench.html
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Writes the other files again from this JSON file, and measures nothing
    #[arg(long, value_name = "FILE")]
    render: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let flags = Flags::parse();
    let results = match &flags.render {
        Some(file) => read(file),
        None => compare(&flags),
    };
    let written = results.and_then(|results| {
        println!("{}", markdown::overview(&results));
        write(&flags.out, &results)?;
        let loads = &results.loads;
        let systems = loads.iter().flat_map(|load| &load.systems);
        let ours = systems.filter(|rounds| rounds.name.starts_with("slotway"));
        match ours.map(Rounds::error_count).sum() {
            0_u64 => Ok(()),
            errors => Err(format!(
                "{errors} requests to the hub failed; see the tables"
            )),
        }
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path) -> Result<Results, String> {
    let error = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| error(&e))?;
    serde_json::from_str(&text).map_err(|e| error(&e))
}

fn write(folder: &Path, results: &Results) -> Result<(), String> {
    let json = serde_json::to_string_pretty(results).expect("plain data");
    let files = [
        ("bench.md", markdown::render(results)),
        ("bench.json", json + "\n"),
        ("bench.html", page::render(results)),
    ];
    let error = |error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(error)?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(error)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn compare(flags: &Flags) -> Result<Results, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let names: Vec<String> = if flags.systems.is_empty() {
        systems::names().map(str::to_owned).collect()
    } else {
        let chosen = flags.systems.iter().cloned();
        chosen.chain([REFERENCE.to_owned()]).collect()
    };
    let (systems, missing) = systems::start(&program, &names);
    for missing in &missing {
        eprintln!("not measured: {}: {}", missing.name, missing.why);
    }
    let is_chosen = |load: &&Load| flags.loads.is_empty() || flags.loads.contains(&load.name());
    let time = Duration::from_secs_f64(flags.seconds);
    let mut measured = Vec::new();
    for load in loads::ALL.iter().filter(is_chosen) {
        measured.push(measure_load(load, &systems, (flags.rounds, time))?);
    }
    let mut all_facts = Vec::new();
    for system in &systems {
        eprint!("\r\x1b[2Kwhat a request costs: {}", system.name);
        all_facts.push(facts::look(system, time));
    }
    eprint!("\r\x1b[2K");
    Ok(Results {
        schema: "slotway-bench/1".to_owned(),
        environment: environment(flags),
        systems: systems
            .iter()
            .map(|system| (system.name.to_owned(), system.what.to_owned()))
            .collect(),
        missing: missing
            .into_iter()
            .map(|missing| (missing.name.to_owned(), missing.why))
            .collect(),
        loads: measured,
        facts: all_facts,
    })
}

fn measure_load(
    load: &Load,
    systems: &[System],
    (rounds, time): (u32, Duration),
) -> Result<LoadResult, String> {
    let contestants: Vec<_> = systems
        .iter()
        .filter(|system| load.is_for(system))
        .map(|system| {
            let pids = system.pids();
            Contestant {
                name: system.name.to_owned(),
                plan: load.plan(system, time),
                cpu_time: Some(Box::new(move || cpu_time(&pids))),
            }
        })
        .collect();
    let title = load.title();
    let show =
        |round, name: &str| eprint!("\r\x1b[2K{title}: round {} of {rounds}: {name}", round + 1);
    let measured = measure(&contestants, rounds, &Arc::new(Stop::default()), show);
    match measured.cut_short {
        Some(why) => Err(format!("{title}: {why}")),
        None => Ok(LoadResult {
            name: load.name(),
            title,
            rate: load.rate,
            systems: measured.all,
        }),
    }
}

fn environment(flags: &Flags) -> Vec<(String, String)> {
    let all = Environment::look(Engine::Epoll.to_string(), std::env::args());
    let day = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%d"])
        .output();
    let day = day.map_or(String::new(), |day| {
        String::from_utf8_lossy(&day.stdout).trim().to_owned()
    });
    let load = format!(
        "{} rounds of {} s for each load, systems in turns, one thread of load on the same machine",
        flags.rounds, flags.seconds
    );
    [
        (
            "machine",
            format!("{} cores, {}, Linux {}", all.cores, all.cpu, all.kernel),
        ),
        ("date", day),
        ("version", all.version),
        ("measured", load),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .to_vec()
}
