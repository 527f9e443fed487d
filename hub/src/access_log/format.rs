//! A record as a line.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::fields::{Field, Fields};
use super::record::{Record, Text};

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object in each line
    #[default]
    Json,
    /// The Common Log Format
    Common,
}

/// Writes a record's line behind the end of `out`.
pub fn line(out: &mut Vec<u8>, format: Format, fields: Fields, record: &Record<'_>, route: &str) {
    match format {
        Format::Json => json(out, fields, record, route),
        Format::Common => common(out, fields, record),
    }
    out.push(b'\n');
}

/// A Vec takes everything.
macro_rules! put {
    ($out:expr, $($arguments:tt)*) => {
        let _ = write!($out, $($arguments)*);
    };
}

fn json(out: &mut Vec<u8>, fields: Fields, record: &Record<'_>, route: &str) {
    let start = out.len();
    for field in Field::ALL.into_iter().filter(|field| fields.has(*field)) {
        let before = out.len();
        out.push(if before == start { b'{' } else { b',' });
        put!(out, "\"{}\":", field.name());
        if !value(out, field, record, route) {
            out.truncate(before);
        }
    }
    if out.len() == start {
        out.push(b'{');
    }
    out.push(b'}');
}

/// The value of a field, if there is one.
fn value(out: &mut Vec<u8>, field: Field, record: &Record<'_>, route: &str) -> bool {
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
        Field::Client => return client(out, record.client),
        _ => return number(out, field, record),
    };
    if !text.is_empty() {
        string(out, text);
    }
    !text.is_empty()
}

fn client(out: &mut Vec<u8>, client: Option<SocketAddr>) -> bool {
    match client {
        Some(client) => {
            put!(out, "\"{client}\"");
        }
        None => out.extend_from_slice(b"\"unix\""),
    }
    true
}

fn number(out: &mut Vec<u8>, field: Field, record: &Record<'_>) -> bool {
    let microseconds = |ns: u64| ns as f64 / 1000.0;
    match field {
        Field::Time => {
            let at = UNIX_EPOCH + Duration::from_millis(record.at_ms);
            put!(out, "\"{}\"", humantime::format_rfc3339_millis(at));
        }
        Field::Protocol => {
            put!(out, "\"{}\"", protocol(record));
        }
        Field::Status => {
            put!(out, "{}", record.status);
        }
        Field::Bytes => {
            put!(out, "{}", record.sent_bytes);
        }
        Field::Duration => {
            put!(out, "{:.1}", microseconds(record.took_ns));
        }
        Field::Aborted if record.is_aborted => out.extend_from_slice(b"true"),
        Field::Phases if record.phases_ns.iter().any(|ns| *ns > 0) => {
            let names = ["parse", "queue", "worker", "response", "write"];
            let mut separator = '{';
            for (name, ns) in names.into_iter().zip(record.phases_ns) {
                put!(out, "{separator}\"{name}\":{:.1}", microseconds(ns));
                separator = ',';
            }
            out.push(b'}');
        }
        _ => return false,
    }
    true
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
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    put!(out, "\\{c}");
                }
                '\0'..='\x1f' | '\x7f' => {
                    put!(out, "\\u{:04x}", u32::from(c));
                }
                _ => {
                    put!(out, "{c}");
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// `client - - [time] "method path protocol" status bytes`; the path has its query if the
/// fields do.
fn common(out: &mut Vec<u8>, fields: Fields, record: &Record<'_>) {
    match record.client {
        Some(client) => {
            put!(out, "{}", client.ip());
        }
        None => out.extend_from_slice(b"unix:"),
    }
    put!(out, " - - [{}] \"", common_time(record.at_ms));
    let or_dash = |text: &'static [u8]| text;
    let method = record.text(Text::Method);
    plain(
        out,
        if method.is_empty() {
            or_dash(b"-")
        } else {
            method
        },
    );
    out.push(b' ');
    let path = record.text(Text::Path);
    plain(out, if path.is_empty() { or_dash(b"-") } else { path });
    let query = record.text(Text::Query);
    if fields.has(Field::Query) && !query.is_empty() {
        out.push(b'?');
        plain(out, query);
    }
    put!(
        out,
        " {}\" {} {}",
        protocol(record),
        record.status,
        record.sent_bytes
    );
}

/// Text between quotes, with what could end them written as Apache does.
fn plain(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => out.push(*byte),
            _ => {
                put!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// `28/Nov/2026:18:22:07 +0000`.
fn common_time(at_ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = UNIX_EPOCH + Duration::from_millis(at_ms);
    // 2026-11-28T18:22:07Z
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let month = text.get(5..7).and_then(|month| month.parse::<usize>().ok());
    let month = month
        .and_then(|month| MONTHS.get(month.checked_sub(1)?))
        .copied();
    let part = |range| text.get(range).unwrap_or_default();
    format!(
        "{}/{}/{}:{} +0000",
        part(8..10),
        month.unwrap_or_default(),
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
        line(&mut out, format, fields, record, "/x");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_has_the_fields_that_there_are() {
        let text = text(Format::Json, Fields::default(), &record(b"/x"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-28T18:22:07.123Z", "client": "127.0.0.1:9", "method": "GET",
            "path": "/x", "status": 200, "bytes": 99, "duration_us": 1234.6, "route": "/x",
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
