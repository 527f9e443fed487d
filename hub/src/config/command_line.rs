//! What the flags have in common: each can be had from the environment, and one that is on or off
//! can say which.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

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
    if flag.get_env().is_some() || matches!(name, "help" | "version") {
        return flag;
    }
    let name = format!("{PREFIX}{}", name.replace('-', "_").to_ascii_uppercase());
    // One sentence says it of all flags.
    flag.env(name).hide_env(true)
}
