//! The configuration file: TOML whose keys are the flags, with underscores for dashes, and
//! tables for what no flag can say (`tables`). Everything that is wrong is found at once.

use std::any::TypeId;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, nearest};
use super::source::{self, Source};
use super::tables::{self, Tables};

/// What a file says.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its keys that are flags, in its order.
    pub entries: Vec<Entry>,
    /// Its tables.
    pub tables: Tables,
}

/// A key that is a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The flag, without its dashes.
    pub flag: String,
    /// Its values, as the flag would have them.
    pub values: Vec<String>,
    /// The line of the key.
    pub line: usize,
}

impl Entry {
    /// As arguments of the command line.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        let flag = &self.flag;
        self.values
            .iter()
            .map(move |value| format!("--{flag}={value}"))
    }
}

/// Reads a file for a command with these flags.
pub fn read(path: &Path, command: &Command) -> Result<ConfigFile, Vec<Problem>> {
    let text = source::read(path).map_err(|error| {
        vec![Problem {
            place: Some((path.to_owned(), None)),
            key: None,
            why: format!("cannot read the configuration: {error}"),
        }]
    })?;
    parse(path, &text, command)
}

/// Reads its text.
pub fn parse(path: &Path, text: &str, command: &Command) -> Result<ConfigFile, Vec<Problem>> {
    let source = Source::new(path, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors
        .iter()
        .map(|error| Problem {
            place: Some((path.to_owned(), error.span().map(|span| source.line(&span)))),
            key: None,
            why: format!("not TOML: {}", error.message()),
        })
        .collect();
    let mut file = ConfigFile {
        path: path.to_owned(),
        ..ConfigFile::default()
    };
    let quiet = command.clone().mut_args(without_environment);
    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let name = key.get_ref().as_ref();
        if let Some(name) = tables::NAMES.into_iter().find(|known| *known == name) {
            file.tables.read(&source, name, value, &mut problems);
            continue;
        }
        match find_flag(command, name) {
            Ok(flag) => match entry(&source, &quiet, flag, (name, &key.span()), value) {
                Ok(entry) => file.entries.push(entry),
                Err(problem) => problems.push(problem),
            },
            Err(why) => problems.push(source.problem(&key.span(), name, why)),
        }
    }
    problems.sort_by_key(|problem| problem.place.clone());
    if problems.is_empty() {
        Ok(file)
    } else {
        Err(problems)
    }
}

/// The flags that a file may have.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_one = |flag: &&Arg| {
        let is_own = |name| matches!(name, "config" | "help" | "version");
        !flag.is_hide_set() && flag.get_long().is_some_and(|name| !is_own(name))
    };
    command.get_arguments().filter(is_one)
}

fn find_flag<'c>(command: &'c Command, key: &str) -> Result<&'c Arg, String> {
    let name_of = |flag: &Arg| flag.get_long().unwrap_or_default().replace('-', "_");
    if let Some(flag) = flags(command).find(|flag| name_of(flag) == key) {
        return Ok(flag);
    }
    let names: Vec<_> = flags(command).map(name_of).collect();
    let known = names.iter().map(String::as_str).chain(tables::NAMES);
    Err(match nearest(key, known) {
        Some(near) => format!("there is no such key; did you mean {near}?"),
        None => "there is no such key; keys are the flags of slotway-hub --help, with _ for -"
            .to_owned(),
    })
}

fn entry(
    source: &Source<'_>,
    command: &Command,
    flag: &Arg,
    (key, key_span): (&str, &Range<usize>),
    value: &Spanned<DeValue<'_>>,
) -> Result<Entry, Problem> {
    let is_list = matches!(flag.get_action(), ArgAction::Append);
    let wrong = |span: &Range<usize>, why: String| source.problem(span, key, why);
    let values = match value.get_ref() {
        DeValue::Array(items) if is_list && items.is_empty() => {
            return Err(wrong(&value.span(), "the list is empty".to_owned()));
        }
        DeValue::Array(items) if is_list => items.iter().collect(),
        DeValue::Array(_) => {
            return Err(wrong(
                &value.span(),
                "expected one value, not a list".to_owned(),
            ));
        }
        _ => vec![value],
    };
    let name = flag.get_long().unwrap_or_default();
    let texts = values.into_iter().map(|value| {
        let text = text_of(flag, value.get_ref()).map_err(|why| wrong(&value.span(), why))?;
        match check(command, name, &text) {
            Ok(()) => Ok(text),
            Err(why) => Err(wrong(&value.span(), why)),
        }
    });
    Ok(Entry {
        flag: name.to_owned(),
        values: texts.collect::<Result<_, _>>()?,
        line: source.line(key_span),
    })
}

/// A value as the command line would have it.
fn text_of(flag: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let is = |types: &[TypeId]| {
        let own = flag.get_value_parser().type_id();
        types.iter().any(|one| own == *one)
    };
    let is_bool = is(&[TypeId::of::<bool>()]);
    let is_number = is(&[
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
    ]);
    let found = match value {
        DeValue::Boolean(on) if is_bool => return Ok(on.to_string()),
        DeValue::Integer(number) if !is_bool => return Ok(number.to_string()),
        DeValue::Float(number) if is(&[TypeId::of::<f64>()]) => return Ok(number.to_string()),
        DeValue::String(text) if !is_bool && !is_number => return Ok(text.to_string()),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    let expected = match (is_bool, is_number) {
        (true, _) => "true or false",
        (_, true) => "a whole number",
        _ => "a text in quotes",
    };
    Err(format!("expected {expected}, not {found}"))
}

/// Has the flag look at the value; what it needs beside it is looked at later.
fn check(command: &Command, flag: &str, value: &str) -> Result<(), String> {
    let argument = format!("--{flag}={value}");
    let Err(error) = command
        .clone()
        .try_get_matches_from(["slotway-hub", &argument])
    else {
        return Ok(());
    };
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    match error.kind() {
        ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument => Ok(()),
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue);
            if known.is_empty() {
                return Err("a value is missing".to_owned());
            }
            let near = nearest(value, known.iter().map(String::as_str));
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            Err(format!(
                "expected one of {}, not {value:?}{hint}",
                known.join(", ")
            ))
        }
        _ => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let why = why.unwrap_or_else(|| {
                error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            });
            Err(format!("{value:?}: {why}"))
        }
    }
}

fn without_environment(flag: Arg) -> Arg {
    flag.env(Resettable::<clap::builder::OsStr>::Reset)
}
