//! A handler behind one type, whatever its function is.

use std::sync::Arc;

#[cfg(feature = "tokio")]
use super::future::AsyncHandler;
use crate::exchange::request::Request;
use crate::exchange::response::Response;

type PlainHandler<S> = Box<dyn Fn(&Arc<S>, &Request) -> Response + Send + Sync>;

/// How a handler runs.
pub enum BoxedHandler<S> {
    /// To its end, on the thread that received the request.
    Plain(PlainHandler<S>),
    /// As a future.
    #[cfg(feature = "tokio")]
    Async(AsyncHandler<S>),
}

impl<S: Send + Sync + 'static> BoxedHandler<S> {
    pub(crate) fn plain<F>(handler: F) -> Self
    where
        F: Fn(&Arc<S>, &Request) -> Response + Send + Sync + 'static,
    {
        Self::Plain(Box::new(handler))
    }

    /// Whether a request's body is left for the handler to read.
    pub(crate) fn reads_body(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tokio")]
            Self::Async(handler) => handler.reads_body(),
        }
    }
}
