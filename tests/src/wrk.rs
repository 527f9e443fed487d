//! Running wrk and reading what it prints.

use std::process::{Command, ExitCode};

/// What wrk says of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wrk {
    /// Requests per second.
    pub rate: f64,
    /// Requests in all.
    pub requests: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Longest latency.
    pub max_us: f64,
    /// Socket errors and answers other than 2xx and 3xx.
    pub errors: u64,
}

/// Whether it can be run.
pub fn is_installed() -> bool {
    Command::new("wrk").arg("-v").output().is_ok()
}

/// What a benchmark that runs wrk is told: seconds for each round, and how many rounds. With
/// wrong arguments or without wrk it says why, and how the program is to end.
pub fn arguments(program: &str, defaults: (u32, u32)) -> Result<(u32, u32), ExitCode> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<u32>());
    let told = match (numbers.next(), numbers.next()) {
        (None, None) => defaults,
        (Some(Ok(seconds)), None) => (seconds, defaults.1),
        (Some(Ok(seconds)), Some(Ok(rounds))) => (seconds, rounds),
        _ => {
            eprintln!("usage: {program} [SECONDS_PER_ROUND [ROUNDS]]");
            return Err(ExitCode::from(2));
        }
    };
    if !is_installed() {
        eprintln!("{program}: wrk is needed; install it (`apt-get install wrk`)");
        return Err(ExitCode::FAILURE);
    }
    Ok(told)
}

/// Runs `wrk -t1` against a URL.
pub fn run(url: &str, connections: u32, seconds: u32) -> Wrk {
    let output = Command::new("wrk")
        .args(["-t1", "--latency"])
        .args([format!("-c{connections}"), format!("-d{seconds}s")])
        .arg(url)
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = parse(&text);
    assert!(result.requests > 0.0, "{url} answered nothing:\n{text}");
    result
}

fn parse(text: &str) -> Wrk {
    let mut result = Wrk::default();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["50%", value] => result.p50_us = microseconds(value),
            ["99%", value] => result.p99_us = microseconds(value),
            ["Latency", _mean, _deviation, max, ..] => result.max_us = microseconds(max),
            ["Requests/sec:", value] => result.rate = value.parse().unwrap_or(0.0),
            [count, "requests", "in", ..] => result.requests = count.parse().unwrap_or(0.0),
            ["Non-2xx", .., count] => result.errors += count.parse().unwrap_or(1),
            ["Socket", "errors:", rest @ ..] => {
                result.errors += rest
                    .iter()
                    .filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok())
                    .sum::<u64>();
            }
            _ => {}
        }
    }
    result
}

/// A time as wrk prints it.
fn microseconds(text: &str) -> f64 {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        _ => 1e6,
    };
    number.parse::<f64>().unwrap_or(0.0) * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 1s test @ http://h/\n  1 threads and 8 connections\n  Thread Stats   Avg      \
                    Stdev     Max   +/- Stdev\n    Latency   100.00us  50.00us   2.00ms   90.00%\n  \
                    Latency Distribution\n     50%   95.00us\n     99%    1.50ms\n  12345 requests in \
                    1.00s, 1.00MB read\n  Socket errors: connect 0, read 2, write 0, timeout 1\n  \
                    Non-2xx or 3xx responses: 7\nRequests/sec:  12300.50\n";
        let read = parse(text);
        assert_eq!((read.requests as u64, read.rate as u64), (12_345, 12_300));
        assert_eq!((read.p50_us as u64, read.p99_us as u64), (95, 1_500));
        assert_eq!((read.max_us as u64, read.errors), (2_000, 10));
    }
}
