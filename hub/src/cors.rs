//! Cross-origin requests (the Fetch standard, section 3.2): off unless
//! `--cors-allow-origin` names origins. Then preflights are answered by the hub, and
//! answers to those origins say so.

use std::str::FromStr;

use slotway_shm_proto::Method;

use crate::connection::Connection;
use crate::http::encode;
use crate::limits::CORS_MAX_AGE_SECONDS;
use crate::local_answer::LocalAnswer;

/// An origin that may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`
    Any,
    /// As browsers write it: scheme, host, and a port that is not the scheme's own.
    One(String),
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected *, or an origin like https://example.org:8443".to_owned();
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let is_visible = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        // Browsers send no path, not even a slash.
        if scheme.is_empty() || host.is_empty() || host.contains('/') || !is_visible {
            return Err(wrong());
        }
        Ok(Self::One(text.to_ascii_lowercase()))
    }
}

const NAME: &str = "Access-Control-Allow-Origin";

/// What an answer's head says of the origin: an index into the allowed ones.
pub type Grant = usize;

impl Connection {
    /// Finds out whether the request comes from an allowed origin. Answers preflights.
    pub(crate) fn apply_cors(&mut self, method: Method) -> Result<(), LocalAnswer> {
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

    fn answer_preflight(&self) -> LocalAnswer {
        if self.cors.is_none() {
            return LocalAnswer::error(403, "this origin is not allowed");
        }
        let path = self.text(self.head.path);
        let allow = if crate::control::is_event_path(path) || path == "/health" {
            "GET, HEAD".to_owned()
        } else {
            let find = |table: &crate::route::RouteTable| table.allow_of(path).map(str::to_owned);
            match self.reactor.with_routes(find) {
                Some(allow) => allow,
                None => return LocalAnswer::error(404, format!("no route for {path}")),
            }
        };
        let wanted = self.field_value(b"access-control-request-headers");
        let wanted = wanted.and_then(|fields| std::str::from_utf8(fields).ok());
        let mut answer = LocalAnswer::empty(204)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        let parsed: AllowedOrigin = "https://Example.org:8443".parse().unwrap();
        assert_eq!(
            parsed,
            AllowedOrigin::One("https://example.org:8443".to_owned())
        );
        assert_eq!("*".parse(), Ok(AllowedOrigin::Any));
        for wrong in [
            "",
            "example.org",
            "https://",
            "https://a/",
            "https://a/b",
            "http://a b",
        ] {
            assert!(wrong.parse::<AllowedOrigin>().is_err(), "{wrong}");
        }
    }
}
