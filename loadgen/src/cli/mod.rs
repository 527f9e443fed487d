//! The command line of `slotway-loadgen`: `run_command`, `compare_command`, `find_command` and
//! `sweep_command`, with the flags that they share (`load_flags`, `rate_flags`), `report_command` for reports that were
//! written (`files`, `curve_files`), what they say (`output`) and what Ctrl-C does (`signals`).

mod compare_command;
mod curve_files;
mod files;
mod find_command;
mod load_flags;
mod output;
mod rate_flags;
mod report_command;
mod run_command;
mod signals;
mod sweep_command;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use output::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, fail, show};

/// What it is called.
const NAME: &str = "slotway-loadgen";

/// HTTP load with latencies that an engineer would sign.
///
/// Without --rate, a closed loop: each connection sends its next request when
/// the last is answered. With --rate, an open loop: requests have intended
/// times, and latency counts from there.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
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
    /// Find the highest rate that holds a goal
    Find(find_command::FindFlags),
    /// Measure latency over chosen rates, of one target or several
    Sweep(sweep_command::SweepFlags),
    /// Draw a report again that --json has written
    Report(report_command::ReportFlags),
    /// Add reports of several runs, or of machines that ran at once
    Merge(report_command::ReportFlags),
    /// Write the man page to standard output
    #[command(hide = true)]
    Man,
    /// Write completions for a shell to standard output
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Runs the command. Exit codes: 0; 1 when nothing could be measured; 2 for
/// wrong arguments; 3 when a `--fail-if` condition held; 130 and 143 after a signal.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let shown = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    let code = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match arguments.command {
            Some(Command::Compare(flags)) => compare_command::run(&flags, &shown),
            Some(Command::Find(flags)) => find_command::run(&flags, &shown),
            Some(Command::Sweep(flags)) => sweep_command::run(&flags, &shown),
            Some(Command::Report(flags)) => report_command::run_report(&flags),
            Some(Command::Merge(flags)) => report_command::run_merge(&flags),
            Some(Command::Man) => manual(|page| Man::new(Arguments::command()).render(page)),
            Some(Command::Completions { shell }) => manual(|script| {
                clap_complete::generate(shell, &mut Arguments::command(), NAME, script);
                Ok(())
            }),
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

/// Shows what clap makes of the flags.
fn manual(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> u8 {
    let mut text = Vec::new();
    match write(&mut text) {
        Ok(()) => {
            show(&String::from_utf8_lossy(&text));
            EXIT_OK
        }
        Err(error) => fail(EXIT_FAILURE, error),
    }
}
