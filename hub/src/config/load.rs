//! A configuration out of flags, the environment and a file: flags before the environment, that
//! before the file, and the file before defaults.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::file::{self, ConfigFile, Entry};
use super::problem::Problem;
use super::secret::Secret;
use super::{Config, check, command_line, settings};

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The command line is wrong, or asks for help.
    CommandLine(clap::Error),
    /// All that is wrong.
    Problems(Vec<Problem>),
}

/// The flags of a hub that serves.
pub fn command() -> Command {
    command_line::complete(Config::command())
}

/// The configuration of these arguments, the first of which is the program.
pub fn load(arguments: &[OsString]) -> Result<Config, LoadError> {
    let mut config = load_once(arguments)?;
    config.arguments = arguments.to_vec();
    Ok(config)
}

fn load_once(arguments: &[OsString]) -> Result<Config, LoadError> {
    let mut command = command();
    // What needs something that only the file says is no error yet.
    let given = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .map_err(LoadError::CommandLine)?;
    for flag in overridden_variables(&command, &given) {
        command = command.mut_arg(flag, |flag| flag.env(Resettable::<OsStr>::Reset));
    }
    let given = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .map_err(LoadError::CommandLine)?;
    let Some(path) = given.get_one::<PathBuf>("config") else {
        let matches = command.clone().try_get_matches_from(arguments);
        let matches = matches.map_err(in_variable)?;
        return finish(&command, (&given, &matches), ConfigFile::default(), &[]);
    };
    let mut file = file::read(path, &command).map_err(|mut problems| {
        problems.extend(wrong_flags(&command, arguments));
        LoadError::Problems(problems)
    })?;
    file.entries
        .retain(|entry| !is_overridden(&command, &given, entry));
    let (program, rest) = arguments.split_at(arguments.len().min(1));
    let from_file = file.entries.iter().flat_map(Entry::arguments);
    let all = program.iter().cloned();
    let all = all
        .chain(from_file.map(OsString::from))
        .chain(rest.to_vec());
    let matches =
        command
            .clone()
            .try_get_matches_from(all)
            .map_err(|error| match in_variable(error) {
                LoadError::CommandLine(error) => {
                    LoadError::Problems(vec![located(&command, &file, &error)])
                }
                of_variable @ LoadError::Problems(_) => of_variable,
            })?;
    let entries = file.entries.clone();
    finish(&command, (&given, &matches), file, &entries)
}

/// An error of a flag whose value no argument has, but a variable, is the variable's.
fn in_variable(error: clap::Error) -> LoadError {
    let of = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let variable = of(ContextKind::InvalidArg).and_then(|flag| {
        let name = flag
            .trim_start_matches("--")
            .split([' ', '=', '['])
            .next()?;
        let name = command_line::variable_of(name);
        let value = std::env::var(&name).ok()?;
        (of(ContextKind::InvalidValue) == Some(&*value)).then_some(name)
    });
    match variable {
        Some(name) => LoadError::Problems(vec![Problem {
            place: None,
            key: Some(name),
            why: first_line(&error),
        }]),
        None => LoadError::CommandLine(error),
    }
}

/// Variables that say nothing, and perhaps should; each is worth a warning.
pub fn misspelt_variables() -> Vec<String> {
    let misspelt = command_line::misspelt(&command());
    let text = |(name, near): (String, String)| {
        format!("{name} in the environment is no setting; did you mean {near}?")
    };
    misspelt.into_iter().map(text).collect()
}

fn finish(
    command: &Command,
    (given, matches): (&ArgMatches, &ArgMatches),
    file: ConfigFile,
    entries: &[Entry],
) -> Result<Config, LoadError> {
    let mut config = Config::from_arg_matches(matches).map_err(LoadError::CommandLine)?;
    let mut problems = Vec::new();
    config.secret = Secret::find(config.secret_file.as_deref()).unwrap_or_else(|error| {
        problems.push(Problem::of_all(error));
        None
    });
    config.settings = settings::of(command, given, matches, (&file.path, entries));
    config.settings.extend(settings::of_tables(&file));
    config.attach.rules = file.tables.attach;
    config.route_limits = file.tables.routes;
    // What is missing because of that is no error of its own.
    if problems.is_empty() {
        problems.extend(check::check(&config).into_iter().map(Problem::of_all));
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(LoadError::Problems(problems))
    }
}

