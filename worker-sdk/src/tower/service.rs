//! Services of tower ([`tower_service::Service`]), such as an axum `Router`, as
//! handlers: the request becomes an [`http::Request`], the [`http::Response`] a response.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Buf;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body::Body as HttpBody;
use slotway_shm_proto::Method;
use slotway_shm_proto::layout::request_flags;
use tower_service::Service;

use crate::exchange::body_sender::{BodySender, TrailersNotSent};
use crate::exchange::cancellation::CancellationToken;
use crate::exchange::request::Request;
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::handler::route::Route;
use crate::tower::body::Body;
use crate::tower::upgrade::Offer;

/// What a service finds among a request's extensions.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use slotway_worker_sdk::tower::RequestContext;
///
/// async fn who(Extension(context): Extension<RequestContext>) -> String {
///     format!("{} over {}", context.peer.ip(), context.scheme)
/// }
///
/// let router: Router = Router::new().route("/who", get(who));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestContext {
    /// See [`Request::peer`].
    pub peer: SocketAddr,
    /// See [`Request::scheme`].
    pub scheme: &'static str,
    /// The pattern under which the hub knows the service: `/{*path}`.
    pub route_pattern: Arc<str>,
    /// See [`Request::deadline`].
    pub deadline: Option<Instant>,
    /// See [`Request::cancellation`]. A service whose client has left is dropped
    /// anyway; this is for what it has started elsewhere.
    pub cancellation: CancellationToken,
}

/// Any error, as tower has it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a service's response.
pub trait ResponseBody: HttpBody<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<T: HttpBody<Data: Send, Error: Into<BoxError>> + Send + 'static> ResponseBody for T {}

/// A service of tower that can stand behind a hub, such as an axum `Router`. Implemented for
/// all that fit, not to be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve requests of a hub",
    label = "not such a service",
    note = "it must be a `tower::Service<http::Request<slotway_worker_sdk::tower::Body>>` that is \
            `Clone + Send`, responds with an `http::Response` and never fails (`Error = Infallible`)"
)]
pub trait HttpService:
    Service<
        http::Request<Body>,
        Response = http::Response<<Self as HttpService>::ResponseBody>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: ResponseBody;
}

impl<Svc, Rsp> HttpService for Svc
where
    Svc: Service<http::Request<Body>, Response = http::Response<Rsp>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    Svc::Future: Send,
    Rsp: ResponseBody,
{
    type ResponseBody = Rsp;
}

/// The routes by which a service responds to everything below a prefix, and to that itself:
/// what [`HubWorker::service`](crate::HubWorker::service) adds.
///
/// ```
/// use slotway_worker_sdk::{HubWorker, Route, tower};
///
/// let router: axum::Router = axum::Router::new();
/// HubWorker::new("http://127.0.0.1:3200", "items", ())
///     .routes(tower::routes("/items", router).map(Route::retry));
/// ```
pub fn routes<S: Send + Sync + 'static>(
    prefix: &str,
    service: impl HttpService,
) -> impl Iterator<Item = Route<S>> {
    routes_of(prefix, service, false, &Spans::default()).into_iter()
}

/// Like [`routes`], for a service that sees paths without the prefix, as axum's `nest` has
/// it: what [`HubWorker::nest`](crate::HubWorker::nest) adds.
pub fn nested_routes<S: Send + Sync + 'static>(
    prefix: &str,
    service: impl HttpService,
) -> impl Iterator<Item = Route<S>> {
    routes_of(prefix, service, true, &Spans::default()).into_iter()
}

/// Makes the spans of requests.
#[cfg(feature = "tracing")]
pub(crate) use super::span::SpanMaker as Spans;

/// There are none.
#[cfg(not(feature = "tracing"))]
#[derive(Clone, Default)]
pub(crate) struct Spans(());

