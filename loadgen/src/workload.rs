//! What is asked for: requests as bytes, in what proportion, and what a right
//! response is.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use slotway_net::Address;

use crate::fill::{Filler, Pattern, Values};
use crate::limits::{URL_COUNT_MAX, WEIGHT_SUM_MAX};
use crate::spread::sequence;
use crate::target::{Target, TargetError};
use crate::tls::{TlsClient, TlsRoots};
use crate::websocket::{self, Message};

/// Requests to send and responses to expect.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Whom to ask; all requests go to one address.
    pub address: Address,
    /// The requests, as they are sent.
    pub requests: Vec<Request>,
    /// Indexes of requests in the order of asking, over and over.
    pub sequence: Vec<u16>,
    /// What a right response is.
    pub expected: Expected,
    /// What requests are filled with.
    pub values: Arc<Values>,
    /// What a connection needs to speak TLS, if it does.
    pub tls: Option<TlsClient>,
    /// Connections are upgraded to `WebSocket`, and exchange messages.
    pub is_websocket: bool,
}

/// One request, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method and path.
    pub name: String,
    /// Head and body.
    pub bytes: Bytes,
    /// Its response has no body, whatever its fields say (RFC 9110 section 9.3.2).
    pub is_head: bool,
    /// In place of `bytes`, if it has places to fill.
    pub pattern: Option<RequestPattern>,
    /// The message that goes over a connection that `bytes` has upgraded; empty without
    /// `WebSocket`.
    pub message: Message,
}

/// A request that differs from one time to the next.
#[derive(Clone, Debug)]
pub struct RequestPattern {
    /// Request line and fields, without the body's length.
    head: Pattern,
    /// Its length is said.
    body: Option<Pattern>,
}

impl RequestPattern {
    /// Writes the request, filled; `scratch` is only for re-use of its memory.
    pub fn fill(&self, filler: &Filler, values: &Values, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.head.fill(filler, values, out);
        scratch.clear();
        if let Some(body) = &self.body {
            body.fill(filler, values, scratch);
            write!(out, "Content-Length: {}\r\n", scratch.len()).expect("a Vec takes it");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(scratch);
    }
}

/// What makes a response right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// This status; else any below 400.
    pub status: Option<u16>,
    /// Bytes of the body.
    pub body_bytes: Option<u64>,
    /// SHA-256 of the body.
    pub sha256: Option<[u8; 32]>,
}

/// What to send with every request.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// Method, where a URL line names none.
    pub method: String,
    /// Header fields, as `(name, value)`.
    pub fields: Vec<(String, String)>,
    /// Body; empty for none.
    pub body: Vec<u8>,
    /// What places in URLs, fields and body are filled with.
    pub values: Arc<Values>,
    /// Whose certificates count for `https://`.
    pub tls_roots: TlsRoots,
}

impl Template {
    /// Asks for event streams, unless a field of the user's says what to ask for.
    pub fn accept_events(&mut self) {
        let is_accept = |(name, _): &(String, String)| name.eq_ignore_ascii_case("accept");
        if !self.fields.iter().any(is_accept) {
            let value = "text/event-stream".to_owned();
            self.fields.push(("Accept".to_owned(), value));
        }
    }
}

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A URL.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A line of the URL file.
    #[error("line {line} of the URL file: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// No URL at all.
    #[error("the URL file names no URL; a line is [WEIGHT] [METHOD] URL")]
    Empty,
    /// Several servers.
    #[error(
        "the URLs name two servers, {0} and {1}; a run asks one, `compare` asks several in turn"
    )]
    TwoServers(Address, Address),
    /// One server, with and without TLS or by several names.
    #[error("the URLs ask {0} by several names, or with and without TLS; a run does one")]
    TwoNames(Address),
    /// One server, by HTTP and by `WebSocket`.
    #[error("the URLs ask {0} by HTTP and by WebSocket; a run does one")]
    TwoProtocols(Address),
    /// No TLS for a reason of this side.
    #[error("{0}")]
    Tls(String),
    /// A method or field that cannot be sent.
    #[error("{0}")]
    Template(String),
}

struct Line {
    weight: u32,
    method: Option<String>,
    target: Target,
}

impl Workload {
    /// Asks for one URL.
    pub fn of_url(
        url: &str,
        template: &Template,
        expected: Expected,
    ) -> Result<Self, WorkloadError> {
        let line = Line {
            weight: 1,
            method: None,
            target: Target::parse(url)?,
        };
        Self::of_lines(&[line], template, expected)
    }

