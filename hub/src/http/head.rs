//! A request head: parsed strictly, and its framing decided.
//!
//! httparse finds the tokens; what it lets through and a router must not (bare
//! LF, repeated blank lines, raw bytes in targets) is refused here, and so is
//! every framing on which two readers could disagree (RFC 9112 section 6.3).

use std::mem::MaybeUninit;

use slotway_shm_proto::Method;
use slotway_shm_proto::layout::{FieldEntry, Span};
use slotway_shm_proto::limits::{REQUEST_FIELD_COUNT_MAX, UPGRADE_BYTES_MAX};

use super::connection_field::ConnectionOptions;
use super::error::HeadError;
use super::field_kind::{FieldKind, kind_of};
use super::framing::{Framing, check_transfer_encoding, parse_content_length};
use super::lines::{blank_bytes, explain, version_of};
use super::list;
use super::target::{self, Target};
use crate::limits::{HEAD_BYTES_MAX, LINE_BYTES_MAX};

/// A parsed head. Spans count from the first byte of the head, so they stay
/// right when the bytes are copied somewhere else. Re-used between requests.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `None`: a method that no route can be registered for.
    pub method: Option<Method>,
    /// Its token.
    pub method_token: Span,
    /// Target as sent.
    pub target: Span,
    /// Its path, not decoded.
    pub path: Span,
    /// Its query without `?`.
    pub query: Option<Span>,
    /// `OPTIONS *`.
    pub asterisk: bool,
    /// Field lines for the worker, without what is hop-by-hop.
    pub fields: Vec<FieldEntry>,
    /// Field lines that the worker does not get to see.
    pub dropped: Vec<FieldEntry>,
    /// The client spoke HTTP/1.0.
    pub http_1_0: bool,
    /// Body framing.
    pub framing: Framing,
    /// The connection may serve another request after this one.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// What the connection could speak instead of HTTP, as the client offers it: the value of its
    /// Upgrade field.
    pub upgrade: Option<Span>,
    /// The client takes fields behind a body.
    pub takes_trailers: bool,
    /// Bytes of the head, the blank line included.
    pub bytes: usize,
}

/// A part of a head that was parsed from the beginning of `input`.
pub fn bytes_of(input: &[u8], span: Span) -> &[u8] {
    &input[span.offset as usize..][..span.bytes as usize]
}

/// The same as text.
pub fn text_of(input: &[u8], span: Span) -> &str {
    std::str::from_utf8(bytes_of(input, span)).expect("the parser lets only ASCII targets through")
}

/// The value of the first of these fields that has a name; `input` begins with the head.
pub fn value_in<'i>(fields: &[FieldEntry], input: &'i [u8], name: &[u8]) -> Option<&'i [u8]> {
    let is_it = |field: &&FieldEntry| bytes_of(input, field.name).eq_ignore_ascii_case(name);
    let field = fields.iter().find(is_it)?;
    Some(bytes_of(input, field.value))
}

impl RequestHead {
    /// Whether a body comes behind it.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// The value of the first field of a name that the worker gets to see; `input` begins
    /// with the head.
    pub fn field_value<'i>(&self, input: &'i [u8], name: &[u8]) -> Option<&'i [u8]> {
        value_in(&self.fields, input, name)
    }

    /// Whether there is a field of this name, also one that the worker does not see.
    pub fn has_field(&self, input: &[u8], name: &[u8]) -> bool {
        [&self.fields, &self.dropped]
            .into_iter()
            .any(|fields| value_in(fields, input, name).is_some())
    }
}

/// Bounds of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the request line.
    pub line_bytes: usize,
    /// Bytes of the whole head.
    pub head_bytes: usize,
    /// Field lines.
    pub field_count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            line_bytes: LINE_BYTES_MAX,
            head_bytes: HEAD_BYTES_MAX,
            field_count: REQUEST_FIELD_COUNT_MAX,
        }
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            method: None,
            method_token: Span::default(),
            target: Span::default(),
            path: Span::default(),
            query: None,
            asterisk: false,
            fields: Vec::new(),
            dropped: Vec::new(),
            http_1_0: false,
            framing: Framing::Length(0),
            keep_alive: true,
            expects_continue: false,
            upgrade: None,
            takes_trailers: false,
            bytes: 0,
        }
    }
}