pub(crate) fn routes_of<S: Send + Sync + 'static>(
    prefix: &str,
    service: impl HttpService,
    strips: bool,
    spans: &Spans,
) -> Vec<Route<S>> {
    let prefix = prefix.trim_end_matches('/');
    let below: Arc<str> = format!("{prefix}/{{*path}}").into();
    let itself: Arc<str> = if prefix.is_empty() { "/" } else { prefix }.into();
    // A catch-all matches no empty rest.
    let with_slash: Option<Arc<str>> = (!prefix.is_empty()).then(|| format!("{prefix}/").into());
    let service = Arc::new(Mutex::new(service));
    let mut routes = Vec::new();
    for pattern in [itself, below].into_iter().chain(with_slash) {
        for method in Method::ALL.into_iter().chain([Method::Other]) {
            let (service, route_pattern) = (Arc::clone(&service), Arc::clone(&pattern));
            let spans = spans.clone();
            let stripped = if strips {
                prefix.matches('/').count()
            } else {
                0
            };
            let handler = move |_, request, body| {
                let service = service.lock().unwrap_or_else(PoisonError::into_inner);
                let pattern = Arc::clone(&route_pattern);
                let spans = spans.clone();
                call(service.clone(), spans, request, body, pattern, stripped)
            };
            // Services decode paths as they like.
            routes.push(Route::in_place_stream(method, &pattern, handler).with_raw_params());
        }
    }
    routes
}

async fn call(
    mut service: impl HttpService,
    spans: Spans,
    request: Request,
    body: RequestBody,
    route_pattern: Arc<str>,
    stripped: usize,
) -> Response {
    let cancellation = request.cancellation();
    let context = RequestContext {
        peer: request.peer(),
        scheme: request.scheme(),
        route_pattern,
        deadline: request.deadline(),
        cancellation: cancellation.clone(),
    };
    let body = Body::new(body, request.body_length());
    let offer = request
        .has_flag(request_flags::UPGRADES)
        .then(Offer::new)
        .flatten();
    let Some(mut http_request) = to_http(&request, context, body, stripped) else {
        return request.response(400).text("not a URI");
    };
    let offer = offer.map(|(offer, upgrade)| {
        let connection = HeaderValue::from_static("upgrade");
        http_request
            .headers_mut()
            .insert(header::CONNECTION, connection);
        http_request.extensions_mut().insert(upgrade);
        offer
    });
    #[cfg(feature = "tracing")]
    let span = spans.make(&http_request);
    let responding = async {
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(http_request).await;
        #[cfg(feature = "tracing")]
        tracing::Span::current().record("http.response.status_code", response.status().as_u16());
        response
    };
    #[cfg(feature = "tracing")]
    let responding = tracing::Instrument::instrument(responding, span);
    #[cfg(not(feature = "tracing"))]
    let Spans(()) = spans;
    tokio::select! {
        biased;
        response = responding => respond(&request, response, cancellation, offer),
        // Nobody waits; it may be any.
        () = cancellation.cancelled() => request.response(503).empty(),
    }
}

/// What of a path is behind its first segments; at least a slash.
fn without_segments(path: &str, count: usize) -> &str {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    match slashes.nth(count) {
        Some(at) => &path[at..],
        None => "/",
    }
}

