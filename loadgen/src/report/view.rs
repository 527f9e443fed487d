//! How a run is watched: on the whole screen, by a line, or not at all.

use crate::load::Interval;
use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Observer, Plan};
use crate::report::live::{self, Live};
use crate::report::progress::Progress;

/// How a user wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Watching {
    /// On the whole screen of a terminal that can do that, by lines else
    #[default]
    Auto,
    /// On the whole screen
    Live,
    /// A line for each interval; on a terminal one that is redrawn
    Lines,
    /// Not at all
    None,
}

/// A run that is watched.
pub enum View {
    /// On the whole screen.
    Live(Box<Live>),
    /// By a line.
    Lines(Progress),
    /// Not at all.
    Nothing,
}

impl Watching {
    /// Whether it can be done.
    pub fn check(self) -> Result<(), String> {
        match live::refusal() {
            Some(why) if self == Self::Live => Err(format!("--progress live: {why}")),
            _ => Ok(()),
        }
    }
}

impl View {
    /// Begins to show a run on a target that the user named so.
    pub fn start(watching: Watching, plan: &Plan, target: &str) -> Self {
        let is_live = match watching {
            Watching::Auto => live::refusal().is_none(),
            Watching::Live => true,
            Watching::Lines => false,
            Watching::None => return Self::Nothing,
        };
        if is_live && let Ok(live) = Live::start(plan, target) {
            return Self::Live(Box::new(live));
        }
        Self::Lines(Progress::new(plan))
    }
}

impl Observer for View {
    fn started(&mut self, plan: &Plan) {
        if let Self::Lines(progress) = self {
            progress.started(plan);
        }
    }

    fn interval(&mut self, point: &Point, interval: &Interval, so_far: &Outcome) {
        match self {
            Self::Live(live) => live.add(point, so_far),
            Self::Lines(progress) => progress.interval(point, interval, so_far),
            Self::Nothing => {}
        }
    }
}
