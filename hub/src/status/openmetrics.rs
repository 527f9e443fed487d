//! The text formats of metrics: `OpenMetrics`, and Prometheus's of before it.

use std::fmt::Write;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus, 0.0.4.
    Prometheus,
}

impl Format {
    /// The one that a client wants by its Accept field.
    pub fn accepted_by(accept: &str) -> Self {
        let text = quality(accept, &["text/plain", "text/*", "*/*"]);
        match quality(accept, &["application/openmetrics-text"]) {
            Some(own) if own > 0.0 && own >= text.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// As a Content-Type field has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// How much one of some types is wanted, from 0 to 1; `None` if it is not named (RFC 9110,
/// 12.5.1).
fn quality(accept: &str, types: &[&str]) -> Option<f64> {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let is_one = types.iter().any(|one| one.eq_ignore_ascii_case(name));
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight.then(|| weight.trim().parse().unwrap_or(0.0))
        });
        is_one.then(|| weight.unwrap_or(1.0))
    });
    ranges.reduce(f64::max)
}

/// Metric families of `OpenMetrics` have no suffix, and those of Prometheus that of their
/// samples; it knows neither units nor an end.
pub fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let types = || {
        openmetrics
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
    };
    let suffixed: std::collections::HashMap<_, _> = types()
        .filter_map(|line| {
            let (name, kind) = line.split_once(' ')?;
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => return None,
            };
            Some((name, suffix))
        })
        .collect();
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        let (hash, what) = (words.next(), words.next());
        let (name, rest) = (words.next().unwrap_or_default(), words.next());
        match (hash, what) {
            (Some("#"), Some("UNIT" | "EOF")) => {}
            (Some("#"), Some(what @ ("HELP" | "TYPE"))) => {
                let suffix = suffixed.get(name).copied().unwrap_or_default();
                let rest = match rest {
                    Some("info") if what == "TYPE" => "gauge",
                    rest => rest.unwrap_or_default(),
                };
                let _ = writeln!(text, "# {what} {name}{suffix} {rest}");
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_wanted_more() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "application/OpenMetrics-text; q=1, */*",
        ] {
            assert_eq!(Format::accepted_by(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html",
            "application/openmetrics-text; Q=0.000, */*",
            "application/openmetrics-text ; q = 0",
            "application/openmetrics-text;q=0.2,text/plain;q=0.9",
        ] {
            assert_eq!(Format::accepted_by(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn families_get_the_names_that_older_readers_look_for() {
        let openmetrics = "# HELP a Help of it.\n# TYPE a counter\n# UNIT a seconds\n\
                           a_total{x=\"# UNIT y\"} 1\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                           # TYPE c gauge\nc 2\n# EOF\n";
        let expected = "# HELP a_total Help of it.\n# TYPE a_total counter\n\
                        a_total{x=\"# UNIT y\"} 1\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # TYPE c gauge\nc 2\n";
        assert_eq!(to_prometheus(openmetrics), expected);
    }

    #[test]
    fn a_client_gets_the_format_that_it_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        assert_eq!(Format::accepted_by(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted_by("*/*"), Format::Prometheus);
        assert_eq!(Format::accepted_by(""), Format::Prometheus);
    }
}
