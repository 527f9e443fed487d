//! Responses that the hub makes itself, as JSON.

use std::borrow::Cow;

use serde::Serialize;

/// Status, fields besides the framing, and body.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// Status code.
    pub status: u16,
    /// Field names and values.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct ErrorBody<'m> {
    error: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'m str>,
}

impl LocalReply {
    /// A JSON document.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let mut body = serde_json::to_vec(body).expect("the hub's own types serialise");
        body.push(b'\n');
        Self {
            status,
            fields: vec![("Content-Type", "application/json".into())],
            body,
        }
    }

    /// `{"error": message}`.
    pub fn error(status: u16, message: impl AsRef<str>) -> Self {
        Self::json(
            status,
            &ErrorBody {
                error: message.as_ref(),
                field: None,
            },
        )
    }

    /// `{"error": message, "field": field}`: which part of a document is wrong.
    pub fn field_error(status: u16, field: &str, message: impl AsRef<str>) -> Self {
        Self::json(
            status,
            &ErrorBody {
                error: message.as_ref(),
                field: Some(field),
            },
        )
    }

    /// A text for people and probes.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            fields: vec![("Content-Type", "text/plain; charset=utf-8".into())],
            body: text.into().into_bytes(),
        }
    }

    /// With another Content-Type.
    pub fn with_type(mut self, content_type: &'static str) -> Self {
        self.fields.retain(|(name, _)| *name != "Content-Type");
        self.with("Content-Type", content_type)
    }

    /// No body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}
