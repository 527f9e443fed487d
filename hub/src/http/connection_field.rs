//! The Connection field (RFC 9110 section 7.6.1): what its options ask for, and
//! which fields they may not nominate.
//!
//! An option drops the fields of its name, so a client could drop what a proxy in
//! front has added to say who the client is (the class of CVE-2022-31813), or what
//! a worker relies on. Fields that are known to be for the whole way are therefore
//! no options: such a request is refused.

use super::error::HeadError;
use super::list;
use crate::limits::CONNECTION_OPTION_COUNT_MAX;

/// What all Connection fields of a head ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`: the Upgrade field is meant for the hub
    pub upgrade: bool,
    /// There are others, which name fields to drop.
    pub nominates: bool,
    count: usize,
}

impl ConnectionOptions {
    /// Reads one Connection field.
    pub fn read(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in list(value) {
            self.count += 1;
            if self.count > CONNECTION_OPTION_COUNT_MAX {
                return Err(HeadError::BadRequest(
                    "the Connection field has too many options",
                ));
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if is_end_to_end(option) {
                return Err(HeadError::BadRequest(
                    "the Connection field names an end-to-end field",
                ));
            } else {
                self.nominates = true;
            }
        }
        Ok(())
    }
}

/// Names of end-to-end fields that clients, proxies and services rely on.
const END_TO_END: [&str; 41] = [
    "accept",
    "authorization",
    "cache-control",
    "cdn-loop",
    "client-ip",
    "cookie",
    "cookie2",
    "date",
    "early-data",
    "expect",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "last-event-id",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "remote-user",
    "set-cookie",
    "signature",
    "signature-input",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "user-agent",
    "via",
    "want-content-digest",
    "want-repr-digest",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-csrf-token",
    "x-envoy-external-address",
    "x-hub-secret",
    "x-original-host",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];

/// Beginnings of names of which the same is true.
const END_TO_END_FAMILIES: [&str; 8] = [
    "accept-",
    "access-control-",
    "cf-",
    "content-",
    "if-",
    "sec-",
    "x-forwarded",
    "x-original-",
];

fn is_end_to_end(name: &[u8]) -> bool {
    let begins_with = |start: &str| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    };
    END_TO_END
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || END_TO_END_FAMILIES.into_iter().any(begins_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<ConnectionOptions, HeadError> {
        let mut options = ConnectionOptions::default();
        options.read(value.as_bytes()).map(|()| options)
    }

    #[test]
    fn close_and_keep_alive_are_options_and_other_names_nominate_fields() {
        let options = read("Close, KEEP-ALIVE").unwrap();
        assert!(options.close && options.keep_alive && !options.nominates);
        for hop_by_hop in [
            "TE",
            "upgrade, HTTP2-Settings",
            "x-auth",
            "keep-alive, trailer",
        ] {
            assert!(read(hop_by_hop).unwrap().nominates, "{hop_by_hop}");
        }
    }

    #[test]
    fn fields_that_are_meant_for_the_whole_way_cannot_be_nominated() {
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "cookie",
            "Authorization",
            "forwarded",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-Forwarded",
            "X-Real-IP",
            "via",
            "origin",
            "Sec-Fetch-Site",
            "if-none-match",
            "x-hub-secret",
        ] {
            for value in [
                name.to_owned(),
                format!("close, {name}"),
                format!("{name},te"),
            ] {
                assert!(read(&value).is_err(), "{value}");
            }
        }
    }

    #[test]
    fn more_options_than_make_sense_are_refused_also_over_several_fields() {
        let mut options = ConnectionOptions::default();
        let half = vec!["x-a"; CONNECTION_OPTION_COUNT_MAX / 2].join(",");
        options.read(half.as_bytes()).unwrap();
        options.read(half.as_bytes()).unwrap();
        assert!(options.read(b"x-b").is_err());
    }
}
