//! Which cores the reactors keep to.

use std::fmt;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity};

/// Where reactors run (`--affinity`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Wherever the scheduler puts them.
    #[default]
    Off,
    /// Each on a core of its own, as far as there are any; the first core comes last, since
    /// others have their work there.
    Auto,
    /// On these in turn.
    Cores(Vec<usize>),
}

impl FromStr for Affinity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected off, auto, or cores like 0,2-5".to_owned();
        let number = |text: &str| {
            let core = text.parse::<usize>().ok();
            core.filter(|core| *core < CpuSet::MAX_CPU)
                .ok_or_else(wrong)
        };
        match text {
            "off" => return Ok(Self::Off),
            "auto" => return Ok(Self::Auto),
            _ => {}
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        Ok(Self::Cores(cores))
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::Auto => f.pad("auto"),
            Self::Cores(cores) => f.pad(&list(cores)),
        }
    }
}

impl Affinity {
    /// The core of a reactor, if it keeps to one.
    pub fn core_of(&self, reactor: u32) -> Option<usize> {
        let allowed = match self {
            Self::Off => return None,
            Self::Auto => {
                let mut allowed = allowed_cores();
                let one = allowed.len().min(1);
                allowed.rotate_left(one);
                allowed
            }
            Self::Cores(cores) => cores.clone(),
        };
        let index = (reactor as usize).checked_rem(allowed.len())?;
        Some(allowed[index])
    }

    /// A core that this process may not use, and those that it may.
    pub fn forbidden(&self) -> Option<(usize, String)> {
        let Self::Cores(cores) = self else {
            return None;
        };
        let allowed = allowed_cores();
        let forbidden = cores.iter().find(|core| !allowed.contains(core))?;
        Some((*forbidden, list(&allowed)))
    }
}

fn allowed_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect()
}

fn list(cores: &[usize]) -> String {
    let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed_one_by_one_or_from_one_to_another() {
        let cores = |text: &str| text.parse::<Affinity>();
        assert_eq!(cores("0,2-4"), Ok(Affinity::Cores(vec![0, 2, 3, 4])));
        assert_eq!(cores("0,2-4").unwrap().to_string(), "0,2,3,4");
        for wrong in ["", "on", "4-2", "1,", "-1", "1-", "9999999", "0 1"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reactors_take_the_cores_in_turn() {
        let of = |text: &str, reactor| text.parse::<Affinity>().unwrap().core_of(reactor);
        assert_eq!(of("off", 0), None);
        assert_eq!(
            [of("5,7", 0), of("5,7", 1), of("5,7", 2)],
            [Some(5), Some(7), Some(5)]
        );
        let all = allowed_cores();
        assert_eq!(of("auto", all.len() as u32 - 1), all.first().copied());
        assert!("auto".parse::<Affinity>().unwrap().forbidden().is_none());
        let forbidden = Affinity::Cores(vec![CpuSet::MAX_CPU - 1]).forbidden();
        assert!(forbidden.is_some_and(|(core, _)| core == CpuSet::MAX_CPU - 1));
    }
}
