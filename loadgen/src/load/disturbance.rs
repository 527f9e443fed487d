//! What others took from this process while it measured.

use std::time::Duration;

/// Counters of the system at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Ticks that a hypervisor gave to other machines, and ticks of all cores.
    steal: Option<(u64, u64)>,
    /// How long processes of this cgroup were held back for its quota.
    throttled: Option<Duration>,
}

/// What was taken between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disturbance {
    /// Which part of the cores' time a hypervisor gave to other machines.
    pub steal_share: Option<f64>,
    /// How long this cgroup was held back for its quota.
    pub throttled: Option<Duration>,
}

impl Counters {
    /// Looks at them.
    pub fn now() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            steal: steal(&read("/proc/stat")),
            throttled: throttled(&read(&format!("{}/cpu.stat", cgroup()))),
        }
    }

    /// What was taken since an earlier moment.
    pub fn since(self, earlier: Self) -> Disturbance {
        let steal_share = self.steal.zip(earlier.steal).and_then(|(now, then)| {
            let all = now.1.checked_sub(then.1).filter(|all| *all > 0)?;
            Some(now.0.saturating_sub(then.0) as f64 / all as f64)
        });
        let throttled = self.throttled.zip(earlier.throttled);
        Disturbance {
            steal_share,
            throttled: throttled.map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// The folder of this process's cgroup (`cgroups(7)`, version 2).
pub fn cgroup() -> String {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    format!("/sys/fs/cgroup{}", path.unwrap_or("").trim_end_matches('/'))
}

/// From the first line of `/proc/stat` (`proc_stat(5)`).
fn steal(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guest times are in user.
    let own = fields.get(..8)?;
    Some((own[7], own.iter().sum()))
}

fn throttled(stat: &str) -> Option<Duration> {
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix("throttled_usec "))?;
    Some(Duration::from_micros(line.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_and_throttling_are_what_came_between() {
        let at = |steal, idle, throttled| Counters {
            steal: super::steal(&format!("cpu  10 0 10 {idle} 0 0 0 {steal} 5 0\ncpu0 1")),
            throttled: super::throttled(&format!("usage_usec 9\nthrottled_usec {throttled}\n")),
        };
        let taken = at(30, 1000, 2_000_000).since(at(10, 920, 500_000));
        assert_eq!(taken.steal_share, Some(0.2));
        assert_eq!(taken.throttled, Some(Duration::from_millis(1500)));
        let unknown = Counters::default();
        assert_eq!(at(1, 1, 1).since(unknown), Disturbance::default());
        assert_eq!((steal(""), throttled("")), (None, None));
    }
}
