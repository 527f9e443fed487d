//! The interval log of `HdrHistogram` (`.hlog`), version 1.3: one compressed
//! histogram per interval, in nanoseconds, written while the run goes on.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::load::outcome::Point;

/// Writes the maxima, which are for people, in milliseconds.
const MAX_DIVISOR: f64 = 1e6;

/// Writes a histogram log.
pub struct HistogramLog<W: Write> {
    writer: W,
    serializer: V2DeflateSerializer,
    has_header: bool,
}

impl<W: Write> HistogramLog<W> {
    /// A log that has nothing yet.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            serializer: V2DeflateSerializer::new(),
            has_header: false,
        }
    }

    /// Appends an interval of a run that began to measure at `began`.
    pub fn append(
        &mut self,
        began: SystemTime,
        point: &Point,
        latencies: &Histogram<u64>,
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_max_value_divisor(MAX_DIVISOR);
        if !self.has_header {
            // Both times are written: with StartTime alone, Java's reader
            // guesses what the intervals' times are relative to.
            builder
                .add_comment("[Histogram log format version 1.3]")
                .add_comment("[slotway-loadgen: latencies in nanoseconds]")
                .with_start_time(began)
                .with_base_time(began);
        }
        let mut log = builder.begin_log_with(&mut piece, &mut self.serializer)?;
        log.write_histogram(
            latencies,
            Duration::from_secs_f64(point.from_seconds),
            Duration::from_secs_f64(point.seconds),
            None,
        )
        .map_err(|error| io::Error::other(format!("{error:?}")))?;
        // Each piece begins with the divisor's comment; once is enough.
        let is_wanted = |line: &&[u8]| !self.has_header || !line.starts_with(b"#");
        for line in piece
            .split_inclusive(|byte| *byte == b'\n')
            .filter(is_wanted)
        {
            self.writer.write_all(line)?;
        }
        self.has_header = true;
        self.writer.flush()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn log() -> String {
        let outcome = sample::outcome();
        let mut log = HistogramLog::new(Vec::new());
        for point in &outcome.points {
            let interval = sample::interval(0);
            log.append(outcome.began, point, &interval.latency).unwrap();
        }
        String::from_utf8(log.into_inner()).unwrap()
    }

    #[test]
    fn the_interval_log_is_as_it_was() {
        sample::assert_golden("latency.hlog", &log());
    }

    #[test]
    fn parsed_back_every_interval_has_its_time_and_its_histogram() {
        let text = log();
        let entries: Vec<_> = IntervalLogIterator::new(text.as_bytes())
            .map(|entry| entry.unwrap())
            .collect();
        assert!(matches!(entries[0], LogEntry::StartTime(time) if time.as_secs() == 1_700_000_000));
        assert!(matches!(entries[1], LogEntry::BaseTime(time) if time.as_secs() == 1_700_000_000));
        let mut from = 0.0;
        for entry in &entries[2..] {
            let LogEntry::Interval(interval) = entry else {
                panic!("{entry:?}");
            };
            assert!((interval.start_timestamp().as_secs_f64() - from).abs() < 1e-6);
            assert!((interval.duration().as_secs_f64() - 1.0).abs() < 1e-6);
            assert!((interval.max() - 9.0).abs() < 0.01, "milliseconds");
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(read, sample::interval(0).latency);
            from += 1.0;
        }
        assert_eq!(entries.len(), 4);
    }
}
