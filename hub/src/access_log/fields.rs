//! What a line of the access log can say.

use std::str::FromStr;

/// A field of a line, by its name in the JSON format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// When the request ended, UTC.
    Time,
    /// The client's address, or whom a trusted proxy names.
    Client,
    /// The method.
    Method,
    /// The path, without the query.
    Path,
    /// The query, as sent; it may hold secrets.
    Query,
    /// `HTTP/1.1` or `HTTP/1.0`.
    Protocol,
    /// The Host field.
    Host,
    /// The status; 0 if the client left before there was one.
    Status,
    /// Whether the response was cut off, or there was none.
    Aborted,
    /// Bytes sent, head included.
    Bytes,
    /// From the whole head to the end of the response, in microseconds.
    Duration,
    /// Where the time went, in microseconds, for the requests whose phases are measured.
    Phases,
    /// The route's pattern.
    Route,
    /// The worker that responded.
    Worker,
    /// X-Request-Id.
    RequestId,
    /// The trace id of traceparent.
    TraceId,
    /// User-Agent.
    UserAgent,
    /// Referer.
    Referer,
}

impl Field {
    /// All of them, in the order of a line.
    pub const ALL: [Self; 18] = [
        Self::Time,
        Self::Client,
        Self::Method,
        Self::Path,
        Self::Query,
        Self::Protocol,
        Self::Host,
        Self::Status,
        Self::Aborted,
        Self::Bytes,
        Self::Duration,
        Self::Phases,
        Self::Route,
        Self::Worker,
        Self::RequestId,
        Self::TraceId,
        Self::UserAgent,
        Self::Referer,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Client => "client",
            Self::Method => "method",
            Self::Path => "path",
            Self::Query => "query",
            Self::Protocol => "protocol",
            Self::Host => "host",
            Self::Status => "status",
            Self::Aborted => "aborted",
            Self::Bytes => "bytes",
            Self::Duration => "duration_us",
            Self::Phases => "phases_us",
            Self::Route => "route",
            Self::Worker => "worker",
            Self::RequestId => "request_id",
            Self::TraceId => "trace_id",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
        }
    }
}

/// What lines have unless a flag says otherwise.
const DEFAULT: [Field; 11] = [
    Field::Time,
    Field::Client,
    Field::Method,
    Field::Path,
    Field::Status,
    Field::Aborted,
    Field::Bytes,
    Field::Duration,
    Field::Route,
    Field::Worker,
    Field::RequestId,
];

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u32);

impl Fields {
    /// Whether it has one.
    #[inline]
    pub fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    fn with(self, field: Field) -> Self {
        Self(self.0 | (1 << field as u32))
    }
}

impl Default for Fields {
    fn default() -> Self {
        DEFAULT.into_iter().fold(Self(0), Self::with)
    }
}

impl FromStr for Fields {
    type Err = String;

    /// Names with commas between; `+name` is the usual ones and that one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let adds = text.starts_with('+');
        let mut fields = if adds { Self::default() } else { Self(0) };
        for name in text.split(',') {
            let name = name.trim().trim_start_matches('+');
            let field = Field::ALL.into_iter().find(|field| field.name() == name);
            let Some(field) = field else {
                let known = Field::ALL.map(Field::name).join(", ");
                return Err(format!(
                    "there is no field {name:?}; expected some of {known}"
                ));
            };
            fields = fields.with(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_chosen_or_added_by_name() {
        let few: Fields = "status, path".parse().unwrap();
        assert!(few.has(Field::Status) && few.has(Field::Path) && !few.has(Field::Time));
        let more: Fields = "+query,+host".parse().unwrap();
        assert!(more.has(Field::Query) && more.has(Field::Host) && more.has(Field::Time));
        assert!(!Fields::default().has(Field::Query), "it may hold secrets");
        let wrong = "status,colour".parse::<Fields>().unwrap_err();
        assert!(wrong.contains("\"colour\"") && wrong.contains("user_agent"));
    }
}