impl RequestHead {
    /// Parses a complete head, as
    /// [`HeadScanner::find_end`](crate::http::scan::HeadScanner::find_end) cut it off.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let mut storage = [const { MaybeUninit::uninit() }; REQUEST_FIELD_COUNT_MAX];
        let mut request = httparse::Request::new(&mut []);
        // The blank lines that may come first would shift httparse's view.
        let blank_bytes = blank_bytes(bytes);
        match request.parse_with_uninit_headers(&bytes[blank_bytes..], &mut storage) {
            Ok(httparse::Status::Complete(length)) if length + blank_bytes == bytes.len() => {}
            Ok(_) => return Err(HeadError::BadRequest("the request head ends too early")),
            // A higher minor version is a client that speaks 1.1 as well (RFC
            // 9110 section 2.5), which httparse does not know.
            Err(httparse::Error::Version)
                if let Some((b'1', b'2'.., minor_at)) = version_of(&bytes[blank_bytes..]) =>
            {
                let mut as_1_1 = bytes.to_vec();
                as_1_1[blank_bytes + minor_at] = b'1';
                return self.parse(&as_1_1);
            }
            Err(error) => return Err(explain(error, &bytes[blank_bytes..])),
        }
        let span_of = |part: &[u8]| Span {
            offset: (part.as_ptr().addr() - bytes.as_ptr().addr()) as u32,
            bytes: part.len() as u32,
        };

