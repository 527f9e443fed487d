//! What event streams got, in words.

use crate::load::Outcome;
use crate::load::streams::Streams;
use crate::units::{self, duration};

/// What came of it, in a sentence.
pub fn sentence(streams: &Streams, outcome: &Outcome, errors: &str) -> String {
    let rate = outcome.rate();
    let each = rate / streams.count.max(1) as f64;
    let delays = &outcome.total.latency;
    let delay = if delays.is_empty() {
        "no event said when it was sent".to_owned()
    } else {
        format!(
            "99 % came within {} of their sending",
            duration(delays.value_at_quantile(0.99))
        )
    };
    let lagging = match streams.lagging {
        0 => "no stream lags".to_owned(),
        1 => "1 stream lags".to_owned(),
        count => format!("{} streams lag", units::count(count)),
    };
    format!(
        "{} got {} events/s, {} each; {delay}; {lagging}; {errors}.",
        units::plural(streams.count, "event stream"),
        units::rate(rate),
        units::rate(each),
    )
}

/// Names and what they are.
pub fn facts(streams: &Streams) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("streams", units::count(streams.count)),
        (
            "events each",
            format!(
                "{} to {}, {} in the middle",
                units::count(streams.events_min),
                units::count(streams.events_max),
                units::count(streams.events_median)
            ),
        ),
        (
            "lagging",
            format!(
                "{} with less than 99 % of the events of the fullest",
                units::count(streams.lagging)
            ),
        ),
    ];
    if streams.ended > 0 {
        facts.push(("ended early", units::plural(streams.ended, "time")));
    }
    facts
}

/// What a reader has to know before the figures.
pub fn warnings(streams: &Streams) -> Vec<String> {
    let mut warnings = Vec::new();
    if streams.lagging > 0 {
        warnings.push(format!(
            "{} of {} streams got less than 99 % of the events of the fullest: their clients lag, or they were opened late, or they ended meanwhile",
            units::count(streams.lagging),
            units::count(streams.count)
        ));
    }
    if streams.early > 0 {
        warnings.push(format!(
            "{} came up to {} before they say that they were sent: the clocks of sender and generator differ by that at least, and all delays are wrong by it",
            units::plural(streams.early, "event"),
            duration(streams.early_ns_max)
        ));
    }
    warnings
}
