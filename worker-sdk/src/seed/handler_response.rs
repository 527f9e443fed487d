//! A response in owned parts.

use serde::Serialize;

use crate::exchange::request::Request;
use crate::exchange::response::Response;
use crate::handler::into_response::IntoResponse;

/// Status, body, content type and further header fields.
///
/// ```
/// use slotway_worker_sdk::seed::HandlerResponse;
///
/// let response = HandlerResponse::error(404, "no such item");
/// assert_eq!(response.status, 404);
/// assert_eq!(response.body, br#"{"error":"no such item"}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerResponse {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Body bytes.
    pub body: Vec<u8>,
    /// Value of Content-Type.
    pub content_type: String,
    /// Further header fields, names and values.
    pub headers: Vec<(String, String)>,
}

impl HandlerResponse {
    /// JSON with a status. A value that cannot be serialised gives an empty
    /// body and a line in the log.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_else(|error| {
            tracing::error!(%error, "a response could not be serialised");
            Vec::new()
        });
        Self::bytes(status, body, "application/json")
    }

    /// JSON with status 200.
    pub fn ok_json(body: &impl Serialize) -> Self {
        Self::json(200, body)
    }

    /// `{"error": msg}` with a status.
    pub fn error(status: u16, msg: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": msg }))
    }

    /// Bytes of a content type.
    pub fn bytes(status: u16, body: Vec<u8>, content_type: &str) -> Self {
        Self::bytes_with_headers(status, body, content_type, Vec::new())
    }

    /// Bytes of a content type, with further header fields.
    pub fn bytes_with_headers(
        status: u16,
        body: Vec<u8>,
        content_type: &str,
        headers: Vec<(String, String)>,
    ) -> Self {
        Self {
            status,
            body,
            content_type: content_type.to_owned(),
            headers,
        }
    }

    /// `{}` with status 200.
    pub fn ok() -> Self {
        Self::ok_json(&serde_json::json!({}))
    }

    /// A status and no body.
    pub fn status(code: u16) -> Self {
        Self::bytes(code, Vec::new(), "application/json")
    }
}

impl IntoResponse for HandlerResponse {
    fn into_response(self, request: &Request) -> Response {
        let start = request
            .response(self.status)
            .header("content-type", &self.content_type);
        self.headers
            .iter()
            .fold(start, |builder, (name, value)| builder.header(name, value))
            .body_vec(self.body)
    }
}
