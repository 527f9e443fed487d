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

/// Decodes a histogram into one of the bounds that all here have.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| format!("a histogram is no base64: {error}"))?;
    let read: Histogram<u64> = Deserializer::new()
        .deserialize(&mut &bytes[..])
        .map_err(|error| format!("a histogram cannot be read: {error}"))?;
    let mut histogram = new_histogram();
    histogram
        .add(&read)
        .map_err(|error| format!("a histogram has other bounds: {error}"))?;
    Ok(histogram)
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
