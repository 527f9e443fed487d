//! What came of a comparison.

use serde::{Deserialize, Serialize};
use slotway_loadgen::compare::rounds::{Metric, Rounds};
use slotway_loadgen::compare::statistics::{Ratio, median};
use slotway_loadgen::units;

use super::facts::Facts;

/// Whom the others are compared with.
pub const REFERENCE: &str = "axum";

/// All of it; what the JSON file has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Of this file's layout.
    pub schema: String,
    /// Where and when it was measured, a name and a text each.
    pub environment: Vec<(String, String)>,
    /// Name of each system, and what it is.
    pub systems: Vec<(String, String)>,
    /// Name of each system that was not there, and why.
    pub missing: Vec<(String, String)>,
    /// What each load gave.
    pub loads: Vec<LoadResult>,
    /// What requests cost beside time.
    pub facts: Vec<Facts>,
}

/// What one load gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadResult {
    /// The load's name.
    pub name: String,
    /// The same in words.
    pub title: String,
    /// Of an open loop: requests per second.
    pub rate: Option<u32>,
    /// The rounds of every system that was given it.
    pub systems: Vec<Rounds>,
}

impl Results {
    /// What a load gave.
    pub fn load(&self, name: &str) -> Option<&LoadResult> {
        self.loads.iter().find(|load| load.name == name)
    }
}

impl LoadResult {
    /// The rounds of a system.
    pub fn of(&self, system: &str) -> Option<&Rounds> {
        self.systems.iter().find(|rounds| rounds.name == system)
    }

    /// The median of a system's rounds.
    pub fn median(&self, system: &str, metric: Metric) -> Option<f64> {
        let values = self.of(system)?.values(metric);
        (!values.is_empty()).then(|| median(&values))
    }

    /// A system against the reference, round by round.
    pub fn ratio(&self, system: &str, metric: Metric) -> Option<Ratio> {
        let (ours, theirs) = (self.of(system)?, self.of(REFERENCE)?);
        Ratio::paired(&ours.values(metric), &theirs.values(metric))
    }
}

/// A figure as people read it.
pub fn shown(metric: Metric, value: Option<f64>) -> String {
    match (metric, value) {
        (_, None) => "–".to_owned(),
        (Metric::Rate, Some(value)) => units::count(value.round() as u64),
        (_, Some(value)) => units::duration(value.round() as u64),
    }
}
