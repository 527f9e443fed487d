//! Requests that differ from each other: `{seq}`, `{uuid}` and the columns of a CSV file in URL,
//! header fields and body.

use std::io::Write;

use crate::limits::VALUE_ROW_COUNT_MAX;
use crate::random::mix;

/// Rows of a CSV file, by the names in its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Values {
    /// Parses the text of a CSV file (RFC 4180).
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?;
        let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let row: Vec<String> = record.iter().map(str::to_owned).collect();
            // It would be the end of a field, or worse.
            let is_control = |byte: u8| byte != b'\t' && (byte < 32 || byte == 127);
            if row.iter().any(|value| value.bytes().any(is_control)) {
                return Err(format!(
                    "row {}: a value has a line break or another control character",
                    rows.len() + 1
                ));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(
                "no rows; the first line names the columns, the others are values".to_owned(),
            );
        }
        if rows.len() > VALUE_ROW_COUNT_MAX {
            return Err(format!(
                "{} rows; at most {VALUE_ROW_COUNT_MAX}",
                rows.len()
            ));
        }
        Ok(Self { columns, rows })
    }

    /// The value of a column in the row that is next.
    fn of(&self, filler: &Filler, column: usize) -> &str {
        let row = (filler.sequence % self.rows.len() as u64) as usize;
        &self.rows[row][column]
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}

/// A text with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Sequence,
    Uuid,
    Column(usize),
    EncodedColumn(usize),
}

impl Pattern {
    /// Finds the places in a text. Other braces are text, as in a body of JSON.
    pub fn parse(text: &[u8], values: &Values) -> Self {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(byte) = rest.first() {
            let Some((piece, length)) = place(rest, values) else {
                plain.push(*byte);
                rest = &rest[1..];
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
            rest = &rest[length..];
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self(pieces)
    }

    /// Whether there is nothing to fill.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The same, for a URL: what is filled in is percent-encoded there, since a space would end
    /// it.
    pub fn parse_url(text: &[u8], values: &Values) -> Self {
        let encoded = |piece| match piece {
            Piece::Column(column) => Piece::EncodedColumn(column),
            other => other,
        };
        Self(
            Self::parse(text, values)
                .0
                .into_iter()
                .map(encoded)
                .collect(),
        )
    }

    /// This, and then that.
    pub fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// Appends the text, filled.
    pub fn fill(&self, filler: &Filler, values: &Values, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Sequence => write!(out, "{}", filler.sequence).expect("a Vec takes it"),
                Piece::Uuid => filler.write_uuid(out),
                Piece::Column(column) => {
                    out.extend_from_slice(values.of(filler, *column).as_bytes());
                }
                Piece::EncodedColumn(column) => encode(values.of(filler, *column), out),
            }
        }
    }
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
fn encode(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            write!(out, "%{byte:02X}").expect("a Vec takes it");
        }
    }
}

/// The place that a text begins with, and its length.
fn place(text: &[u8], values: &Values) -> Option<(Piece, usize)> {
    let inner = text.strip_prefix(b"{")?;
    let length = inner.iter().position(|byte| *byte == b'}')?;
    let name = std::str::from_utf8(&inner[..length]).ok()?;
    let piece = match name {
        "seq" => Piece::Sequence,
        "uuid" => Piece::Uuid,
        _ => Piece::Column(values.column(name)?),
    };
    Some((piece, length + 2))
}

/// What a request is filled with.
#[derive(Clone, Copy, Debug)]
pub struct Filler {
    /// Counts requests over all threads; no two have the same.
    pub sequence: u64,
    /// Of the thread, from the system.
    pub seed: u64,
}

impl Filler {
    /// With a seed from the system; 0 where it has none, which makes no request wrong.
    pub fn starting_at(sequence: u64) -> Self {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::NONBLOCK;
        let _ = rustix::rand::getrandom(&mut bytes, flags);
        let seed = u64::from_ne_bytes(bytes);
        Self { sequence, seed }
    }

    /// A random UUID (RFC 9562, version 4).
    fn write_uuid(self, out: &mut Vec<u8>) {
        let high = mix(self.seed ^ mix(2 * self.sequence + 1));
        let low = mix(self.seed ^ mix(2 * self.sequence + 2));
        let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | (0b10 << 62));
        write!(
            out,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
        .expect("a Vec takes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, values: &Values, sequence: u64) -> String {
        let pattern = Pattern::parse(text.as_bytes(), values);
        let mut out = Vec::new();
        pattern.fill(&Filler { sequence, seed: 7 }, values, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let values = Values::parse("name,city\nAda,\"London, GB\"\nGrace,New York\n").unwrap();
        assert_eq!(filled("/u/{seq}?n={name}", &values, 0), "/u/0?n=Ada");
        assert_eq!(filled("/u/{seq}?n={name}", &values, 3), "/u/3?n=Grace");
        let json = r#"{"city": "{city}", "x": {y}, "open": {"#;
        assert_eq!(
            filled(json, &values, 2),
            r#"{"city": "London, GB", "x": {y}, "open": {"#
        );
        let mut out = Vec::new();
        let filler = Filler {
            sequence: 2,
            seed: 7,
        };
        let url = Pattern::parse_url(b"/c/{city}?{seq}", &values);
        url.then(Pattern::parse(b" {city}", &values))
            .fill(&filler, &values, &mut out);
        assert_eq!(out, b"/c/London%2C%20GB?2 London, GB");
        assert!(Pattern::parse(b"{}{ seq }{nobody}", &values).is_plain());
    }

    #[test]
    fn uuids_are_of_version_4_and_all_differ() {
        let none = Values::default();
        let mut seen = std::collections::HashSet::new();
        for sequence in 0..1000 {
            let uuid = filled("{uuid}", &none, sequence);
            assert_eq!(uuid.len(), 36, "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
            assert!(seen.insert(uuid));
        }
    }

    #[test]
    fn what_is_no_table_of_values_is_refused() {
        for (bad, why) in [
            ("", "no rows"),
            ("a,b\n", "no rows"),
            ("a,b\n1\n", "1 field"),
            ("a\n\"x\ny\"\n", "line break"),
        ] {
            let refused = Values::parse(bad).unwrap_err();
            assert!(refused.contains(why), "{bad:?}: {refused}");
        }
    }
}
