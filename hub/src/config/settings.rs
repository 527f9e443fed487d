//! Every flag with its value and where that comes from, for people to look at.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// A flag's value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// The flag, without its dashes.
    pub name: String,
    /// Its value as it was written; empty if it has none.
    pub value: String,
    /// `default`, `environment` or `command line`.
    pub source: &'static str,
}

/// All flags that are not hidden. What is secret is no flag.
pub fn of(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let setting = |flag: &clap::Arg| {
        let id = flag.get_id().as_str();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ => "default",
        };
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        let value = match flag.get_action().takes_values() {
            true => values.join(", "),
            false if source == "command line" => "on".to_owned(),
            false => "off".to_owned(),
        };
        Some(Setting {
            name: flag.get_long()?.to_owned(),
            value,
            source,
        })
    };
    flags.filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::CommandFactory;

    #[test]
    fn a_setting_says_its_value_and_where_it_comes_from() {
        let command = Config::command();
        let flags = ["slotway-hub", "--slots", "9", "--server-timing"];
        let matches = command.clone().get_matches_from(flags);
        let settings = of(&command, &matches);
        let find = |name: &str| {
            settings
                .iter()
                .find(|setting| setting.name == name)
                .unwrap()
        };
        assert_eq!(
            (&*find("slots").value, find("slots").source),
            ("9", "command line")
        );
        assert_eq!(find("server-timing").value, "on");
        assert_eq!(find("instrumentation").value, "off");
        assert_eq!(
            (&*find("port").value, find("port").source),
            ("3200", "default")
        );
        assert!(settings.iter().all(|setting| setting.name != "region-size"));
    }
}
