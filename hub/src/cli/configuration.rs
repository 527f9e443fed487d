//! `check-config` and `config`: what a hub would be started with.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::{WRONG_USAGE, show, wrong};
use crate::config::Config;
use crate::config::load::{LoadError, load, misspelt_variables};

/// The file that a package installs.
const USUAL_FILE: &str = "/etc/slotway/hub.toml";

/// Says what is wrong with a configuration, or that nothing is.
pub fn check(flags: Vec<OsString>) -> ExitCode {
    match with_flags(flags) {
        Ok(config) => {
            for warning in misspelt_variables() {
                // In vain only if stderr is closed.
                let _ = writeln!(io::stderr(), "slotway-hub: {warning}");
            }
            print(&format!("{} right\n", name_of(&config)))
        }
        Err(code) => code,
    }
}

/// Prints a configuration, with where each value comes from.
pub fn show(flags: Vec<OsString>, as_json: bool) -> ExitCode {
    match with_flags(flags) {
        Ok(config) if as_json => {
            let settings = json!(config.settings);
            print(&format!("{settings:#}\n"))
        }
        Ok(config) => print(&show::settings(&config.settings)),
        Err(code) => code,
    }
}

/// Prints why there is no configuration.
pub fn complain(error: &LoadError) -> ExitCode {
    match error {
        LoadError::CommandLine(error) => wrong(error),
        LoadError::Problems(problems) => {
            let lines = problems
                .iter()
                .map(|problem| format!("slotway-hub: {problem}\n"));
            // In vain only if stderr is closed.
            let _ = io::stderr().write_all(lines.collect::<String>().as_bytes());
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// A first word that is no flag is a file; without one it is the usual one, if it is there.
fn with_flags(mut flags: Vec<OsString>) -> Result<Config, ExitCode> {
    let is_flag = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let has_config = |word: &OsString| word.as_encoded_bytes().starts_with(b"--config");
    if flags.first().is_some_and(|word| !is_flag(word)) {
        flags.insert(0, "--config".into());
    } else if !flags.iter().any(has_config) && std::path::Path::new(USUAL_FILE).exists() {
        flags.splice(0..0, ["--config".into(), USUAL_FILE.into()]);
    }
    flags.insert(0, "slotway-hub".into());
    load(&flags).map_err(|error| complain(&error))
}

fn name_of(config: &Config) -> String {
    match &config.config {
        Some(path) => format!("{} is", path.display()),
        None if config.has_flags() => "the flags are".to_owned(),
        None => format!("there is no {USUAL_FILE}; the defaults are"),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = writeln!(io::stderr(), "slotway-hub: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
