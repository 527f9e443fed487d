//! Flags of the logs.

use std::str::FromStr;

use clap::Args;

use crate::access_log::fields::Fields;
use crate::access_log::writer::{Format, Options, Place};
use crate::logging::LogFormat;

/// Flags of the logs, and of what tells requests apart.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// How the hub's own log is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Write a line for each request to this file (opened anew at SIGHUP), or to standard
    /// output: -
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PlaceFlag>,

    /// How it is written
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        requires = "access_log"
    )]
    pub access_log_format: Format,

    /// What its lines have
    #[arg(
        long,
        value_name = "FIELDS",
        requires = "access_log",
        help = "What its lines have, of time, client, method, path, query, protocol, host, status, aborted, bytes, duration_us, phases_us, route, worker, request_id, trace_id, user_agent, referer; +query is the usual ones and that [default: time,client,method,path,status,aborted,bytes,duration_us,route,worker,request_id]"
    )]
    pub access_log_fields: Option<Fields>,

    /// One request of so many has a line; those that failed (5xx, or cut off) always do
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "access_log")]
    pub access_log_sample: u32,

    /// Give each request an X-Request-Id that has none, for its worker, its response and the
    /// logs
    #[arg(long)]
    pub request_id: bool,

    /// Give each request a traceparent (W3C Trace Context) that has none, or none that is
    /// valid
    #[arg(long)]
    pub trace_context: bool,

    /// The share of those that is marked to be sampled, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = parse_share, allow_negative_numbers = true, requires = "trace_context")]
    pub trace_sample: f64,
}

impl LogOptions {
    /// The access log, if there is to be one.
    pub fn access_log(&self) -> Option<Options> {
        let PlaceFlag(place) = self.access_log.clone()?;
        Some(Options {
            place,
            format: self.access_log_format,
            fields: self.access_log_fields.unwrap_or_default(),
            sample: self.access_log_sample,
        })
    }
}

/// Where lines go, as a flag says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFlag(Place);

impl FromStr for PlaceFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("expected a file, or - for standard output".to_owned()),
            "-" => Ok(Self(Place::Stdout)),
            path => Ok(Self(Place::File(path.into()))),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}
