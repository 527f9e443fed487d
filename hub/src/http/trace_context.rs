//! `traceparent` of W3C Trace Context (level 1, section 3.2).

use crate::decimal::hex;

/// A `traceparent` of version 00: `00-trace id-parent id-flags`.
pub const TRACEPARENT_BYTES: usize = 55;

/// The trace id of a value that is valid; `None` if the trace must be started anew.
pub fn trace_id(value: &[u8]) -> Option<&[u8]> {
    let (own, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
    let version = &own[..2];
    let is_hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let (trace, parent, flags) = (&own[3..35], &own[36..52], &own[53..]);
    let dashes = [own[2], own[35], own[52]];
    // What comes behind it in a later version begins with a dash.
    let is_known = match version {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let is_valid = is_known
        && dashes == *b"---"
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(parent);
    is_valid.then_some(trace)
}

/// A value that begins a trace; `random` makes numbers.
pub fn begin(mut random: impl FnMut() -> u64, is_sampled: bool) -> [u8; TRACEPARENT_BYTES] {
    let mut value = *b"00-0000000000000000ffffffffffffffff-0000000000000000-00";
    // Ids of zeros are invalid.
    value[3..19].copy_from_slice(&hex(random().max(1)));
    value[19..35].copy_from_slice(&hex(random()));
    value[36..52].copy_from_slice(&hex(random().max(1)));
    value[54] = b'0' + u8::from(is_sampled);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_value_has_a_trace_and_any_other_has_none() {
        let trace = trace_id(GOOD.as_bytes()).unwrap();
        assert_eq!(trace, b"0af7651916cd43dd8448eb211c80319c");
        let later = format!("01{}-what-comes-later", &GOOD[2..]);
        assert!(trace_id(later.as_bytes()).is_some());
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-x"),
            &format!("ff{}", &GOOD[2..]),
            &format!("01{}x", &GOOD[2..]),
            &GOOD.replace('a', "A"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("0af", "0ag"),
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_begins_a_trace_is_valid_whatever_the_random_numbers() {
        for number in [0, 1, u64::MAX] {
            for is_sampled in [false, true] {
                let value = begin(|| number, is_sampled);
                assert!(trace_id(&value).is_some());
                assert_eq!(value.ends_with(b"-01"), is_sampled);
            }
        }
    }
}
