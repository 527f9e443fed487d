//! The commands beside serving.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use clap_complete::Shell;

use crate::limits::PORT_DEFAULT;

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// For a hub that runs.
    #[command(flatten)]
    Ask(Asked),

    /// Say what is wrong with a configuration, or that it is right
    CheckConfig {
        /// A file, or the flags that the hub would get, for example --config FILE --slots 9
        /// [default: /etc/slotway/hub.toml]
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        flags: Vec<OsString>,
    },

    /// Print a configuration, with where each value comes from
    Config {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
        /// A file, or the flags that the hub would get, for example --config FILE --slots 9
        /// [default: /etc/slotway/hub.toml]
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        flags: Vec<OsString>,
    },

    /// Write a completion script for a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Write the man page to standard output
    Man,
}

/// What a hub that runs can be asked.
#[derive(Debug, Subcommand)]
pub enum Asked {
    /// Show how the hub is: readiness, traffic, latencies, faults, incidents
    Status {
        /// Fail unless the hub takes requests, as /ready does: for health checks
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        hub: WhichHub,
    },

    /// List the workers with their state, version, uptime and slots
    Workers {
        #[command(flatten)]
        hub: WhichHub,
    },

    /// List the routes with their workers and latencies; or, with a path, say who would
    /// answer a request for it
    Routes {
        /// A path as it would be sent, like /items/1
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        path: Option<String>,
        /// The method of that request
        #[arg(long, default_value = "GET", requires = "path")]
        method: String,
        /// The Host field of that request
        #[arg(long, requires = "path")]
        host: Option<String>,
        #[command(flatten)]
        hub: WhichHub,
    },

    /// Take what has changed in the configuration file, and say what has to wait for a new start
    Reload {
        #[command(flatten)]
        hub: WhichHub,
    },

    /// Show what every slot in use is in
    Slots {
        #[command(flatten)]
        hub: WhichHub,
    },

    /// Let workers finish what they have, and end
    Drain {
        /// A worker's name (all of its instances), process number or worker id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        worker: String,
        #[command(flatten)]
        hub: WhichHub,
    },

    /// Put workers out at once; requests that they have begun get 502
    Evict {
        /// A worker's name (all of its instances), process number or worker id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        worker: String,
        #[command(flatten)]
        hub: WhichHub,
    },

    /// Show each request of a route as it ends: when, how long, in which phase, which
    /// worker, which status; until Ctrl-C
    Trace {
        /// The route's pattern, as it is registered; all routes without one
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        route: Option<String>,
        #[command(flatten)]
        hub: WhichHub,
    },
}

impl Asked {
    /// Which hub is meant.
    pub fn hub(&self) -> &WhichHub {
        match self {
            Self::Status { hub, .. }
            | Self::Workers { hub }
            | Self::Routes { hub, .. }
            | Self::Reload { hub }
            | Self::Slots { hub }
            | Self::Drain { hub, .. }
            | Self::Evict { hub, .. }
            | Self::Trace { hub, .. } => hub,
        }
    }
}

/// Which hub is meant, and how its reply is shown.
#[derive(Debug, Args)]
pub struct WhichHub {
    /// The hub's attach socket [default: under `$XDG_RUNTIME_DIR` or /run, by --port]
    #[arg(long, env = "HUB_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// The hub's port, to find its socket by
    #[arg(long, default_value_t = PORT_DEFAULT)]
    pub port: u16,

    /// Print the hub's reply as JSON
    #[arg(long)]
    pub json: bool,
}