        self.bytes = bytes.len();
        self.http_1_0 = request.version == Some(0);
        let method = request.method.unwrap_or_default();
        self.method = Method::of_request(method.as_bytes());
        self.method_token = span_of(method.as_bytes());
        let target = request.path.unwrap_or_default();
        self.target = span_of(target.as_bytes());
        let parsed = target::parse(target.as_bytes(), method)?;
        self.path = span_of(parsed.path);
        self.query = parsed.query.map(span_of);
        self.asterisk = parsed.asterisk;
        self.read_fields(request.headers, span_of, &parsed)
    }

    fn read_fields(
        &mut self,
        fields: &[httparse::Header<'_>],
        span_of: impl Fn(&[u8]) -> Span,
        target: &Target<'_>,
    ) -> Result<(), HeadError> {
        self.fields.clear();
        self.dropped.clear();
        self.expects_continue = false;
        self.upgrade = None;
        self.takes_trailers = false;
        let mut upgrade_count = 0;
        let (mut content_length, mut chunked) = (None, false);
        let mut host_count = 0;
        let mut options = ConnectionOptions::default();

        for field in fields {
            let entry = FieldEntry {
                name: span_of(field.name.as_bytes()),
                value: span_of(field.value),
            };
            match kind_of(field.name) {
                FieldKind::EndToEnd => self.fields.push(entry),
                FieldKind::HopByHop => self.dropped.push(entry),
                FieldKind::Te => {
                    self.takes_trailers |= names_trailers(field.value);
                    self.dropped.push(entry);
                }
                FieldKind::Upgrade => {
                    upgrade_count += 1;
                    self.upgrade = Some(entry.value);
                    self.dropped.push(entry);
                }
                FieldKind::Host => {
                    host_count += 1;
                    target::check_authority(field.value)?;
                    self.push_host(entry, target.authority.map(&span_of));
                }
                FieldKind::ContentLength => {
                    if content_length.is_some() {
                        return Err(HeadError::BadRequest("more than one Content-Length"));
                    }
                    content_length = Some(parse_content_length(field.value)?);
                    self.fields.push(entry);
                }
                FieldKind::TransferEncoding => {
                    if chunked {
                        return Err(HeadError::BadRequest("more than one Transfer-Encoding"));
                    }
                    check_transfer_encoding(field.value)?;
                    chunked = true;
                    self.dropped.push(entry);
                }
                FieldKind::Connection => {
                    options.read(field.value)?;
                    self.dropped.push(entry);
                }
                FieldKind::Expect => {
                    if !field.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(HeadError::Expectation);
                    }
                    // An HTTP/1.0 client cannot wait (RFC 9110 section 10.1.1).
                    self.expects_continue = !self.http_1_0;
                    self.dropped.push(entry);
                }
            }
        }
        if options.nominates {
            self.drop_nominated(fields, span_of);
        }
        self.check_host_count(host_count)?;
        if let Some(authority) = target.authority {
            target::check_authority(authority)?;
        }
        self.framing = framing_of(content_length, chunked, self.http_1_0)?;
        self.judge_upgrade(options.upgrade && upgrade_count == 1);
        self.keep_alive = !options.close && (!self.http_1_0 || options.keep_alive);
        Ok(())
    }

    fn check_host_count(&self, count: u32) -> Result<(), HeadError> {
        if count == 1 || (count == 0 && self.http_1_0) {
            return Ok(());
        }
        Err(HeadError::BadRequest(
            "there must be exactly one Host field",
        ))
    }

    /// Whether the upgrade that the client offers can be taken up. With a body, that would have to be
    /// read first (RFC 9110 section 7.8).
    fn judge_upgrade(&mut self, is_meant: bool) {
        let may_be = is_meant && !self.http_1_0 && !self.has_body();
        let lengths = 1..=UPGRADE_BYTES_MAX as u32;
        self.upgrade = self
            .upgrade
            .filter(|value| may_be && lengths.contains(&value.bytes));
    }

    /// The authority of an absolute target stands for what Host says (RFC 9112 section
    /// 3.2.2).
    fn push_host(&mut self, entry: FieldEntry, authority: Option<Span>) {
        let Some(value) = authority else {
            return self.fields.push(entry);
        };
        let name = entry.name;
        self.fields.push(FieldEntry { name, value });
        self.dropped.push(FieldEntry {
            name: Span::default(),
            ..entry
        });
    }

    /// Moves the fields that Connection names to those dropped (RFC 9110
    /// section 7.6.1). Framing has been decided and cannot change by it.
    fn drop_nominated(&mut self, fields: &[httparse::Header<'_>], span_of: impl Fn(&[u8]) -> Span) {
        for field in fields {
            let is_nominated = fields
                .iter()
                .filter(|other| kind_of(other.name) == FieldKind::Connection)
                .flat_map(|connection| list(connection.value))
                .any(|option| option.eq_ignore_ascii_case(field.name.as_bytes()));
            let name = span_of(field.name.as_bytes());
            if is_nominated
                && let Some(index) = self.fields.iter().position(|entry| entry.name == name)
            {
                self.dropped.push(self.fields.remove(index));
            }
        }
    }
}