    /// Asks for the URLs of a file: lines of `[WEIGHT] [METHOD] URL`, `#` starts
    /// a comment.
    pub fn of_file(
        text: &str,
        template: &Template,
        expected: Expected,
    ) -> Result<Self, WorkloadError> {
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = parse_line(text).map_err(|why| WorkloadError::Line {
                line: index + 1,
                why,
            })?;
            lines.push(line);
        }
        if lines.len() > URL_COUNT_MAX {
            return Err(WorkloadError::Template(format!(
                "{} URLs; at most {URL_COUNT_MAX}",
                lines.len()
            )));
        }
        Self::of_lines(&lines, template, expected)
    }

    fn of_lines(
        lines: &[Line],
        template: &Template,
        expected: Expected,
    ) -> Result<Self, WorkloadError> {
        let first = &lines.first().ok_or(WorkloadError::Empty)?.target;
        let address = first.address.clone();
        let mut requests = Vec::new();
        for line in lines {
            if line.target.address != address {
                let other = line.target.address.clone();
                return Err(WorkloadError::TwoServers(address, other));
            }
            if line.target.is_websocket != first.is_websocket {
                return Err(WorkloadError::TwoProtocols(address));
            }
            if line.target.tls_host != first.tls_host {
                return Err(WorkloadError::TwoNames(address));
            }
            let method = line.method.as_deref().unwrap_or(&template.method);
            requests.push(encode(method, &line.target, template)?);
        }
        let weights: Vec<_> = lines.iter().map(|line| line.weight).collect();
        Ok(Self {
            address,
            requests,
            sequence: sequence(&weights),
            expected,
            values: Arc::clone(&template.values),
            is_websocket: first.is_websocket,
            tls: match &first.tls_host {
                Some(host) => {
                    let client = TlsClient::new(host, &template.tls_roots);
                    Some(client.map_err(WorkloadError::Tls)?)
                }
                None => None,
            },
        })
    }
}

fn parse_line(text: &str) -> Result<Line, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (url, before) = words.split_last().ok_or("empty")?;
    let mut before = before.iter();
    let mut next = before.next();
    let mut weight = 1;
    if let Some(number) = next.and_then(|word| word.parse::<u32>().ok()) {
        weight = number;
        next = before.next();
    }
    if weight == 0 || weight > WEIGHT_SUM_MAX {
        return Err(format!(
            "a weight of {weight}; expected 1 to {WEIGHT_SUM_MAX}"
        ));
    }
    let method = next.map(|word| (*word).to_owned());
    if before.next().is_some() {
        return Err(format!("{text:?}; expected [WEIGHT] [METHOD] URL"));
    }
    let target = Target::parse(url).map_err(|error| error.to_string())?;
    Ok(Line {
        weight,
        method,
        target,
    })
}

fn encode(method: &str, target: &Target, template: &Template) -> Result<Request, WorkloadError> {
    if !is_token(method) {
        return Err(WorkloadError::Template(format!(
            "{method:?} is no method (RFC 9110 section 9.1)"
        )));
    }
    let line = format!("{method} {}", target.path);
    let mut head = fields(target, template)?;
    if target.is_websocket {
        return Ok(Request {
            name: format!("WebSocket {}", target.path),
            bytes: websocket::handshake(&target.path, &head),
            is_head: false,
            pattern: None,
            message: Message::new(&template.body),
        });
    }
    let expects_body = ["POST", "PUT", "PATCH"].contains(&method);
    let has_length = !template.body.is_empty() || expects_body;
    let pattern = |text: &[u8]| Pattern::parse(text, &template.values);
    let head_pattern =
        Pattern::parse_url(line.as_bytes(), &template.values).then(pattern(head.as_bytes()));
    let body_pattern = pattern(&template.body);
    if let Some(unknown) = unknown_place(&target.path, &template.values) {
        return Err(WorkloadError::Template(format!(
            "{{{unknown}}} in the URL is nothing that can be filled in; there are {{seq}}, {{uuid}} and the columns of --values"
        )));
    }
    if !(head_pattern.is_plain() && body_pattern.is_plain()) {
        return Ok(Request {
            name: line,
            bytes: Bytes::new(),
            is_head: method == "HEAD",
            message: Message::default(),
            pattern: Some(RequestPattern {
                head: head_pattern,
                body: has_length.then_some(body_pattern),
            }),
        });
    }
    if has_length {
        head.push_str(&format!("Content-Length: {}\r\n", template.body.len()));
    }
    head.push_str("\r\n");
    let bytes = [line.as_bytes(), head.as_bytes(), &template.body].concat();
    Ok(Request {
        name: line,
        bytes: bytes.into(),
        is_head: method == "HEAD",
        message: Message::default(),
        pattern: None,
    })
}

