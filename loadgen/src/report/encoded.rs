//! Histograms as text: the encoding of `HdrHistogram`, V2, compressed, as base64, which the
//! libraries of other languages read.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::load::new_histogram;

/// Encodes a histogram.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a Vec takes everything");
    BASE64_STANDARD.encode(bytes)
}

/// Decodes a histogram into one of the bounds that those of a run have.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let mut histogram = new_histogram();
    histogram
        .add(&read(text)?)
        .map_err(|error| format!("a histogram has other bounds: {error}"))?;
    Ok(histogram)
}

/// Decodes a histogram that grows.
pub fn decode_group(text: &str) -> Result<Histogram<u64>, String> {
    let mut histogram = read(text)?;
    histogram.auto(true);
    Ok(histogram)
}

fn read(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| format!("a histogram is no base64: {error}"))?;
    Deserializer::new()
        .deserialize(&mut &bytes[..])
        .map_err(|error| format!("a histogram cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_reads_back_the_same_and_garbage_is_refused() {
        let mut histogram = new_histogram();
        histogram.record_n(80_000, 12).unwrap();
        histogram.record(7_200_000_000_000).unwrap();
        assert_eq!(decode(&encode(&histogram)).unwrap(), histogram);
        assert_eq!(decode(&encode(&new_histogram())).unwrap(), new_histogram());
        for garbage in ["", "?", "AAAA", "HISTFAAAAA"] {
            assert!(decode(garbage).is_err(), "{garbage}");
        }
    }
}
