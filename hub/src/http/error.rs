//! Why a request head is refused.

/// Why a head is refused; the connection ends with the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// 400.
    #[error("{0}")]
    BadRequest(&'static str),
    /// 414.
    #[error("the request line is too long")]
    LineTooLong,
    /// 431.
    #[error("the request head is too large or has too many fields")]
    HeadTooLarge,
    /// 501.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// 505.
    #[error("only HTTP/1.1 and HTTP/1.0 are supported")]
    Version,
    /// 408.
    #[error("the request head did not arrive in time")]
    Timeout,
    /// 417.
    #[error("the only supported expectation is 100-continue")]
    Expectation,
}

impl HeadError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::LineTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::NotImplemented(_) => 501,
            Self::Version => 505,
            Self::Timeout => 408,
            Self::Expectation => 417,
        }
    }
}
