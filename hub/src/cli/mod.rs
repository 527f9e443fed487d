//! The command line: flags in, exit code out.
//!
//! Without a command it is a hub that serves (`serve`). The other commands ask one that runs
//! (`ask`, shown to people by `show`), or are about the `configuration` or the command line itself
//! (`manual`).

mod ask;
mod command;
mod configuration;
mod manual;
mod serve;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::config::Config;
use command::Command;

/// HTTP in, shared memory through, HTTP out.
#[derive(Debug, Parser)]
#[command(
    name = "slotway-hub",
    version,
    about,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Commands for a hub that runs"
)]
struct Cli {
    #[command(flatten)]
    config: Config,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs the hub until SIGTERM or SIGINT, or a command. Exit codes: 0 after a graceful stop
/// or a command that was carried out, 1 when it cannot start, its stop had to be cut short, or
/// a command failed, 2 for a wrong configuration, 70 when it could not go on.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    let mut command = Cli::command();
    // Whether flags are right is for `load` to say, which knows the file.
    let begun = command.clone().ignore_errors(true);
    let has_command = match begun.try_get_matches_from(&arguments) {
        Ok(matches) => matches.subcommand_name().is_some(),
        Err(help) => return wrong(&help),
    };
    if !has_command {
        return serve::run(&arguments);
    }
    let parsed = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed.map(|cli| cli.command) {
        // Without a command it has served.
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(Command::Man)) => manual::man(command),
        Ok(Some(Command::Completions { shell })) => manual::completions(shell, command),
        Ok(Some(Command::CheckConfig { flags })) => configuration::check(flags),
        Ok(Some(Command::Config { json, flags })) => configuration::show(flags, json),
        Ok(Some(Command::Ask(asked))) => ask::run(&asked),
        Err(error) => wrong(&error),
    }
}

/// Prints what clap says.
fn wrong(error: &clap::Error) -> ExitCode {
    // In vain only if stderr is closed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { 0 })
}

/// A wrong configuration.
const WRONG_USAGE: u8 = 2;
