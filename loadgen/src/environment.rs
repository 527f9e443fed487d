//! Where and how a run was made: what a reader needs to judge its figures.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a report says of the machine and the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// This program's version.
    pub version: String,
    /// Command line.
    pub command: String,
    /// Kernel release.
    pub kernel: String,
    /// Model name of the first core.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Engine, and why it is not the one wanted first.
    pub engine: String,
    /// When the run was started, in seconds since 1970.
    pub started_unix_s: u64,
}

impl Environment {
    /// Looks around.
    pub fn look(engine: String, arguments: impl Iterator<Item = String>) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: command_line(arguments),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            engine,
            started_unix_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
        }
    }
}

/// The arguments so that a shell would read them as they were. The program goes
/// by its name: where it stands is nobody's business.
fn command_line(mut arguments: impl Iterator<Item = String>) -> String {
    let program = arguments.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c))
    };
    let mut words = vec![name];
    words.extend(arguments.map(without_secret).map(|argument| {
        if is_plain(&argument) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    }));
    words.join(" ")
}

/// Values of header fields that let people in are not for reports, which get
/// shown around.
fn without_secret(argument: String) -> String {
    const SECRETS: [&str; 6] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "key",
    ];
    match argument
        .split_once(": ")
        .or_else(|| argument.split_once(':'))
    {
        Some((name, _)) if !name.contains('/') => {
            let lower = name.to_ascii_lowercase();
            if SECRETS.iter().any(|secret| lower.contains(secret)) {
                format!("{name}: …")
            } else {
                argument
            }
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_header_fields_are_not_shown() {
        let arguments = [
            "x",
            "-H",
            "Authorization: Bearer s3cret",
            "-H",
            "X-Api-Key:s3cret",
            "http://h/token:1",
        ];
        let shown = command_line(arguments.map(str::to_owned).into_iter());
        assert!(
            !shown.contains("s3cret") && shown.contains("Authorization"),
            "{shown}"
        );
        assert!(shown.ends_with("http://h/token:1"));
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell_and_shows_no_folder() {
        let arguments = [
            "/home/me/slotway-loadgen",
            "http://h/?a=b",
            "--fail-if",
            "p99>2ms",
            "it's",
        ];
        assert_eq!(
            command_line(arguments.map(str::to_owned).into_iter()),
            "slotway-loadgen 'http://h/?a=b' --fail-if 'p99>2ms' 'it'\\''s'"
        );
    }
}