/// What follows the first line's URL, as far as it is the same for every body: the version, `Host`
/// and the fields that the user gave.
fn fields(target: &Target, template: &Template) -> Result<String, WorkloadError> {
    let mut head = " HTTP/1.1\r\n".to_owned();
    let has = |name: &str| {
        template
            .fields
            .iter()
            .any(|(field, _)| field.eq_ignore_ascii_case(name))
    };
    if !has("host") {
        head.push_str(&format!("Host: {}\r\n", target.authority));
    }
    for (name, value) in &template.fields {
        if !is_token(name)
            || value
                .bytes()
                .any(|byte| matches!(byte, 0..=8 | 10..=31 | 127))
        {
            return Err(WorkloadError::Template(format!(
                "{name:?}: {value:?} is no header field; expected 'Name: value'"
            )));
        }
        if name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
        {
            return Err(WorkloadError::Template(format!(
                "{name} is set by the body; leave it out"
            )));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    Ok(head)
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A name in braces that looks like a place and is none.
fn unknown_place<'t>(path: &'t str, values: &Values) -> Option<&'t str> {
    path.split('{').skip(1).find_map(|rest| {
        let name = rest.split_once('}')?.0;
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let place = format!("{{{name}}}");
        (is_name && Pattern::parse(place.as_bytes(), values).is_plain()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            method: "POST".to_owned(),
            fields: vec![("X-A".to_owned(), "b".to_owned())],
            body: b"hello".to_vec(),
            ..Template::default()
        }
    }

    #[test]
    fn a_request_has_its_fields_its_length_and_its_body() {
        let workload =
            Workload::of_url("http://127.0.0.1:1/p", &template(), Expected::default()).unwrap();
        assert_eq!(
            workload.requests[0].bytes,
            "POST /p HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"
        );
        assert_eq!(workload.sequence, [0]);
    }

    #[test]
    fn a_get_without_a_body_has_no_length_and_a_host_field_of_ones_own_replaces_ours() {
        let template = Template {
            method: "GET".to_owned(),
            fields: vec![("host".to_owned(), "me".to_owned())],
            ..Template::default()
        };
        let workload = Workload::of_url("http://127.0.0.1:1/", &template, Expected::default());
        let bytes = &workload.unwrap().requests[0].bytes;
        assert_eq!(bytes, "GET / HTTP/1.1\r\nhost: me\r\n\r\n");
    }

    #[test]
    fn urls_are_asked_for_by_weight_and_spread_evenly() {
        let text = "# mix\n3 http://127.0.0.1:1/a\n1 HEAD http://127.0.0.1:1/b\n\n";
        let workload = Workload::of_file(text, &template(), Expected::default()).unwrap();
        assert_eq!(workload.sequence, [0, 0, 1, 0]);
        assert!(workload.requests[1].is_head && !workload.requests[0].is_head);
        assert_eq!(sequence(&[300, 100]), [0, 0, 1, 0]);
        let long = sequence(&[99_999, 1, 50_000]);
        assert!(long.len() <= WEIGHT_SUM_MAX as usize + 3 && long.contains(&1));
    }

    #[test]
    fn wrong_url_files_are_refused_by_line() {
        let of = |text: &str| {
            Workload::of_file(text, &template(), Expected::default()).map_err(|e| e.to_string())
        };
        for (text, expected) in [
            ("", "names no URL"),
            ("\n0 http://127.0.0.1/", "line 2"),
            ("1 GET twice http://127.0.0.1/", "line 1"),
            ("http://127.0.0.1:1/\nhttp://127.0.0.1:2/", "two servers"),
            ("http://127.0.0.1:1/\nhttps://127.0.0.1:1/", "TLS"),
            ("GE@T http://127.0.0.1/", "no method"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn fields_that_would_break_the_request_are_refused() {
        for (name, value) in [
            ("a b", "c"),
            ("a", "b\r\nc: d"),
            ("Content-Length", "3"),
            ("", "x"),
        ] {
            let template = Template {
                fields: vec![(name.to_owned(), value.to_owned())],
                ..template()
            };
            assert!(
                Workload::of_url("http://127.0.0.1:1/", &template, Expected::default()).is_err(),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn places_are_filled_anew_in_each_request_and_the_length_is_that_of_its_body() {
        let template = Template {
            method: "POST".to_owned(),
            fields: vec![("X-Who".to_owned(), "{name}".to_owned())],
            body: b"{\"id\": {seq}}".to_vec(),
            values: Arc::new(Values::parse("name\nAda\nGrace\n").unwrap()),
            ..Template::default()
        };
        let url = "http://127.0.0.1:1/u/{seq}";
        let workload = Workload::of_url(url, &template, Expected::default()).unwrap();
        let pattern = workload.requests[0].pattern.as_ref().unwrap();
        let filled = |sequence| {
            let (mut scratch, mut out) = (Vec::new(), Vec::new());
            let filler = Filler { sequence, seed: 1 };
            pattern.fill(&filler, &workload.values, &mut scratch, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            filled(10),
            "POST /u/10 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-Who: Ada\r\nContent-Length: 10\r\n\r\n{\"id\": 10}"
        );
        assert!(filled(7).contains("X-Who: Grace\r\nContent-Length: 9\r\n"));
        let bad = Workload::of_url(
            "http://127.0.0.1:1/{nobody}",
            &template,
            Expected::default(),
        );
        assert!(bad.unwrap_err().to_string().contains("{nobody} in the URL"));
    }
}
