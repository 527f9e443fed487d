//! A span around each request of a service (feature `tracing`), by which a service's own layers
//! see what belongs together and can go on with the client's trace.

use std::sync::{Arc, OnceLock};

use http::Request;
use tracing::Span;

use super::body::Body;

type Make = dyn Fn(&Request<Body>) -> Span + Send + Sync;

/// Makes the spans of a worker's requests. Clones share what it was told.
#[derive(Clone, Default)]
pub(crate) struct SpanMaker(Arc<OnceLock<Box<Make>>>);

impl SpanMaker {
    /// The first says so for all.
    pub fn set(&self, make: impl Fn(&Request<Body>) -> Span + Send + Sync + 'static) {
        // In vain if that was said before.
        let _ = self.0.set(Box::new(make));
    }

    pub fn make(&self, request: &Request<Body>) -> Span {
        match self.0.get() {
            Some(make) => make(request),
            None => request_span(request),
        }
    }
}

/// The span that a request has unless
/// [`HubWorker::make_span`](crate::HubWorker::make_span) says otherwise: `request`, at the level
/// INFO, with the names of OpenTelemetry's HTTP conventions, and of the client's `traceparent`
/// (W3C Trace Context) the ids of the trace and of the span that this one is a child of. Where no
/// subscriber wants it, it costs a look at a flag.
///
/// A layer of OpenTelemetry takes a span's parent when the span is made, so that one which is
/// to go on with the client's trace is told there:
///
/// ```ignore
/// use tracing_opentelemetry::OpenTelemetrySpanExt;
///
/// worker.make_span(|request| {
///     let span = slotway_worker_sdk::tower::request_span(request);
///     let context = opentelemetry::global::get_text_map_propagator(|propagator| {
///         propagator.extract(&opentelemetry_http::HeaderExtractor(request.headers()))
///     });
///     let _ = span.set_parent(context);
///     span
/// })
/// ```
pub fn request_span(request: &Request<Body>) -> Span {
    let field = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let trace = || field("traceparent").and_then(ids_of);
    tracing::info_span!(
        "request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
        trace_id = trace().map(|(trace, _)| trace),
        parent_span_id = trace().map(|(_, parent)| parent),
        request_id = field("x-request-id"),
    )
}

/// Trace and parent of `00-TRACE-PARENT-FLAGS`.
fn ids_of(traceparent: &str) -> Option<(&str, &str)> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, parent) = (parts.next()?, parts.next()?);
    (trace.len() == 32 && parent.len() == 16).then_some((trace, parent))
}
