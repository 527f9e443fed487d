//! The command line: flags in, exit code out.
//!
//! Without a command it is a hub that serves (`serve`). The other commands ask one that runs
//! (`ask`, shown to people by `show`), or are about the command line itself (`manual`).

mod ask;
mod command;
mod manual;
mod serve;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::config::{Config, settings};
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
/// a command failed, 2 for wrong flags, 70 when it could not go on.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut command = Cli::command();
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match cli.command {
        None => {
            let mut config = cli.config;
            config.settings = settings::of(&command, &matches);
            serve::run(config)
        }
        Some(Command::Man) => manual::man(command),
        Some(Command::Completions { shell }) => manual::completions(shell, command),
        Some(Command::Ask(asked)) => ask::run(&asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
