//! Cross-origin requests (the Fetch standard, section 3.2): off unless
//! `--cors-allow-origin` names origins. Then preflights are answered by the hub, and
//! answers to those origins say so.

use slotway_shm_proto::Method;

use crate::config::origin::AllowedOrigin;
use crate::front::connection::Connection;
use crate::http::encode;
use crate::http::local_reply::LocalReply;
use crate::limits::CORS_MAX_AGE_SECONDS;

const NAME: &str = "Access-Control-Allow-Origin";

/// What an answer's head says of the origin: an index into the allowed ones.
pub type Grant = usize;

impl Connection {
    /// Finds out whether the request comes from an allowed origin. Answers preflights.
    pub(crate) fn apply_cors(&mut self, method: Method) -> Result<(), LocalReply> {
        let allowed = &self.reactor.shared.config.cors_allow_origin;
        self.cors = self.field_value(b"origin").and_then(|origin| {
            allowed.iter().position(|allowed| match allowed {
                AllowedOrigin::Any => true,
                AllowedOrigin::One(allowed) => allowed.as_bytes() == origin,
            })
        });
        let has_origin = self.field_value(b"origin").is_some();
        let asks = self.field_value(b"access-control-request-method").is_some();
        if method != Method::Options || !has_origin || !asks {
            return Ok(());
        }
        Err(self.answer_preflight())
    }

    fn answer_preflight(&self) -> LocalReply {
        if self.cors.is_none() {
            return LocalReply::error(403, "this origin is not allowed");
        }
        let path = self.text(self.head.path);
        let allow = if crate::routing::own_paths::is_event_path(path) || path == "/health" {
            "GET, HEAD".to_owned()
        } else {
            let find =
                |table: &crate::routing::table::RouteTable| table.allow_of(path).map(str::to_owned);
            match self.reactor.with_routes(find) {
                Some(allow) => allow,
                None => return LocalReply::error(404, format!("no route for {path}")),
            }
        };
        let wanted = self.field_value(b"access-control-request-headers");
        let wanted = wanted.and_then(|fields| std::str::from_utf8(fields).ok());
        let mut answer = LocalReply::empty(204)
            .with("Access-Control-Allow-Methods", allow)
            .with("Access-Control-Max-Age", CORS_MAX_AGE_SECONDS.to_string());
        if let Some(wanted) = wanted {
            answer = answer.with("Access-Control-Allow-Headers", wanted.to_owned());
        }
        answer
    }

    /// Writes the fields of an answer, to an allowed origin or not. A worker's own, which
    /// begin at `own_fields_start` in the output, count more.
    pub(crate) fn append_cors_fields(&mut self, own_fields_start: usize) {
        let allowed = &self.reactor.shared.config.cors_allow_origin;
        // A cache must not give one origin's answer to another.
        if allowed.iter().any(|origin| *origin != AllowedOrigin::Any) {
            encode::field(&mut self.output, "Vary", "Origin");
        }
        let Some(grant) = self.cors else { return };
        let own = self.output[own_fields_start..].split(|byte| *byte == b'\n');
        for line in own {
            let name = line.split(|byte| *byte == b':').next();
            if name.is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes())) {
                return;
            }
        }
        match &allowed[grant] {
            AllowedOrigin::Any => encode::field(&mut self.output, NAME, "*"),
            AllowedOrigin::One(origin) => encode::field(&mut self.output, NAME, origin),
        }
    }
}