/// Whether a TE field says that fields behind a body are welcome (RFC 9110 section 10.1.4).
fn names_trailers(te: &[u8]) -> bool {
    list(te).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// How the body is framed (RFC 9112 section 6.3), where only one reading is possible.
fn framing_of(
    content_length: Option<u64>,
    chunked: bool,
    http_1_0: bool,
) -> Result<Framing, HeadError> {
    match (chunked, content_length) {
        (true, None) if !http_1_0 => Ok(Framing::Chunked),
        (true, _) => Err(HeadError::BadRequest(
            "Transfer-Encoding is not allowed together with Content-Length or in HTTP/1.0",
        )),
        (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::scan::HeadScanner;
    use crate::limits::CONNECTION_OPTION_COUNT_MAX;

    fn parse(text: &str) -> Result<RequestHead, HeadError> {
        let bytes = text.as_bytes();
        let end = HeadScanner::default()
            .find_end(bytes)?
            .expect("a whole head");
        assert_eq!(end, bytes.len());
        let mut head = RequestHead::default();
        head.parse(bytes)?;
        Ok(head)
    }

    fn text(bytes: &str, span: Span) -> &str {
        &bytes[span.offset as usize..(span.offset + span.bytes) as usize]
    }

    fn status(text: &str) -> u16 {
        parse(text).map_or_else(HeadError::status, |_| 200)
    }

    #[test]
    fn a_plain_request_is_cut_into_its_parts() {
        let bytes = "GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-One:  two \r\n\r\n";
        let head = parse(bytes).unwrap();
        assert_eq!(head.method, Some(Method::Get));
        assert_eq!(text(bytes, head.target), "/a%20b?x=1");
        assert_eq!(text(bytes, head.path), "/a%20b");
        assert_eq!(text(bytes, head.query.unwrap()), "x=1");
        assert_eq!(text(bytes, head.fields[1].name), "X-One");
        assert_eq!(text(bytes, head.fields[1].value), "two");
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive);
    }

    #[test]
    fn two_blank_lines_may_come_first_and_spans_still_point_right() {
        for blank in ["\r\n", "\r\n\r\n"] {
            let bytes = format!("{blank}GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
            let head = parse(&bytes).unwrap();
            assert_eq!(text(&bytes, head.path), "/x");
        }
    }

    #[test]
    fn what_httparse_lets_through_and_a_router_must_not_is_refused() {
        for bad in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\u{7}\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h%00\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h%2fa\r\n\r\n",
            "GET http://h%2fa/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Host\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Forwarded-For\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\r\n\r\n",
        ] {
            assert_eq!(status(bad), 400, "{bad:?}");
        }
        assert_eq!(status("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
    }

    #[test]
    fn framing_on_which_two_readers_could_disagree_is_refused() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
        for bad in [
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Content-Length: ",
            "Content-Length: 5, 5",
            "Content-Length: 9223372036854775808",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: gzip,,chunked",
            "Transfer-Encoding: chunked;a=1",
            "Transfer-Encoding: \"chunked\"",
        ] {
            assert_eq!(status(&with(bad)), 400, "{bad}");
        }
        for unknown in ["gzip", "gzip, chunked", "xchunked", "identity"] {
            assert_eq!(
                status(&with(&format!("Transfer-Encoding: {unknown}"))),
                501,
                "{unknown}"
            );
        }
        assert_eq!(
            parse(&with("Transfer-Encoding: CHUNKED")).unwrap().framing,
            Framing::Chunked
        );
        assert_eq!(
            parse(&with("Content-Length: 005")).unwrap().framing,
            Framing::Length(5)
        );
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status(old), 400);
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_are_not_for_the_worker() {
        let bytes = "GET / HTTP/1.1\r\nHost: h\r\nX-Auth: 1\r\nConnection: close, x-auth\r\n\
                     TE: trailers\r\nUpgrade: h2c\r\nX-Keep: 1\r\n\r\n";
        let head = parse(bytes).unwrap();
        let names: Vec<_> = head
            .fields
            .iter()
            .map(|field| text(bytes, field.name))
            .collect();
        assert_eq!(names, ["Host", "X-Keep"]);
        assert_eq!(head.dropped.len(), 4);
        assert!(!head.keep_alive);
    }

    #[test]
    fn the_authority_of_an_absolute_target_stands_for_host() {
        let bytes = "GET http://real:80/p HTTP/1.1\r\nX: 1\r\nHost: other\r\n\r\n";
        let head = parse(bytes).unwrap();
        assert_eq!(text(bytes, head.fields[1].name), "Host");
        assert_eq!(text(bytes, head.fields[1].value), "real:80");
        assert_eq!(text(bytes, head.dropped[0].value), "other");
        assert_eq!(status("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    }

    #[test]
    fn connection_options_are_bounded() {
        let options = "a, ".repeat(CONNECTION_OPTION_COUNT_MAX + 1);
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n\r\n");
        assert_eq!(status(&bytes), 400);
    }

    #[test]
    fn more_fields_than_there_may_be_are_431() {
        let many = "X: a\r\n".repeat(REQUEST_FIELD_COUNT_MAX);
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n")),
            431
        );
    }

    #[test]
    fn http_1_0_closes_unless_it_asks_to_stay_and_needs_no_host() {
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(
            parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                .unwrap()
                .keep_alive
        );
    }
}
