//! A request that has ended, shown to who looks on and to the access log.

use slotway_net::Peer;
use slotway_shm_proto::Method;

use super::bytes::{REQUEST_ID, Wire};
use super::call::Call;
use super::noted::Noted;
use crate::access_log::fields::Field;
use crate::access_log::producer::AccessLog;
use crate::access_log::record::{Record, TEXT_COUNT, Text};
use crate::clock;
use crate::http::head::{bytes_of, value_in};
use crate::http::trace_context;
use crate::metrics::recorder::StatusClass;
use crate::reactor::phases::Moments;
use crate::shared::tap::EndedRequest;

impl Call {
    /// The request has ended: shows it to who looks on, and to the access log.
    #[cold]
    pub(super) fn show(&mut self, wire: &Wire, class: StatusClass, took_ns: u64) {
        let Some(mut noted) = self.noted.take() else {
            return;
        };
        let moments = self.moments().filter(|moments| moments.seen_ns > 0);
        let moments = moments.map(|moments| Moments {
            written_ns: moments.arrived_ns + took_ns,
            ..*moments
        });
        let ended = EndedRequest {
            at_ms: clock::unix_ms(),
            route_id: self.route_id,
            method: self.head.method.map_or("", Method::as_str),
            status: wire.status,
            is_aborted: class == StatusClass::Aborted,
            took_ns,
            phases_ns: moments.map(|moments| moments.phases()),
            session: noted.session.take(),
        };
        let tap = &wire.reactor.shared.tap;
        if tap.is_open() {
            tap.note(&ended);
        }
        let has_failed = matches!(class, StatusClass::ServerError | StatusClass::Aborted);
        if let Some(log) = &wire.reactor.access_log
            && log.wants(has_failed)
        {
            self.log(wire, log, &noted, &ended);
        }
        noted.clear();
        self.noted = Some(noted);
    }

    fn log(&self, wire: &Wire, log: &AccessLog, noted: &Noted, ended: &EndedRequest) {
        let id = wire.state.request_id.borrow();
        let mut texts: [&[u8]; TEXT_COUNT] = [b""; TEXT_COUNT];
        for (field, text) in TEXTS {
            if log.fields.has(field) {
                let value = match field {
                    Field::Worker => ended.session.as_ref().map(|s| s.name.as_bytes()),
                    _ => self.text_of(noted, &id, field),
                };
                texts[text as usize] = value.unwrap_or_default();
            }
        }
        log.push(&Record {
            at_ms: ended.at_ms,
            took_ns: ended.took_ns,
            sent_bytes: wire
                .state
                .stream()
                .sent_bytes()
                .saturating_sub(noted.sent_before),
            phases_ns: ended.phases_ns.unwrap_or_default(),
            route_index: ended.route_id.index() as u32,
            status: ended.status,
            is_aborted: ended.is_aborted,
            is_http_1_0: self.head.http_1_0,
            client: match wire.client.peer {
                Peer::Tcp(address) => Some(address),
                Peer::Unix => None,
            },
            texts,
        });
    }

    /// What the head says, if it was one.
    fn text_of<'n>(&'n self, noted: &'n Noted, id: &'n str, field: Field) -> Option<&'n [u8]> {
        if field == Field::RequestId && !id.is_empty() {
            return Some(id.as_bytes());
        }
        let head = noted.head.as_slice();
        if head.is_empty() {
            return None;
        }
        let value = |name: &str| value_in(&self.head.fields, head, name.as_bytes());
        match field {
            Field::Method => head.split(|byte| *byte == b' ').next(),
            Field::Path => Some(bytes_of(head, self.head.path)),
            Field::Query => self.head.query.map(|query| bytes_of(head, query)),
            Field::Host => value("host"),
            Field::UserAgent => value("user-agent"),
            Field::Referer => value("referer"),
            Field::RequestId => value(REQUEST_ID),
            Field::TraceId => match &self.traceparent {
                Some(made) => trace_context::trace_id(&made[..]),
                None => trace_context::trace_id(value("traceparent")?),
            },
            _ => None,
        }
    }
}

/// The fields that are texts.
const TEXTS: [(Field, Text); TEXT_COUNT] = [
    (Field::Method, Text::Method),
    (Field::Path, Text::Path),
    (Field::Query, Text::Query),
    (Field::Host, Text::Host),
    (Field::Worker, Text::Worker),
    (Field::RequestId, Text::RequestId),
    (Field::TraceId, Text::TraceId),
    (Field::UserAgent, Text::UserAgent),
    (Field::Referer, Text::Referer),
];
