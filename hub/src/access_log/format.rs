//! A record as a line.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::fields::{Field, Fields};
use super::record::{Record, Text};
use crate::decimal::push_decimal;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object in each line
    #[default]
    Json,
    /// The Common Log Format
    Common,
}

/// Makes lines. They are many, so nothing here goes through `fmt` that need not.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    fields: Fields,
    /// The second of the line before, and how it is written.
    second: (u64, String),
}

impl Formatter {
    /// For lines of these fields.
    pub fn new(format: Format, fields: Fields) -> Self {
        Self {
            format,
            fields,
            second: (u64::MAX, String::new()),
        }
    }

    /// Writes a record's line behind the end of `out`.
    pub fn line(&mut self, out: &mut Vec<u8>, record: &Record<'_>, route: &str) {
        let second = record.at_ms / 1000;
        if self.second.0 != second {
            let text = match self.format {
                Format::Json => utc(second),
                Format::Common => common_time(second),
            };
            self.second = (second, text);
        }
        match self.format {
            Format::Json => self.json(out, record, route),
            Format::Common => self.common(out, record),
        }
        out.push(b'\n');
    }

    fn json(&self, out: &mut Vec<u8>, record: &Record<'_>, route: &str) {
        let start = out.len();
        for field in Field::ALL
            .into_iter()
            .filter(|field| self.fields.has(*field))
        {
            let before = out.len();
            out.extend_from_slice(if before == start { b"{\"" } else { b",\"" });
            out.extend_from_slice(field.name().as_bytes());
            out.extend_from_slice(b"\":");
            if !self.value(out, field, record, route) {
                out.truncate(before);
            }
        }
        if out.len() == start {
            out.push(b'{');
        }
        out.push(b'}');
    }

    /// The value of a field, if there is one.
    fn value(&self, out: &mut Vec<u8>, field: Field, record: &Record<'_>, route: &str) -> bool {
        let text = match field {
            Field::Method => record.text(Text::Method),
            Field::Path => record.text(Text::Path),
            Field::Query => record.text(Text::Query),
            Field::Host => record.text(Text::Host),
            Field::Worker => record.text(Text::Worker),
            Field::RequestId => record.text(Text::RequestId),
            Field::TraceId => record.text(Text::TraceId),
            Field::UserAgent => record.text(Text::UserAgent),
            Field::Referer => record.text(Text::Referer),
            Field::Route => route.as_bytes(),
            Field::Protocol => protocol(record).as_bytes(),
            _ => return self.number(out, field, record),
        };
        if !text.is_empty() {
            string(out, text);
        }
        !text.is_empty()
    }

    fn number(&self, out: &mut Vec<u8>, field: Field, record: &Record<'_>) -> bool {
        match field {
            Field::Time => {
                out.push(b'"');
                out.extend_from_slice(self.second.1.as_bytes());
                out.push(b'.');
                let ms = (record.at_ms % 1000) as u32;
                out.extend([ms / 100, ms / 10 % 10, ms % 10].map(digit));
                out.extend_from_slice(b"Z\"");
            }
            Field::Client => {
                out.push(b'"');
                client(out, record.client, true);
                out.push(b'"');
            }
            Field::Status => push_decimal(out, u64::from(record.status)),
            Field::Bytes => push_decimal(out, record.sent_bytes),
            Field::Duration => microseconds(out, record.took_ns),
            Field::Aborted if record.is_aborted => out.extend_from_slice(b"true"),
            Field::Phases if record.phases_ns.iter().any(|ns| *ns > 0) => {
                let names = ["parse", "queue", "worker", "response", "write"];
                for (index, (name, ns)) in names.into_iter().zip(record.phases_ns).enumerate() {
                    out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b"\":");
                    microseconds(out, ns);
                }
                out.push(b'}');
            }
            _ => return false,
        }
        true
    }

    /// `client - - [time] "method path protocol" status bytes`; the path has its query if the
    /// fields do.
    fn common(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        client(out, record.client, false);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(self.second.1.as_bytes());
        out.extend_from_slice(b"] \"");
        plain_or_dash(out, record.text(Text::Method));
        out.push(b' ');
        plain_or_dash(out, record.text(Text::Path));
        let query = record.text(Text::Query);
        if self.fields.has(Field::Query) && !query.is_empty() {
            out.push(b'?');
            plain_or_dash(out, query);
        }
        out.push(b' ');
        out.extend_from_slice(protocol(record).as_bytes());
        out.extend_from_slice(b"\" ");
        push_decimal(out, u64::from(record.status));
        out.push(b' ');
        push_decimal(out, record.sent_bytes);
    }
}

fn digit(number: u32) -> u8 {
    b'0' + number as u8
}

