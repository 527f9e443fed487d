//! Every flag with its value and where that comes from, for people to look at.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::file::{ConfigFile, Entry};

/// A flag's value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// The flag, without its dashes.
    pub name: String,
    /// Its value as it was written; empty if it has none.
    pub value: String,
    /// `default`, `environment`, `command line`, or the line of a file.
    pub source: String,
}

/// All flags that are not hidden, with the values that `matches` has, and the sources that
/// `given` has, which knows of no file. What is secret is no flag.
pub fn of(
    command: &Command,
    given: &ArgMatches,
    matches: &ArgMatches,
    (path, entries): (&Path, &[Entry]),
) -> Vec<Setting> {
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let setting = |flag: &clap::Arg| {
        let (id, name) = (flag.get_id().as_str(), flag.get_long()?);
        let entry = entries.iter().find(|entry| entry.flag == name);
        let source = match (given.value_source(id), entry) {
            (Some(ValueSource::CommandLine), _) => "command line".to_owned(),
            (Some(ValueSource::EnvVariable), _) => "environment".to_owned(),
            (_, Some(entry)) => at_line(path, entry.line),
            _ => "default".to_owned(),
        };
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        let value = match &*values.join(", ") {
            "true" => "on".to_owned(),
            "false" => "off".to_owned(),
            values => values.to_owned(),
        };
        let name = name.to_owned();
        Some(Setting {
            name,
            value,
            source,
        })
    };
    flags.filter_map(setting).collect()
}

/// The tables of a file.
pub fn of_tables(file: &ConfigFile) -> Vec<Setting> {
    let tables = file.tables.lines.iter();
    let setting = |(name, value, line): &(&str, String, usize)| Setting {
        name: format!("[[{name}]]"),
        value: value.clone(),
        source: at_line(&file.path, *line),
    };
    tables.map(setting).collect()
}

fn at_line(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn a_setting_says_its_value_and_where_it_comes_from() {
        let command = load::command();
        let flags = ["slotway-hub", "--slots", "9", "--server-timing"];
        let matches = command.clone().get_matches_from(flags);
        let entry = Entry {
            flag: "queue".to_owned(),
            values: vec!["7".to_owned()],
            line: 3,
        };
        let file = (Path::new("hub.toml"), &[entry][..]);
        let settings = of(&command, &matches, &matches, file);
        let find = |name: &str| {
            let setting = settings.iter().find(|setting| setting.name == name);
            let setting = setting.unwrap();
            (&*setting.value, &*setting.source)
        };
        assert_eq!(find("slots"), ("9", "command line"));
        assert_eq!(find("server-timing").0, "on");
        assert_eq!(find("instrumentation"), ("off", "default"));
        assert_eq!(find("port"), ("3200", "default"));
        assert_eq!(find("queue").1, "hub.toml:3");
        assert!(settings.iter().all(|setting| setting.name != "region-size"));
    }
}
