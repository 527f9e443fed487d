//! Takes what has changed in the configuration while the hub serves.

use std::sync::{Arc, PoisonError};

use super::Shared;
use super::attach_policy::AttachPolicy;
use super::message::ControlMessage;
use crate::config::Config;
use crate::config::error::ConfigError;
use crate::config::live::{Changes, Live};
use crate::config::load::{self, LoadError};
use crate::config::problem::Problem;
use crate::config::secret::Secret;

/// Reads the configuration again, as the hub was started. If anything is wrong with it, nothing
/// changes.
///
/// Blocks: files are read, and users are looked up.
fn reload(shared: &Shared) -> Result<Changes, Vec<Problem>> {
    // One after the other, each as a whole.
    let _turn = shared
        .reloading
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
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

/// Has a thread of its own do so, since it blocks, and hand on what came of it.
pub fn reload_aside(
    shared: Arc<Shared>,
    done: impl FnOnce(Result<Changes, Vec<Problem>>) + Send + 'static,
) {
    let thread = std::thread::Builder::new().name("configuration".to_owned());
    if let Err(error) = thread.spawn(move || done(reload(&shared))) {
        tracing::error!("configuration not read again, for want of a thread: {error}");
    }
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
    if live.secret.is_none()
        && let Some(address) = shared.public_address
    {
        return Err(vec![Problem::of_all(ConfigError::NoSecret(address))]);
    }
    let is_same = Secret::is_same(shared.live.borrow().secret.as_ref(), live.secret.as_ref());
    open_attach_file(shared, &config)?;
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

/// The permissions of the attach socket's file follow who may attach, unless they are set.
fn open_attach_file(shared: &Shared, config: &Config) -> Result<(), Vec<Problem>> {
    let Some(path) = &shared.attach_file else {
        return Ok(());
    };
    // What the file has by flags waits for a new start.
    let mut options = shared.config.attach.clone();
    options.attach_user.clone_from(&config.attach.attach_user);
    options.attach_group.clone_from(&config.attach.attach_group);
    options.rules.clone_from(&config.attach.rules);
    let Some(mode) = options.file_access().mode else {
        return Ok(());
    };
    let mode = rustix::fs::Mode::from_raw_mode(mode.0);
    rustix::fs::chmod(path, mode).map_err(|error| {
        let why = format!("cannot open {} to them: {error}", path.display());
        vec![Problem::of_all(why)]
    })
}
