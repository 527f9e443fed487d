//! What the flags have in common: each can be had from the environment, and one that is on or off
//! can say which.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

use super::problem::nearest;

/// What the variables of flags begin with.
const PREFIX: &str = "SLOTWAY_";

/// Gives the flags of a command what they have in common.
pub fn complete(command: Command) -> Command {
    command.mut_args(|flag| with_variable(with_value(flag)))
}

/// `--flag`, and `--flag=false` for one that the configuration file has on.
fn with_value(flag: Arg) -> Arg {
    if !matches!(flag.get_action(), ArgAction::SetTrue) {
        return flag;
    }
    flag.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .value_parser(BoolishValueParser::new())
        .default_missing_value("true")
        .default_value("false")
        .hide_possible_values(true)
        .hide_default_value(true)
}

fn with_variable(flag: Arg) -> Arg {
    let Some(name) = flag.get_long().filter(|_| !flag.is_hide_set()) else {
        return flag;
    };
    if matches!(name, "help" | "version") {
        return flag;
    }
    let name = variable_of(name);
    // HUB_BIND is the older name of one.
    if flag.get_env().is_some() && std::env::var_os(&name).is_none() {
        return flag;
    }
    // Kubernetes tells containers of a service called slotway so.
    let is_a_services = std::env::var(&name).is_ok_and(|value| value.starts_with("tcp://"));
    if is_a_services {
        return flag;
    }
    // One sentence says it of all flags.
    flag.env(name).hide_env(true)
}

/// The variable of a flag.
pub fn variable_of(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_ascii_uppercase())
}

/// Variables that are none of a flag's and look like one that is misspelt, each with that one.
pub fn misspelt(command: &Command) -> Vec<(String, String)> {
    /// Less alike is something else's.
    const ALIKE: f64 = 0.94;
    let flags = command.get_arguments().filter_map(Arg::get_long);
    let known: Vec<_> = flags.map(variable_of).collect();
    let present = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown = present.filter(|name| name.starts_with(PREFIX) && !known.contains(name));
    let misspelt = unknown.filter_map(|name| {
        let near = nearest(&name, known.iter().map(String::as_str))?;
        (strsim::jaro_winkler(&name, near) > ALIKE).then(|| (name.clone(), near.to_owned()))
    });
    misspelt.collect()
}
