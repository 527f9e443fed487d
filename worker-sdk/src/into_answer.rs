//! What handlers of [`HubWorker::on`](crate::HubWorker::on) return.

use std::fmt;

use serde::Serialize;

use crate::extract::Json;
use crate::handler_response::HandlerResponse;
use crate::request::Request;
use crate::response::Response;

/// Something that a handler may return.
///
/// ```
/// use slotway_worker_sdk::{Error, IntoAnswer, Request, Response};
///
/// enum DatabaseError { NotFound, Broken }
///
/// impl IntoAnswer for DatabaseError {
///     fn into_answer(self, request: &Request) -> Response {
///         match self {
///             Self::NotFound => Error::new(404, "no such row"),
///             Self::Broken => Error::new(500, "the database is away"),
///         }
///         .into_answer(request)
///     }
/// }
/// ```
pub trait IntoAnswer {
    /// Makes the answer.
    fn into_answer(self, request: &Request) -> Response;
}

/// An answer that says what is wrong: a status and `{"error": …}`.
///
/// ```
/// use slotway_worker_sdk::{Error, Path};
///
/// async fn half(Path(number): Path<u64>) -> Result<String, Error> {
///     if number % 2 == 1 {
///         return Err(Error::new(422, "an odd number"));
///     }
///     Ok((number / 2).to_string())
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).on("GET", "/half/{n}", half);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: u16,
    message: String,
}

impl Error {
    /// With a status, 400 to 599.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// 500; the error goes to the log, not to the client.
    pub fn internal(error: impl fmt::Display) -> Self {
        tracing::error!("{error}");
        Self::new(500, "internal error")
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Error {}

impl IntoAnswer for Error {
    fn into_answer(self, request: &Request) -> Response {
        let document = serde_json::json!({ "error": self.message });
        request.response(self.status).json(&document)
    }
}

/// 200 without a body.
impl IntoAnswer for () {
    fn into_answer(self, request: &Request) -> Response {
        request.response(200).empty()
    }
}

/// 200, `text/plain`.
impl IntoAnswer for &str {
    fn into_answer(self, request: &Request) -> Response {
        request.response(200).text(self)
    }
}

/// 200, `text/plain`.
impl IntoAnswer for String {
    fn into_answer(self, request: &Request) -> Response {
        request.response(200).text(self)
    }
}

/// 200, `application/octet-stream`.
impl IntoAnswer for Vec<u8> {
    fn into_answer(self, request: &Request) -> Response {
        request
            .response(200)
            .header("content-type", "application/octet-stream")
            .body_vec(self)
    }
}

/// 200, `application/json`.
impl<T: Serialize> IntoAnswer for Json<T> {
    fn into_answer(self, request: &Request) -> Response {
        request.response(200).json(&self.0)
    }
}

/// JSON with a status.
impl<T: Serialize> IntoAnswer for (u16, Json<T>) {
    fn into_answer(self, request: &Request) -> Response {
        request.response(self.0).json(&self.1.0)
    }
}

/// Text with a status.
impl IntoAnswer for (u16, &str) {
    fn into_answer(self, request: &Request) -> Response {
        request.response(self.0).text(self.1)
    }
}

/// Text with a status.
impl IntoAnswer for (u16, String) {
    fn into_answer(self, request: &Request) -> Response {
        request.response(self.0).text(self.1)
    }
}

impl IntoAnswer for HandlerResponse {
    fn into_answer(self, request: &Request) -> Response {
        self.into_response(request)
    }
}

impl<T: IntoAnswer, E: IntoAnswer> IntoAnswer for Result<T, E> {
    fn into_answer(self, request: &Request) -> Response {
        match self {
            Ok(answer) => answer.into_answer(request),
            Err(error) => error.into_answer(request),
        }
    }
}
