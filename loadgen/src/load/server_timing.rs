//! Where the server says the time went: the Server-Timing field (W3C Server
//! Timing), as the hub sends it with `--server-timing`.

/// The phases of the hub, in their order: head whole to slot submitted, to taken
/// by the worker, to answered by the handler, to the response being sent.
pub const PHASE_NAMES: [&str; 4] = ["parse", "queue", "worker", "write"];

/// Durations of the phases in nanoseconds; `None` where one is not told.
pub type Phases = [Option<u64>; 4];

/// Reads the phases out of a field's value; other metrics are passed over.
pub fn parse(value: &[u8]) -> Phases {
    let mut phases = [None; 4];
    for metric in value.split(|byte| *byte == b',') {
        let mut parts = metric.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(index) = PHASE_NAMES
            .iter()
            .position(|phase| phase.as_bytes() == name)
        else {
            continue;
        };
        phases[index] = parts.find_map(|part| {
            let text = std::str::from_utf8(part.strip_prefix(b"dur=")?).ok()?;
            let milliseconds = text.parse::<f64>().ok()?;
            (milliseconds >= 0.0).then_some((milliseconds * 1e6) as u64)
        });
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_found_by_name_and_what_is_none_is_passed_over() {
        let value =
            b"cache;desc=hit, parse;dur=0.0125,queue; desc=\"q\"; dur=2, worker;dur=x, write";
        assert_eq!(parse(value), [Some(12_500), Some(2_000_000), None, None]);
        assert_eq!(parse(b""), [None; 4]);
        assert_eq!(parse(b"parse;dur=-1,,;"), [None; 4]);
    }
}
