//! Flags that say what load to make, for one run, the rounds of a comparison, or the
//! steps of a curve.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slotway_net::{Chosen, Engine, IoChoice, choose};

use crate::fill::Values;
use crate::limits::{
    CONNECTION_COUNT_DEFAULT, CONNECTION_COUNT_MAX, DURATION_SECONDS_MAX,
    EPOLL_CONNECTION_COUNT_MAX, THREAD_COUNT_MAX, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX,
};
use crate::load::plan::{Length, Plan};
use crate::schedule::Rate;
use crate::tls::TlsRoots;
use crate::units;
use crate::workload::{Expected, Template, Workload};

/// The flags that all commands share.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadFlags {
    /// Connections in all
    #[arg(short = 'c', long, value_name = "N", default_value_t = CONNECTION_COUNT_DEFAULT)]
    pub connections: usize,

    /// Threads; each has its share of the connections and of the rate
    #[arg(short = 't', long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// Time a request may take before it counts as an error
    #[arg(long, value_name = "TIME", default_value_t = format!("{TIMEOUT_SECONDS_DEFAULT}s"))]
    pub timeout: String,

    /// I/O engine: uring-direct, uring, epoll, or auto: epoll for up to four connections of a thread, which
    /// costs less there, else the first that the system allows
    #[arg(long, value_name = "ENGINE", default_value_t)]
    pub io: IoChoice,

    /// Threads never sleep, so that they are never late: for machines with a core
    /// to spare for each; on epoll
    #[arg(long)]
    pub spin: bool,

    /// Connections opened per second, at the start and when they are replaced
    #[arg(long, value_name = "RATE")]
    pub connect_rate: Option<f64>,

    /// Replace a connection after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests_per_connection: Option<u64>,

    /// Method [default: GET, or POST with a body]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,

    /// Header field, as 'Name: value'; may be given again
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub headers: Vec<String>,

    /// Body
    #[arg(long, value_name = "TEXT", group = "the_body")]
    pub body: Option<String>,

    /// Body from a file
    #[arg(long, value_name = "FILE", group = "the_body")]
    pub body_file: Option<PathBuf>,

    /// Body of so many bytes
    #[arg(long, value_name = "BYTES", group = "the_body")]
    pub body_bytes: Option<usize>,

    /// A CSV file whose columns fill {NAME} in URL, fields and body, a row for each request;
    /// {seq} and {uuid} need no file
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,

    /// For https: certificates of a PEM file count, and not the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// For https: any certificate counts
    #[arg(short = 'k', long, conflicts_with = "cacert")]
    pub insecure: bool,

    /// The right status [default: any below 400]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub expect_status: Option<u16>,

    /// The right length of the response's body
    #[arg(long, value_name = "BYTES")]
    pub expect_bytes: Option<u64>,

    /// The right SHA-256 of the response's body, in hexadecimal
    #[arg(long, value_name = "HASH", value_parser = parse_sha256)]
    pub expect_sha256: Option<[u8; 32]>,
}

impl LoadFlags {
    /// What is sent with every request.
    pub fn template(&self) -> Result<Template, String> {
        let body = match (&self.body, &self.body_file, self.body_bytes) {
            (Some(text), _, _) => text.clone().into_bytes(),
            (_, Some(path), _) => std::fs::read(path)
                .map_err(|error| format!("--body-file {}: {error}", path.display()))?,
            (_, _, Some(bytes)) => vec![b'x'; bytes],
            _ => Vec::new(),
        };
        let mut fields = Vec::new();
        for field in &self.headers {
            let (name, value) = field
                .split_once(':')
                .ok_or_else(|| format!("-H {field:?}: expected 'Name: value'"))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        let values = match &self.values {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
                text.and_then(|text| Values::parse(&text))
                    .map_err(|why| format!("--values {}: {why}", path.display()))?
            }
            None => Values::default(),
        };
        let default_method = if body.is_empty() { "GET" } else { "POST" };
        Ok(Template {
            method: self
                .method
                .clone()
                .unwrap_or_else(|| default_method.to_owned()),
            fields,
            body,
            values: Arc::new(values),
            tls_roots: self.tls_roots()?,
        })
    }

    fn tls_roots(&self) -> Result<TlsRoots, String> {
        match &self.cacert {
            _ if self.insecure => Ok(TlsRoots::Anybody),
            Some(path) => {
                TlsRoots::of_file(path).map_err(|why| format!("--cacert {}: {why}", path.display()))
            }
            None => Ok(TlsRoots::System),
        }
    }

