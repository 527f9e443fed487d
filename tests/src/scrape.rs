//! A hub's metrics as a test reads them.

use std::net::SocketAddr;

use crate::http;

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// As it came.
    pub text: String,
}

impl Scrape {
    /// `GET /metrics`.
    pub fn of(address: SocketAddr) -> Self {
        let response = http::get(address, "/metrics");
        assert_eq!(response.status, 200, "{}", response.text());
        Self {
            text: response.text(),
        }
    }

    /// The same, of what is counted in whole numbers.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.value(name, labels) as u64
    }

    /// The sum of the samples of a name whose labels contain all of these; 0 if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""));
        let wanted: Vec<_> = wanted.collect();
        let samples = self.text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let own = series.split('{').next()?;
            let is_it = own == name && wanted.iter().all(|label| series.contains(label.as_str()));
            is_it.then(|| value.parse::<f64>().expect("a number"))
        });
        samples.sum()
    }
}
