//! Where and how a run was made: what a reader needs to judge its figures.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::load::disturbance::cgroup;

/// What a report says of the machine and the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// What of the machine's settings matters.
    #[serde(default)]
    pub settings: Settings,
    /// When the run was started, in seconds since 1970.
    pub started_unix_s: u64,
}

/// Settings that move latencies; `None` where the system does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What chooses the cores' frequencies.
    pub governor: Option<String>,
    /// Whether cores may run above their nominal frequency.
    pub turbo: Option<bool>,
    /// Whether two threads share a core.
    pub smt: Option<bool>,
    /// Cores that this cgroup may use.
    pub cpu_quota_cores: Option<f64>,
}

impl Settings {
    /// Looks around below `root`, for a process of this cgroup.
    fn look(root: &Path, cgroup: &str) -> Self {
        let read = |path: &str| {
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            Some(text.trim().to_owned())
        };
        let cpu = "sys/devices/system/cpu";
        let no_turbo = read(&format!("{cpu}/intel_pstate/no_turbo")).map(|text| text == "0");
        let boost = read(&format!("{cpu}/cpufreq/boost")).map(|text| text == "1");
        Self {
            governor: read(&format!("{cpu}/cpu0/cpufreq/scaling_governor")),
            turbo: no_turbo.or(boost),
            smt: read(&format!("{cpu}/smt/active")).map(|text| text == "1"),
            // A group has no more than those above it.
            cpu_quota_cores: Path::new(cgroup.trim_start_matches('/'))
                .ancestors()
                .filter_map(|group| read(&format!("{}/cpu.max", group.display())))
                .filter_map(|text| {
                    let (quota, period) = text.split_once(' ')?;
                    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
                })
                .reduce(f64::min),
        }
    }

    /// Those that are known, in words.
    pub fn words(&self) -> String {
        let on = |is_on: bool| if is_on { "on" } else { "off" };
        let known = [
            self.governor
                .as_ref()
                .map(|name| format!("governor {name}")),
            self.turbo.map(|turbo| format!("turbo {}", on(turbo))),
            self.smt.map(|smt| format!("SMT {}", on(smt))),
            self.cpu_quota_cores
                .map(|cores| format!("quota of {cores:.2} cores")),
        ];
        let known: Vec<_> = known.into_iter().flatten().collect();
        if known.is_empty() {
            "not told by the system".to_owned()
        } else {
            known.join(", ")
        }
    }

    /// What spoils latencies, each in a sentence.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(governor) = &self.governor
            && governor != "performance"
        {
            warnings.push(format!(
                "the governor is {governor}: cores that idle get slow, and latencies hold the time until they are quick again; cpupower frequency-set -g performance"
            ));
        }
        warnings
    }
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
            settings: Settings::look(Path::new("/"), &cgroup()),
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

    #[test]
    fn settings_are_read_where_the_system_has_them() {
        let name = format!("slotway-settings-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let cpu = root.join("sys/devices/system/cpu");
        for folder in ["cpu0/cpufreq", "cpufreq", "smt"] {
            std::fs::create_dir_all(cpu.join(folder)).unwrap();
        }
        let cgroup = "/sys/fs/cgroup/a/b";
        std::fs::create_dir_all(root.join("sys/fs/cgroup/a/b")).unwrap();
        let write = |path: &str, text: &str| std::fs::write(root.join(path), text).unwrap();
        write(
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "powersave\n",
        );
        write("sys/devices/system/cpu/cpufreq/boost", "1\n");
        write("sys/devices/system/cpu/smt/active", "0\n");
        write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        let settings = Settings::look(&root, cgroup);
        assert_eq!(
            settings.words(),
            "governor powersave, turbo on, SMT off, quota of 1.50 cores"
        );
        assert!(settings.warnings()[0].contains("powersave"));
        write("sys/fs/cgroup/a/cpu.max", "max 100000\n");
        assert_eq!(Settings::look(&root, cgroup).cpu_quota_cores, None);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(Settings::look(&root, cgroup), Settings::default());
    }
}
