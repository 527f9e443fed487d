//! The command line of `slotway-loadgen`: `run_command` and `compare_command`, with the
//! flags of both (`load_flags`), what they say (`output`) and what Ctrl-C does
//! (`signals`).

mod compare_command;
mod load_flags;
mod output;
mod run_command;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{EXIT_OK, EXIT_USAGE};

/// HTTP load with latencies that an engineer would sign.
///
/// Without --rate, a closed loop: each connection sends its next request when
/// the last is answered. With --rate, an open loop: requests have intended
/// times, and latency counts from there.
#[derive(Debug, Parser)]
#[command(
    name = "slotway-loadgen",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    run: run_command::RunFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare targets in interleaved rounds, with confidence intervals
    Compare(compare_command::CompareFlags),
}

/// Runs the command. Exit codes: 0; 1 when nothing could be measured; 2 for
/// wrong arguments; 3 when a `--fail-if` condition held.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let shown = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    let code = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match arguments.command {
            Some(Command::Compare(flags)) => compare_command::run(&flags, &shown),
            None => run_command::run(&arguments.run, &shown),
        },
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = error.print();
            if error.use_stderr() {
                EXIT_USAGE
            } else {
                EXIT_OK
            }
        }
    };
    ExitCode::from(code)
}
