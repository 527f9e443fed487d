//! Times of the command line: `30`, `250ms`, `2s`, `5m`, `1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::TIMEOUT_MAX;

/// A time; a number alone is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Duration);

impl Time {
    /// So long.
    pub const fn new(time: Duration) -> Self {
        Self(time)
    }

    /// As the rest of the program has it.
    pub fn get(self) -> Duration {
        self.0
    }

    /// In whole milliseconds.
    pub fn ms(self) -> u64 {
        self.0.as_millis() as u64
    }
}

/// Parses a time, at least `min` and at most a day.
pub fn at_least(min: Duration) -> impl Fn(&str) -> Result<Time, String> + Clone {
    let max = TIMEOUT_MAX;
    move |text| {
        let time: Time = text.parse()?;
        if (min..=max).contains(&time.0) {
            return Ok(time);
        }
        let min = Time(min);
        Err(format!("expected {min} to 24h"))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms = match unit {
            "ms" => Some(1),
            "" | "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let number = number.parse::<u64>().ok();
        let ms = number
            .zip(unit_ms)
            .and_then(|(n, unit)| n.checked_mul(unit));
        match ms {
            Some(ms) => Ok(Self(Duration::from_millis(ms))),
            None => {
                Err("expected a time like 250ms, 30s or 5m; a number alone is seconds".to_owned())
            }
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.ms();
        if ms.is_multiple_of(1000) {
            write!(f, "{}s", ms / 1000)
        } else {
            write!(f, "{ms}ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, ms) in [
            ("30", 30_000),
            ("0", 0),
            ("250ms", 250),
            ("2s", 2000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().ms(), ms, "{text}");
        }
        for wrong in [
            "",
            "s",
            "-1",
            "1.5s",
            "1 s",
            "1d",
            "99999999999999999999",
            "9999999999999999h",
        ] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
        assert_eq!(Time::new(Duration::from_secs(30)).to_string(), "30s");
        let parse = at_least(Duration::from_millis(10));
        assert_eq!(parse("9ms"), Err("expected 10ms to 24h".to_owned()));
        assert!(parse("10ms").is_ok() && parse("25h").is_err());
    }
}
