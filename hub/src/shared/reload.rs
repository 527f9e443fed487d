//! Takes what has changed in the configuration while the hub serves.

use std::sync::Arc;

use super::Shared;
use super::attach_policy::AttachPolicy;
use super::message::ControlMessage;
use crate::config::live::{Changes, Live};
use crate::config::load::{self, LoadError};
use crate::config::problem::Problem;
use crate::config::secret::Secret;

/// Reads the configuration again, as the hub was started. If anything is wrong with it, nothing
/// changes.
pub fn reload(shared: &Shared) -> Result<Changes, Vec<Problem>> {
    let result = try_reload(shared);
    match &result {
        Ok(changes) => {
            tracing::info!(
                "configuration read again; taken: {}",
                listed(&changes.taken)
            );
            if !changes.left.is_empty() {
                tracing::warn!(
                    "configuration: these wait for a new start of the hub: {}",
                    listed(&changes.left)
                );
            }
        }
        Err(problems) => {
            for problem in problems {
                tracing::error!("configuration not taken, nothing changes: {problem}");
            }
        }
    }
    result
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

fn try_reload(shared: &Shared) -> Result<Changes, Vec<Problem>> {
    let arguments = &shared.config.arguments;
    if arguments.is_empty() {
        return Ok(Changes::default());
    }
    let config = load::load(arguments).map_err(|error| match error {
        LoadError::Problems(problems) => problems,
        LoadError::CommandLine(error) => vec![Problem::of_all(error)],
    })?;
    let rules = config.attach.rules();
    let rules = rules.map_err(|error| vec![Problem::of_all(error)])?;
    let live = Live::of(&config);
    let is_same = Secret::is_same(shared.live.borrow().secret.as_ref(), live.secret.as_ref());
    let mut changes = Changes::take(&mut shared.settings(), &config.settings);
    if !is_same {
        changes.taken.push("secret".to_owned());
    }
    shared.live.send_replace(Arc::new(live));
    shared.attach_policy.send_replace(AttachPolicy::new(rules));
    // Routes have their limits from it, and the reactors look at both.
    shared.tell_control(ControlMessage::Reloaded);
    Ok(changes)
}
