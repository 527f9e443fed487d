//! What can change while a hub serves.

use std::time::Duration;

use super::Config;
use super::deadlines::Deadlines;
use super::secret::Secret;
use super::settings::Setting;
use crate::http::forwarded::TrustedProxy;
use crate::routing::area::LimitRule;
use crate::routing::limits::{Limits, RouteLimits};
use crate::routing::registration::RouteSpec;

/// The flags (and tables) that can change while the hub serves.
const NAMES: [&str; 19] = [
    "[[attach]]",
    "[[route]]",
    "attach-group",
    "attach-user",
    "body-bytes-max",
    "body-rate-min",
    "body-timeout",
    "drain-timeout",
    "head-timeout",
    "idle-timeout",
    "queue",
    "requests-per-connection",
    "secret-file",
    "shutdown-delay",
    "timeout",
    "trusted-proxy",
    "worker-grace",
    "write-rate-min",
    "write-timeout",
];

/// Their values.
#[derive(Clone, Debug)]
pub struct Live {
    /// What a route may use that says nothing of it.
    pub limits: Limits,
    /// What routes may use.
    pub route_limits: Vec<LimitRule>,
    /// How long clients are waited for.
    pub deadlines: Deadlines,
    /// How long requests wait for a worker that has just gone.
    pub worker_grace_ms: u64,
    /// How long what is in flight may take at an end.
    pub drain_time: Duration,
    /// How long the hub accepts when it is about to stop.
    pub shutdown_delay: Duration,
    /// After how many a connection ends; 0 for never.
    pub requests_per_connection: u64,
    /// Who is believed of whom he speaks for.
    pub trusted_proxy: Vec<TrustedProxy>,
    /// What peers from elsewhere must know.
    pub secret: Option<Secret>,
}

impl Live {
    /// What a configuration says.
    pub fn of(config: &Config) -> Self {
        Self {
            limits: Limits {
                timeout_ms: config.timeout.ms(),
                body_bytes_max: config.body_bytes_max,
                queue: config.queue,
            },
            route_limits: config.route_limits.clone(),
            deadlines: config.deadlines(),
            worker_grace_ms: config.worker_grace.ms(),
            drain_time: config.drain_timeout.get(),
            shutdown_delay: config.shutdown_delay.get(),
            requests_per_connection: config.requests_per_connection,
            trusted_proxy: config.trusted_proxy.clone(),
            secret: config.secret.clone(),
        }
    }

    /// What a route may use of what not all routes may.
    pub fn limits_of(&self, route: &RouteSpec, of_worker: RouteLimits) -> RouteLimits {
        LimitRule::limits_of(&self.route_limits, route).stricter(of_worker)
    }
}

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of what changes at once.
    pub taken: Vec<String>,
    /// Names of what changes when the hub starts anew.
    pub left: Vec<String>,
}

impl Changes {
    /// Between what is and what is to be. `settings` becomes what then is.
    pub fn take(settings: &mut Vec<Setting>, new: &[Setting]) -> Self {
        let mut changes = Self::default();
        let of = |settings: &[Setting], name: &str| -> Vec<String> {
            let own = settings.iter().filter(|setting| setting.name == name);
            own.map(|setting| setting.value.clone()).collect()
        };
        let names = settings.iter().chain(new).map(|setting| &setting.name);
        let mut names: Vec<_> = names.cloned().collect();
        names.sort();
        names.dedup();
        for name in names {
            let is_live = NAMES.contains(&&*name);
            if of(settings, &name) != of(new, &name) {
                let names = if is_live {
                    &mut changes.taken
                } else {
                    &mut changes.left
                };
                names.push(name);
            }
        }
        let kept = settings
            .drain(..)
            .filter(|setting| changes.left.contains(&setting.name));
        let mut kept: Vec<_> = kept.collect();
        let taken = new
            .iter()
            .filter(|setting| !changes.left.contains(&setting.name));
        kept.extend(taken.cloned());
        *settings = kept;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn what_can_change_are_flags_and_tables() {
        let command = load::command();
        for name in NAMES {
            let is_flag = command
                .get_arguments()
                .any(|flag| flag.get_long() == Some(name));
            assert!(is_flag || name.starts_with("[["), "{name}");
        }
    }

    #[test]
    fn changes_are_taken_or_left_for_a_new_start() {
        let setting = |name: &str, value: &str| Setting {
            name: name.to_owned(),
            value: value.to_owned(),
            source: "default".to_owned(),
        };
        let mut settings = vec![setting("slots", "9"), setting("timeout", "30s")];
        let new = [
            setting("slots", "8"),
            setting("timeout", "5s"),
            setting("[[attach]]", "user = 1"),
        ];
        let changes = Changes::take(&mut settings, &new);
        assert_eq!(changes.taken, ["[[attach]]", "timeout"]);
        assert_eq!(changes.left, ["slots"]);
        let values: Vec<_> = settings.iter().map(|setting| &*setting.value).collect();
        assert_eq!(
            values,
            ["9", "5s", "user = 1"],
            "what is, and not what is to be"
        );
        assert_eq!(Changes::take(&mut settings, &new).left, ["slots"]);
    }
}