/// `stripped` is how many of the path's first segments the service does not see.
fn to_http(
    request: &Request,
    context: RequestContext,
    body: Body,
    stripped: usize,
) -> Option<http::Request<Body>> {
    let path = without_segments(request.path(), stripped);
    let path_and_query = match request.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut http_request = http::Request::new(body);
    *http_request.method_mut() = request.method().parse().ok()?;
    *http_request.uri_mut() = path_and_query.parse::<Uri>().ok()?;
    if request.has_flag(request_flags::HTTP_1_0) {
        *http_request.version_mut() = http::Version::HTTP_10;
    }
    let headers = http_request.headers_mut();
    headers.reserve(request.headers().size_hint().1.unwrap_or(0));
    for (name, value) in request.headers() {
        // The hub lets no others through.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    }
    #[cfg(feature = "axum")]
    http_request
        .extensions_mut()
        .insert(axum::extract::ConnectInfo(context.peer));
    http_request.extensions_mut().insert(context);
    Some(http_request)
}

fn respond(
    request: &Request,
    response: http::Response<impl ResponseBody>,
    cancellation: CancellationToken,
    offer: Option<Offer>,
) -> Response {
    let (parts, body) = response.into_parts();
    let mut builder = request.response(parts.status.as_u16());
    for (name, value) in &parts.headers {
        builder = builder.header(name.as_str(), value.as_bytes());
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let (response, upgrade) = builder.upgrade();
        if let Some(offer) = offer {
            tokio::spawn(offer.take_up(upgrade));
        }
        return response;
    }
    // A service leaves the body of a response to HEAD out, and its length there.
    let told_length = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if request.method() == "HEAD" {
        return match told_length {
            Some(length) => builder.stream_of_length(length).0,
            None => builder.stream().0,
        };
    }
    if has_no_body(parts.status) {
        return builder.empty();
    }
    let mut body = Box::pin(body);
    // What is there at once; the head must not wait for the rest.
    let mut cx = Context::from_waker(Waker::noop());
    let first = match body.as_mut().poll_frame(&mut cx) {
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Some(data),
            Err(frame) => {
                let fields = frame.into_trailers().unwrap_or_default();
                let (response, sender) = builder.stream();
                tokio::spawn(async move { finish_with_trailers(sender, &fields).await });
                return response;
            }
        },
        Poll::Ready(Some(Err(error))) => {
            let error: BoxError = error.into();
            tracing::error!("the body of a service's response failed: {error}");
            drop(builder);
            return request
                .response(500)
                .text("the response could not be created");
        }
        Poll::Ready(None) => return builder.empty(),
        Poll::Pending => None,
    };
    if let Some(first) = &first
        && body.is_end_stream()
        && first.chunk().len() == first.remaining()
    {
        return builder.body(first.chunk());
    }
    let first_bytes = first.as_ref().map_or(0, |first| first.remaining() as u64);
    let exact = body.size_hint().exact().map(|rest| first_bytes + rest);
    let (response, sender) = match told_length.or(exact) {
        Some(bytes) => builder.stream_of_length(bytes),
        None => builder.stream(),
    };
    tokio::spawn(send(sender, first, body, cancellation));
    response
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// Sends a body as it comes. One that fails is cut off, and the client can tell.
async fn send<B: ResponseBody>(
    mut sender: BodySender,
    first: Option<B::Data>,
    mut body: Pin<Box<B>>,
    cancellation: CancellationToken,
) {
    let sending = async move {
        if let Some(first) = first {
            send_data(&mut sender, first).await?;
        }
        let mut next = |cx: &mut Context<'_>| {
            let polled = body.as_mut().poll_frame(cx);
            polled.map(|frame| frame.map(|frame| frame.map_err(Into::<BoxError>::into)))
        };
        while let Some(frame) = poll_fn(&mut next).await {
            match frame?.into_data() {
                Ok(data) => send_data(&mut sender, data).await?,
                // Nothing comes behind them.
                Err(frame) => {
                    let fields = frame.into_trailers().unwrap_or_default();
                    return finish_with_trailers(sender, &fields).await;
                }
            }
        }
        sender.finish();
        Ok::<_, BoxError>(())
    };
    // The service's body is dropped as soon as nobody reads it.
    let sent = tokio::select! {
        sent = sending => sent,
        () = cancellation.cancelled() => return,
    };
    if let Err(error) = sent
        && !error.is::<crate::BodyClosed>()
    {
        tracing::error!(
            "the body of a service's response failed, and the response is cut off: {error}"
        );
    }
}

async fn finish_with_trailers(sender: BodySender, fields: &HeaderMap) -> Result<(), BoxError> {
    let fields = fields.iter().filter_map(|(name, value)| {
        // Values of other bytes than visible ASCII are left out.
        Some((name.as_str(), value.to_str().ok()?))
    });
    let fields: Vec<_> = fields.collect();
    match sender.finish_with_trailers(&fields).await {
        Ok(()) => Ok(()),
        Err(TrailersNotSent::Closed(closed)) => Err(closed.into()),
        Err(invalid) => Err(invalid.into()),
    }
}

async fn send_data(sender: &mut BodySender, mut data: impl Buf) -> Result<(), crate::BodyClosed> {
    while data.has_remaining() {
        let chunk = data.chunk();
        let bytes = chunk.len();
        sender.send(chunk).await?;
        data.advance(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_off_by_its_segments() {
        for (path, count, rest) in [
            ("/a/b", 0, "/a/b"),
            ("/a/b", 1, "/b"),
            ("/a/b/", 2, "/"),
            ("/a/b", 2, "/"),
            ("/a//b", 1, "//b"),
            ("/", 1, "/"),
        ] {
            assert_eq!(without_segments(path, count), rest, "{path} {count}");
        }
    }
}