/// Flags that variables give, and which cannot be used with one of the command line: that goes before.
fn overridden_variables(command: &Command, given: &ArgMatches) -> Vec<clap::Id> {
    let has_source =
        |flag: &clap::Arg, source| given.value_source(flag.get_id().as_str()) == Some(source);
    let of_variables = command
        .get_arguments()
        .filter(|flag| has_source(flag, ValueSource::EnvVariable));
    let is_overridden = |flag: &&clap::Arg| {
        let others = command.get_arguments();
        others
            .filter(|other| has_source(other, ValueSource::CommandLine))
            .any(|other| conflict(command, flag, other))
    };
    let flags = of_variables.filter(is_overridden);
    flags.map(|flag| flag.get_id().clone()).collect()
}

/// Whether two flags cannot be used together; one of them says so.
fn conflict(command: &Command, one: &clap::Arg, other: &clap::Arg) -> bool {
    let says = |one: &clap::Arg, other: &clap::Arg| {
        let conflicts = command.get_arg_conflicts_with(one);
        conflicts.iter().any(|flag| flag.get_id() == other.get_id())
    };
    says(one, other) || says(other, one)
}

/// Whether a flag or a variable says the same, or what goes before it.
fn is_overridden(command: &Command, given: &ArgMatches, entry: &Entry) -> bool {
    let is_given = |flag: &clap::Arg| {
        matches!(
            given.value_source(flag.get_id().as_str()),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    let has_name = |flag: &&clap::Arg| flag.get_long() == Some(&entry.flag);
    let flag = command.get_arguments().find(has_name);
    flag.is_some_and(|flag| {
        let mut others = command.get_arguments();
        is_given(flag) || others.any(|other| is_given(other) && conflict(command, flag, other))
    })
}

/// What is wrong with flags whatever the file says.
fn wrong_flags(command: &Command, arguments: &[OsString]) -> Option<Problem> {
    let error = command.clone().try_get_matches_from(arguments).err()?;
    let may_be_mended = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict
    );
    (!may_be_mended).then(|| Problem::of_all(first_line(&error)))
}

/// An error of all flags together, with the place in the file that it is about.
fn located(command: &Command, file: &ConfigFile, error: &clap::Error) -> Problem {
    let about = [ContextKind::InvalidArg, ContextKind::PriorArg]
        .into_iter()
        .filter_map(|kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(vec![text.clone()]),
            Some(ContextValue::Strings(texts)) => Some(texts.clone()),
            _ => None,
        })
        .flatten();
    let about: Vec<_> = about.collect();
    let is_about = |entry: &&Entry| {
        let is_it = |text: &String| {
            let name = text.trim_start_matches("--");
            name.split([' ', '=']).next() == Some(&entry.flag)
        };
        about.iter().any(is_it)
    };
    // What is missing stands nowhere; what needs it does.
    let needs_more = |entry: &&Entry| {
        let arguments = ["slotway-hub".to_owned()].into_iter();
        let alone = command
            .clone()
            .try_get_matches_from(arguments.chain(entry.arguments()));
        alone.is_err_and(|alone| alone.kind() == error.kind())
    };
    let entry = match error.kind() {
        ErrorKind::MissingRequiredArgument => file.entries.iter().find(needs_more),
        _ => file.entries.iter().find(is_about),
    };
    Problem {
        place: entry.map(|entry| (file.path.clone(), Some(entry.line))),
        key: entry.map(|entry| entry.flag.replace('-', "_")),
        why: all_lines(error),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Without the usage.
fn all_lines(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}
