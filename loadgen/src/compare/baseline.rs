//! Rounds kept in a file, to be compared with on another day.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::compare::rounds::Rounds;
use crate::environment::Environment;
use crate::units;

/// Name and version of the file's format.
const SCHEMA: &str = "slotway-loadgen-rounds/1";

/// What a file has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    schema: String,
    /// Kernel, processor and cores, for judging whether two runs can be compared.
    machine: String,
    /// When it was measured, in seconds since 1970.
    measured_unix_s: u64,
    /// The load, in words.
    load: String,
    /// Every target's rounds.
    pub targets: Vec<Rounds>,
}

impl Baseline {
    /// Of rounds measured now.
    pub fn new(environment: &Environment, load: &str, targets: &[Rounds]) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            machine: machine(environment),
            measured_unix_s: environment.started_unix_s,
            load: load.to_owned(),
            targets: targets.to_vec(),
        }
    }

    /// Writes a file.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        std::fs::write(path, text).map_err(|error| format!("--save {}: {error}", path.display()))
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("--baseline {name}: {error}"))?;
        let baseline: Self = serde_json::from_str(&text).map_err(|error| {
            format!("--baseline {name}: not a file that --save has written: {error}")
        })?;
        if baseline.schema != SCHEMA {
            return Err(format!(
                "--baseline {name}: schema {}, expected {SCHEMA}",
                baseline.schema
            ));
        }
        if baseline.targets.is_empty() {
            return Err(format!("--baseline {name}: it has no targets"));
        }
        Ok(baseline)
    }

    /// The rounds to compare a target with: those of its name, else the first.
    pub fn rounds_for(&self, name: &str) -> &Rounds {
        let same = self.targets.iter().find(|target| target.name == name);
        same.unwrap_or(&self.targets[0])
    }

    /// When it was measured, for names.
    pub fn when(&self) -> String {
        format!("then ({})", units::date(self.measured_unix_s))
    }

    /// Its rounds under names that say so.
    pub fn named_targets(&self) -> Vec<Rounds> {
        let named = |rounds: &Rounds| Rounds {
            name: format!("{} {}", rounds.name, self.when()),
            ..rounds.clone()
        };
        self.targets.iter().map(named).collect()
    }

    /// What makes it a doubtful reference here and now.
    pub fn doubts(&self, environment: &Environment, load: &str) -> Vec<String> {
        let mut doubts = vec![
            "the baseline was measured in another run: a machine that was busier then looks like a \
             difference; measure both in one run to be sure"
                .to_owned(),
        ];
        if self.machine != machine(environment) {
            doubts.push(format!(
                "the baseline is of another machine or kernel ({}; here {})",
                self.machine,
                machine(environment)
            ));
        }
        if self.load != load {
            doubts.push(format!(
                "the baseline had another load ({}; now {load})",
                self.load
            ));
        }
        doubts
    }
}

fn machine(environment: &Environment) -> String {
    format!(
        "{}, {} cores, Linux {}",
        environment.cpu, environment.cores, environment.kernel
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rounds::Round;

    fn environment() -> Environment {
        crate::report::sample::environment()
    }

    fn baseline() -> Baseline {
        let rounds = |name: &str| Rounds {
            name: name.to_owned(),
            rounds: vec![Round::default(); 3],
        };
        Baseline::new(&environment(), "8 connections", &[rounds("a"), rounds("b")])
    }

    #[test]
    fn a_saved_file_reads_back_the_same_and_others_are_refused() {
        let name = format!("slotway-baseline-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        baseline().save(&path).unwrap();
        assert_eq!(Baseline::load(&path).unwrap(), baseline());
        std::fs::write(&path, "{}").unwrap();
        assert!(Baseline::load(&path).unwrap_err().contains("--save"));
        std::fs::remove_file(&path).unwrap();
        assert!(Baseline::load(&path).is_err());
    }

    #[test]
    fn a_target_is_compared_with_its_name_s_rounds_and_doubts_are_said() {
        let baseline = baseline();
        assert_eq!(baseline.rounds_for("b").name, "b");
        assert_eq!(baseline.rounds_for("c").name, "a");
        assert_eq!(baseline.doubts(&environment(), "8 connections").len(), 1);
        let elsewhere = Environment {
            cores: 64,
            ..environment()
        };
        assert_eq!(baseline.doubts(&elsewhere, "9 connections").len(), 3);
    }
}
