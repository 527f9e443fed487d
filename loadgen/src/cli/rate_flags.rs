//! Flags that say when requests are due in an open loop.

use std::time::Duration;

use crate::load::plan::Length;
use crate::schedule::{Arrivals, Rate};

/// The flags of an open loop.
#[derive(Clone, Debug, clap::Args)]
pub struct RateFlags {
    /// Open loop: requests per second in all, like 20k, or a ramp FROM:TO
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    rate: Option<Rate>,

    /// Open loop: steps, ramps, spikes and pauses, like 1k@10s,1k:5k@30s,0@2s,20k@500ms
    #[arg(long, value_name = "PROFILE", value_parser = Rate::parse_profile)]
    #[arg(conflicts_with_all = ["rate", "duration"])]
    profile: Option<Rate>,

    /// How requests of an open loop are spread: even, or poisson like those of many users
    #[arg(long, value_name = "HOW", default_value_t)]
    arrivals: Arrivals,
}

impl RateFlags {
    /// The rate of an open loop; `None` for a closed one.
    pub fn rate(&self) -> Result<Option<Rate>, String> {
        let rate = self.profile.as_ref().or(self.rate.as_ref());
        if rate.is_none() && self.arrivals != Arrivals::Even {
            return Err("--arrivals is for open loops: give --rate or --profile".to_owned());
        }
        Ok(rate.map(|rate| rate.clone().with_arrivals(self.arrivals)))
    }

    /// The time that a profile takes, else `length`.
    pub fn length(&self, length: Length) -> Length {
        match self.profile.as_ref().and_then(Rate::seconds) {
            Some(seconds) => Length::Time(Duration::from_secs_f64(seconds)),
            None => length,
        }
    }
}
