//! What can go wrong with a request, counted by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No connection: refused.
    Refused,
    /// No connection for another reason.
    Connect,
    /// Connected, and no agreement on TLS.
    Tls,
    /// The connection was reset or broke.
    Reset,
    /// The connection was closed before the response was whole.
    Closed,
    /// No whole response in time.
    Timeout,
    /// Not HTTP/1.x, and why.
    Malformed(&'static str),
    /// A response that is no event stream.
    NoEventStream,
    /// An event stream that ended.
    StreamEnded,
    /// Another status than expected.
    Status(u16),
    /// A body of another length than expected.
    BodyLength,
    /// A body of another SHA-256 than expected.
    BodyHash,
    /// A message of `WebSocket` that came back as another.
    Echo,
}

impl ErrorKind {
    /// Of a connection that was not made.
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused,
            _ => Self::Connect,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Connect => f.write_str("no connection"),
            Self::Tls => f.write_str("no TLS"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("closed early"),
            Self::Timeout => f.write_str("timeout"),
            Self::Malformed(why) => write!(f, "malformed: {why}"),
            Self::NoEventStream => f.write_str("no event stream"),
            Self::StreamEnded => f.write_str("stream ended"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::BodyLength => f.write_str("wrong body length"),
            Self::BodyHash => f.write_str("wrong body hash"),
            Self::Echo => f.write_str("another message came back"),
        }
    }
}

/// Errors by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    counts: BTreeMap<ErrorKind, u64>,
    /// Those of a report that was read back, by the names of their kinds.
    read: BTreeMap<String, u64>,
}

impl Errors {
    /// Counts one.
    pub fn add(&mut self, kind: ErrorKind) {
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Of a report that was read back.
    pub fn of_names(read: BTreeMap<String, u64>) -> Self {
        Self {
            counts: BTreeMap::new(),
            read,
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.read {
            *self.read.entry(name.clone()).or_default() += count;
        }
        for (kind, count) in &other.counts {
            *self.counts.entry(*kind).or_default() += count;
        }
    }

    /// Errors of all kinds.
    pub fn count(&self) -> u64 {
        self.counts.values().chain(self.read.values()).sum()
    }

    /// Names of kinds, and how many of each.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let mut all = self.read.clone();
        for (kind, count) in &self.counts {
            *all.entry(kind.to_string()).or_default() += count;
        }
        all
    }

    /// The kind that there is most of.
    pub fn foremost(&self) -> Option<ErrorKind> {
        self.counts
            .iter()
            .max_by_key(|(_, count)| **count)
            .map(|(kind, _)| *kind)
    }
}