    /// What makes a response right.
    pub fn expected(&self) -> Expected {
        Expected {
            status: self.expect_status,
            body_bytes: self.expect_bytes,
            sha256: self.expect_sha256,
        }
    }

    /// The engine, and how reports name it.
    pub fn engine(&self) -> Result<(Engine, String), String> {
        // A spinning thread never parks, which is when a ring is entered.
        let choice = match (self.io, self.spin) {
            (IoChoice::Uring | IoChoice::UringDirect, true) => {
                return Err("--spin works on epoll only; leave out --io".to_owned());
            }
            (_, true) => IoChoice::Epoll,
            (IoChoice::Auto, false) if self.has_few_connections() => IoChoice::Epoll,
            (choice, false) => choice,
        };
        let Chosen { engine, refusal } = choose(choice)
            .map_err(|refusal| format!("--io {choice}: {refusal}; --io epoll does without"))?;
        let name = match refusal {
            Some(refusal) => format!("{engine}, since {refusal}"),
            None => engine.to_string(),
        };
        Ok((engine, name))
    }

    fn has_few_connections(&self) -> bool {
        self.connections <= self.threads.saturating_mul(EPOLL_CONNECTION_COUNT_MAX)
    }

    /// The plan for a workload.
    pub fn plan(
        &self,
        workload: Workload,
        engine: Engine,
        rate: Option<Rate>,
        warmup: Duration,
        length: Length,
    ) -> Result<Plan, String> {
        let connections = self.connections;
        if !(1..=CONNECTION_COUNT_MAX).contains(&connections) {
            return Err(format!(
                "-c {connections}: expected 1 to {CONNECTION_COUNT_MAX}"
            ));
        }
        if !(1..=THREAD_COUNT_MAX).contains(&self.threads) {
            return Err(format!(
                "-t {}: expected 1 to {THREAD_COUNT_MAX}",
                self.threads
            ));
        }
        if self.threads > connections {
            return Err(format!(
                "-t {} with -c {connections}: each thread needs a connection; raise -c or lower -t",
                self.threads
            ));
        }
        if self
            .connect_rate
            .is_some_and(|rate| !(0.001..=1e6).contains(&rate))
        {
            return Err(
                "--connect-rate: expected connections per second, 0.001 to 1000000".to_owned(),
            );
        }
        let timeout = parse_time("--timeout", &self.timeout, TIMEOUT_SECONDS_MAX)?;
        if timeout.is_zero() {
            return Err("--timeout 0: every request would be an error".to_owned());
        }
        if length == Length::Count(0) || length == Length::Time(Duration::ZERO) {
            return Err("nothing would be measured; give -d or -n more than 0".to_owned());
        }
        Ok(Plan {
            workload: Arc::new(workload),
            engine,
            thread_count: self.threads,
            connection_count: connections,
            rate,
            connect_rate: self.connect_rate,
            requests_per_connection: self.requests_per_connection,
            warmup,
            length,
            timeout,
            spin: self.spin,
            follows_streams: false,
        })
    }
}

/// A name and what stands behind its `=`.
pub fn named(flag: &str, text: &str, expected: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => {
            Ok((name.to_owned(), rest.to_owned()))
        }
        _ => Err(format!("{flag} {text}: expected {expected}")),
    }
}

/// A time: `10`, `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub fn parse_time(flag: &str, text: &str, seconds_max: f64) -> Result<Duration, String> {
    units::parse_time(text, seconds_max).ok_or_else(|| {
        format!("{flag} {text}: expected a time, like 10, 500ms or 2m, at most {seconds_max} s")
    })
}

/// `-d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_time("-d", text, DURATION_SECONDS_MAX)
}

/// `--lag-share-max`.
pub fn parse_share(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|share| share.is_finite() && *share >= 0.0)
        .ok_or_else(|| "expected a share, like 0.25".to_owned())
}

fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err("expected 64 hexadecimal digits".to_owned());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16)
            .map_err(|_| "expected 64 hexadecimal digits".to_owned())?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("2m", 120_000),
        ] {
            let time = parse_time("-d", text, 3600.0).unwrap();
            assert_eq!(time, Duration::from_millis(milliseconds), "{text}");
        }
        for bad in ["", "x", "-1", "5d", "2h", "1e3", "."] {
            assert!(
                parse_time("-d", bad, 3600.0).unwrap_err().contains("500ms"),
                "{bad}"
            );
        }
    }

    #[test]
    fn hashes_are_64_digits() {
        assert_eq!(parse_sha256(&"0f".repeat(32)), Ok([15; 32]));
        for bad in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(parse_sha256(bad).is_err(), "{bad}");
        }
    }
}
