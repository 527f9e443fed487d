//! What is wrong with a request, as a response.

use std::fmt;

/// A response that says what is wrong: a status and `{"error": …}`.
///
/// ```
/// use slotway_worker_sdk::extract::Path;
/// use slotway_worker_sdk::response::Rejection;
///
/// async fn half(Path(number): Path<u64>) -> Result<String, Rejection> {
///     if number % 2 == 1 {
///         return Err(Rejection::new(422, "an odd number"));
///     }
///     Ok((number / 2).to_string())
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).get("/half/{n}", half);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Rejection {
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

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Rejection {}
