//! An event stream taken apart (WHATWG HTML, "Interpreting an event stream"), as far as a
//! measurement needs it: where an event ends, and when it was sent, if it says so.

/// Bytes of an event's data that are searched for a time stamp.
const STAMP_BYTES_SEARCHED: usize = 4096;
/// A number is a time stamp if it is a Unix time not further than this from now, in seconds.
const STAMP_AGE_SECONDS_MAX: f64 = 86_400.0;

/// Reads pieces of a stream.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    past_start: bool,
}

/// What an event says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// When it was sent, in nanoseconds since 1970.
    pub sent_unix_ns: Option<u64>,
}

impl EventReader {
    /// Takes the next piece, which arrived at `unix_ns`, and says each event that is whole.
    pub fn add(&mut self, piece: &[u8], unix_ns: u64, mut event: impl FnMut(Event)) {
        let mut rest = piece;
        while let Some((&first, behind)) = rest.split_first() {
            // CR, LF, and CR LF end a line.
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = behind;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
                self.add_to_line(rest);
                return;
            };
            self.add_to_line(&rest[..end]);
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if let Some(found) = self.end_line(unix_ns) {
                event(found);
            }
        }
    }

    fn add_to_line(&mut self, bytes: &[u8]) {
        let room = STAMP_BYTES_SEARCHED.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, unix_ns: u64) -> Option<Event> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let mut line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.past_start, true);
        if is_first && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let mut found = None;
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                found = Some(Event {
                    sent_unix_ns: stamp(&self.data, unix_ns),
                });
            }
            self.data.clear();
        } else if let Some(data) = line.strip_prefix(b"data".as_slice())
            && (data.is_empty() || data[0] == b':')
        {
            self.has_data = true;
            let room = STAMP_BYTES_SEARCHED.saturating_sub(self.data.len());
            self.data.extend_from_slice(&data[..data.len().min(room)]);
        }
        line.clear();
        self.line = line;
        found
    }
}

/// The first number in `data` that is a Unix time near `unix_ns`: in seconds with a fraction, or in whole
/// milliseconds, microseconds or nanoseconds.
fn stamp(data: &[u8], unix_ns: u64) -> Option<u64> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    data.split(|byte| !is_part(byte)).find_map(|text| {
        let text = std::str::from_utf8(text).ok()?;
        let sent_ns = match text.split_once('.') {
            Some((seconds, fraction)) if seconds.len() == 10 => {
                let fraction = fraction.get(..9).unwrap_or(fraction);
                let nanoseconds: u64 = format!("{fraction:0<9}").parse().ok()?;
                seconds.parse::<u64>().ok()? * 1_000_000_000 + nanoseconds
            }
            Some(_) => return None,
            None => {
                let nanoseconds = match text.len() {
                    13 => 1_000_000,
                    16 => 1_000,
                    19 => 1,
                    _ => return None,
                };
                text.parse::<u64>().ok()?.checked_mul(nanoseconds)?
            }
        };
        let age_seconds = sent_ns.abs_diff(unix_ns) as f64 / 1e9;
        (age_seconds <= STAMP_AGE_SECONDS_MAX).then_some(sent_ns)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 1_700_000_000_500_000_000;

    fn events(pieces: &[&[u8]]) -> Vec<Option<u64>> {
        let mut reader = EventReader::default();
        let mut found = Vec::new();
        for piece in pieces {
            reader.add(piece, NOW_NS, |event| found.push(event.sent_unix_ns));
        }
        found
    }

    #[test]
    fn events_end_at_an_empty_line_however_the_stream_is_cut() {
        let text = b"\xef\xbb\xbfdata: a\r\ndata: b\r\n\r\n: comment\n\nid: 1\n\nevent: x\rdata\r\rdata: no end";
        assert_eq!(events(&[text]), [None, None]);
        for cut in 0..text.len() {
            assert_eq!(events(&[&text[..cut], &text[cut..]]), [None, None], "{cut}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(events(&bytes), [None, None]);
    }

    #[test]
    fn a_time_stamp_is_found_in_the_data_in_any_usual_unit() {
        for (data, expected) in [
            (
                "{\"id\": 17, \"t\": 1700000000400}",
                Some(1_700_000_000_400_000_000),
            ),
            ("1700000000400001", Some(1_700_000_000_400_001_000)),
            ("at=1700000000400000002;", Some(1_700_000_000_400_000_002)),
            ("1700000000.25", Some(1_700_000_000_250_000_000)),
            ("1700000000.1234567891", Some(1_700_000_000_123_456_789)),
            ("1700000000", None),
            ("1600000000000", None),
            ("5550123456789", None),
            ("1.2.3", None),
            ("none", None),
        ] {
            let text = format!("data: {data}\n\n");
            assert_eq!(events(&[text.as_bytes()]), [expected], "{data}");
        }
        assert_eq!(events(&[b"id: 1700000000400\ndata: x\n\n"]), [None]);
    }

    #[test]
    fn what_has_no_end_takes_no_memory_without_end() {
        let mut reader = EventReader::default();
        for _ in 0..1000 {
            reader.add(&[b'x'; 1000], NOW_NS, |_| {});
            reader.add(b"\ndata: ", NOW_NS, |_| {});
            reader.add(&[b'y'; 1000], NOW_NS, |_| {});
            reader.add(b"\n", NOW_NS, |_| {});
        }
        assert!(reader.line.capacity() + reader.data.capacity() < 8 * STAMP_BYTES_SEARCHED);
    }
}