/// With one decimal place.
fn microseconds(out: &mut Vec<u8>, ns: u64) {
    push_decimal(out, ns / 1000);
    out.push(b'.');
    out.push(digit((ns % 1000 / 100) as u32));
}

fn client(out: &mut Vec<u8>, client: Option<SocketAddr>, with_port: bool) {
    // A proxy names no port.
    let with_port = with_port && client.is_some_and(|client| client.port() != 0);
    match client {
        None => return out.extend_from_slice(b"unix"),
        Some(SocketAddr::V4(address)) => {
            for (index, octet) in address.ip().octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_decimal(out, u64::from(octet));
            }
        }
        Some(SocketAddr::V6(address)) => {
            let brackets = if with_port { ["[", "]"] } else { ["", ""] };
            // A Vec takes everything.
            let _ = write!(out, "{}{}{}", brackets[0], address.ip(), brackets[1]);
        }
    }
    if let Some(client) = client.filter(|_| with_port) {
        out.push(b':');
        push_decimal(out, u64::from(client.port()));
    }
}

fn protocol(record: &Record<'_>) -> &'static str {
    if record.is_http_1_0 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    }
}

/// A JSON string of bytes that need not be UTF-8: what is not is written as U+FFFD.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !b"\"\\".contains(byte);
    if text.iter().all(is_plain) {
        out.extend_from_slice(text);
    } else {
        let text = String::from_utf8_lossy(text);
        for c in text.chars() {
            // A Vec takes everything.
            let _ = match c {
                '"' | '\\' => write!(out, "\\{c}"),
                '\0'..='\x1f' | '\x7f' => write!(out, "\\u{:04x}", u32::from(c)),
                _ => write!(out, "{c}"),
            };
        }
    }
    out.push(b'"');
}

/// Text between quotes, with what could end them written as Apache does.
fn plain_or_dash(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.push(b'-');
    }
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => out.push(*byte),
            _ => {
                // A Vec takes everything.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// `2026-11-28T18:22:07`.
fn utc(second: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(second);
    let mut text = humantime::format_rfc3339_seconds(at).to_string();
    text.truncate(text.trim_end_matches('Z').len());
    text
}

/// `28/Nov/2026:18:22:07 +0000`.
fn common_time(second: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = utc(second);
    let part = |range| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!(
        "{}/{}/{}:{} +0000",
        part(8..10),
        month.unwrap_or(&"-"),
        part(0..4),
        part(11..19)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::record::TEXT_COUNT;

    fn record(path: &'static [u8]) -> Record<'static> {
        let mut texts: [&[u8]; TEXT_COUNT] = [b""; TEXT_COUNT];
        texts[Text::Method as usize] = b"GET";
        texts[Text::Path as usize] = path;
        texts[Text::Query as usize] = b"a=1";
        texts[Text::Worker as usize] = b"w";
        Record {
            at_ms: 1_795_890_127_123,
            took_ns: 1_234_567,
            sent_bytes: 99,
            status: 200,
            client: Some("127.0.0.1:9".parse().unwrap()),
            texts,
            ..Record::default()
        }
    }

    fn text(format: Format, fields: Fields, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        Formatter::new(format, fields).line(&mut out, record, "/x");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_has_the_fields_that_there_are() {
        let text = text(Format::Json, Fields::default(), &record(b"/x"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-28T18:22:07.123Z", "client": "127.0.0.1:9", "method": "GET",
            "path": "/x", "status": 200, "bytes": 99, "duration_us": 1234.5, "route": "/x",
            "worker": "w",
        });
        assert_eq!(read, expected);
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn no_text_can_end_its_string_or_its_line() {
        let text_of = |format| {
            text(
                format,
                Fields::default(),
                &record(b"/\"\\\n\x01\xff\xc3\xa9"),
            )
        };
        let read: serde_json::Value = serde_json::from_str(&text_of(Format::Json)).unwrap();
        assert_eq!(read["path"], "/\"\\\n\u{1}\u{fffd}é");
        let common = text_of(Format::Common);
        assert!(
            common.contains(r#""GET /\"\\\x0a\x01\xff\xc3\xa9 HTTP/1.1""#),
            "{common}"
        );
        assert_eq!(common.lines().count(), 1);
    }

    #[test]
    fn the_common_format_is_what_its_readers_expect() {
        let common = text(Format::Common, Fields::default(), &record(b"/x"));
        let expected = "127.0.0.1 - - [28/Nov/2026:18:22:07 +0000] \"GET /x HTTP/1.1\" 200 99\n";
        assert_eq!(common, expected);
        let with_query = text(Format::Common, "+query".parse().unwrap(), &record(b"/x"));
        assert!(with_query.contains("GET /x?a=1 "), "{with_query}");
    }
}
