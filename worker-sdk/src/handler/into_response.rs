//! What handlers return.

use serde::Serialize;

use super::extract::Json;
use super::rejection::Rejection;
use crate::exchange::request::Request;
use crate::exchange::response::Response;

/// Something that a handler may return.
///
/// ```
/// use slotway_worker_sdk::Request;
/// use slotway_worker_sdk::response::{IntoResponse, Rejection, Response};
///
/// enum DatabaseError { NotFound, Broken }
///
/// impl IntoResponse for DatabaseError {
///     fn into_response(self, request: &Request) -> Response {
///         match self {
///             Self::NotFound => Rejection::new(404, "no such row"),
///             Self::Broken => Rejection::new(500, "the database is away"),
///         }
///         .into_response(request)
///     }
/// }
/// ```
pub trait IntoResponse {
    /// Makes the response.
    fn into_response(self, request: &Request) -> Response;
}

impl IntoResponse for Rejection {
    fn into_response(self, request: &Request) -> Response {
        let document = serde_json::json!({ "error": self.message });
        request.response(self.status).json(&document)
    }
}

/// 200 without a body.
impl IntoResponse for () {
    fn into_response(self, request: &Request) -> Response {
        request.response(200).empty()
    }
}

/// 200, `text/plain`.
impl IntoResponse for &str {
    fn into_response(self, request: &Request) -> Response {
        request.response(200).text(self)
    }
}

/// 200, `text/plain`.
impl IntoResponse for String {
    fn into_response(self, request: &Request) -> Response {
        request.response(200).text(self)
    }
}

/// 200, `application/octet-stream`.
impl IntoResponse for Vec<u8> {
    fn into_response(self, request: &Request) -> Response {
        request
            .response(200)
            .header("content-type", "application/octet-stream")
            .body_vec(self)
    }
}

/// 200, `application/json`.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self, request: &Request) -> Response {
        request.response(200).json(&self.0)
    }
}

/// JSON with a status.
impl<T: Serialize> IntoResponse for (u16, Json<T>) {
    fn into_response(self, request: &Request) -> Response {
        request.response(self.0).json(&self.1.0)
    }
}

/// Text with a status.
impl IntoResponse for (u16, &str) {
    fn into_response(self, request: &Request) -> Response {
        request.response(self.0).text(self.1)
    }
}

/// Text with a status.
impl IntoResponse for (u16, String) {
    fn into_response(self, request: &Request) -> Response {
        request.response(self.0).text(self.1)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self, request: &Request) -> Response {
        match self {
            Ok(response) => response.into_response(request),
            Err(error) => error.into_response(request),
        }
    }
}
