//! The command line of `slotway-loadgen`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::closed_loop::{self, Plan, Progress};
use crate::limits::{
    CONNECTION_COUNT_DEFAULT, CONNECTION_COUNT_MAX, DURATION_SECONDS_DEFAULT,
    WARMUP_SECONDS_DEFAULT,
};
use crate::report;
use crate::target::Target;

/// Closed-loop HTTP load with HDR histograms.
#[derive(Debug, Parser)]
#[command(name = "slotway-loadgen", version, about)]
struct Arguments {
    /// What to ask for: http://host:port/path
    url: String,

    /// Connections, each with one request in flight
    #[arg(short = 'c', long, default_value_t = CONNECTION_COUNT_DEFAULT)]
    connections: usize,

    /// Seconds to measure
    #[arg(short = 'd', long, value_name = "SECONDS", default_value_t = DURATION_SECONDS_DEFAULT)]
    duration: f64,

    /// Seconds before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = WARMUP_SECONDS_DEFAULT)]
    warmup: f64,
}

/// Runs the load. Exit codes: 0, 1 when nothing was answered, 2 for wrong
/// arguments.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match plan(&arguments) {
        Ok(plan) => measure(&plan),
        Err(why) => {
            eprintln!("slotway-loadgen: {why}");
            ExitCode::from(2)
        }
    }
}

fn plan(arguments: &Arguments) -> Result<Plan, String> {
    if !(1..=CONNECTION_COUNT_MAX).contains(&arguments.connections) {
        return Err(format!(
            "-c {}: expected 1 to {CONNECTION_COUNT_MAX}",
            arguments.connections
        ));
    }
    let seconds = |flag: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .filter(|time| *time <= Duration::from_hours(24))
            .ok_or_else(|| format!("{flag} {value}: expected seconds, at most a day"))
    };
    let duration = seconds("--duration", arguments.duration)?;
    if duration.is_zero() {
        return Err("--duration 0: nothing would be measured".to_owned());
    }
    Ok(Plan {
        target: Target::parse(&arguments.url).map_err(|error| error.to_string())?,
        connection_count: arguments.connections,
        warmup: seconds("--warmup", arguments.warmup)?,
        duration,
    })
}

fn measure(plan: &Plan) -> ExitCode {
    let outcome = match closed_loop::run(plan, show_progress) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("slotway-loadgen: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    end_progress();
    println!(
        "{}\n{}",
        report::table(&outcome),
        report::histogram(&outcome.latencies)
    );
    if outcome.latencies.is_empty() {
        eprintln!("slotway-loadgen: no request was answered; is the target up?");
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

/// Progress: one line that is redrawn on a terminal, lines elsewhere.
pub fn show_progress(progress: &Progress) {
    let line = report::progress(progress);
    let mut stderr = std::io::stderr();
    // In vain only if stderr is closed, and then nobody looks.
    let _ = if stderr.is_terminal() {
        write!(stderr, "\r\x1b[2K  {line}").and_then(|()| stderr.flush())
    } else {
        writeln!(stderr, "  {line}")
    };
}

/// Ends the redrawn line.
pub fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
}
