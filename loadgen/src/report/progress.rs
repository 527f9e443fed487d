//! How a run goes, while it goes: a line that is redrawn on a terminal, lines
//! elsewhere.

use std::io::{IsTerminal, Write};

use crate::load::Interval;
use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Length, Observer, Plan};
use crate::units;

/// Shows how far a run has come, on stderr, so that figures can be piped.
pub struct Progress {
    length: Length,
    is_terminal: bool,
    is_drawn: bool,
}

impl Progress {
    /// For a run of this plan.
    pub fn new(plan: &Plan) -> Self {
        Self {
            length: plan.length,
            is_terminal: std::io::stderr().is_terminal(),
            is_drawn: false,
        }
    }

    /// Shows a line in place of the last.
    pub fn show(&mut self, line: &str) {
        let mut stderr = std::io::stderr();
        self.is_drawn = self.is_terminal;
        // In vain only if stderr is closed, and then nobody looks.
        let _ = if self.is_terminal {
            write!(stderr, "\r\x1b[2K  {line}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "  {line}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_drawn {
            eprint!("\r\x1b[2K");
        }
    }
}

impl Observer for Progress {
    fn started(&mut self, plan: &Plan) {
        if !plan.warmup.is_zero() {
            self.show(&format!(
                "warming up for {}",
                units::duration(plan.warmup.as_nanos() as u64)
            ));
        }
    }

    fn interval(&mut self, point: &Point, _interval: &Interval, so_far: &Outcome) {
        let line = line(self.length, point, so_far);
        self.show(&line);
    }
}

fn line(length: Length, point: &Point, so_far: &Outcome) -> String {
    let rate = point.response_count as f64 / point.seconds.max(f64::MIN_POSITIVE);
    let left = match length {
        Length::Time(time) => {
            let left = time.saturating_sub(so_far.elapsed);
            if left.is_zero() {
                "last responses".to_owned()
            } else {
                format!("{:.1} s left", left.as_secs_f64())
            }
        }
        Length::Count(count) => {
            let done = so_far.total.response_count + so_far.errors().count();
            format!("{} left", units::count(count.saturating_sub(done)))
        }
    };
    format!(
        "{:>9} {}   p50 {:>8}   p99 {:>8}   {}   {left}",
        units::rate(rate),
        if so_far.streams.is_some() {
            "events/s"
        } else {
            "requests/s"
        },
        units::duration(point.p50_ns),
        units::duration(point.p99_ns),
        units::plural(so_far.errors().count(), "error"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use std::time::Duration;

    #[test]
    fn a_line_has_rate_percentiles_errors_and_what_is_left() {
        let outcome = sample::outcome();
        let point = &outcome.points[1];
        let timed = line(Length::Time(Duration::from_secs(5)), point, &outcome);
        for part in [
            "3,400 requests/s",
            "p50  80.0 µs",
            "p99  9.00 ms",
            "3 errors",
            "3.0 s left",
        ] {
            assert!(timed.contains(part), "{part:?} in {timed:?}");
        }
        let counted = line(Length::Count(10_000), point, &outcome);
        assert!(counted.ends_with("3,197 left"), "{counted}");
        let over = line(Length::Time(Duration::from_secs(2)), point, &outcome);
        assert!(over.ends_with("last responses"), "{over}");
    }
}
