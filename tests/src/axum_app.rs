//! A service as people have it: axum's own examples (readme, query, SSE, file download,
//! global 404, body limits) in one `Router`. It runs under `axum::serve`, and unchanged
//! behind a hub.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Json, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{AppendHeaders, IntoResponse, Redirect};
use axum::routing::{any, get, post};
use axum::{Router, body};
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use slotway_worker_sdk::tower::RequestContext;

/// Pieces of the download, and bytes of each.
pub const DOWNLOAD: (usize, usize) = (50, 20_000);

#[derive(Deserialize)]
struct CreateUser {
    username: String,
}

#[derive(Serialize)]
struct User {
    id: u64,
    username: String,
}

#[derive(Deserialize, Serialize)]
struct Page {
    #[serde(default)]
    page: u32,
    per_page: Option<u32>,
}

/// The service.
pub fn router() -> Router {
    Router::new()
        .route("/", get(async || "Hello, World!"))
        .route("/users", post(create_user))
        .route(
            "/users/{id}",
            get(user).delete(async || StatusCode::NO_CONTENT),
        )
        .route("/list", get(async |Query(page): Query<Page>| Json(page)))
        .route("/sse", get(ticks))
        .route("/open", get(open))
        .route("/download", get(download))
        .route("/count", post(count))
        .route("/echo", post(async |body: Bytes| body))
        .route(
            "/echo-stream",
            post(async |request: Request| request.into_body()),
        )
        .route(
            "/any",
            any(async |request: Request| request.method().to_string()),
        )
        .route("/cookies", get(cookies))
        .route("/headers", get(headers))
        .route("/old", get(async || Redirect::permanent("/")))
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
        )
        .route("/context", get(context))
        .route("/state", get(async |State(name): State<&'static str>| name))
        .route("/sized", get(sized))
        .route("/kept", get(kept))
        .route("/together", get(together))
        .route("/slow", get(slow))
        .route(
            "/slow-count",
            get(async || {
                SLOW_DROPS
                    .load(std::sync::atomic::Ordering::SeqCst)
                    .to_string()
            }),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "nothing to see here"))
        .with_state("state")
}

async fn create_user(Json(payload): Json<CreateUser>) -> (StatusCode, Json<User>) {
    let user = User {
        id: 1337,
        username: payload.username,
    };
    (StatusCode::CREATED, Json(user))
}

async fn user(Path(id): Path<u64>) -> Json<User> {
    Json(User {
        id,
        username: format!("user {id}"),
    })
}

async fn ticks() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::iter(0..3).then(async |n: u32| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Event::default()
            .event("tick")
            .id(n.to_string())
            .data(format!("tick {n}\nof 3")))
    });
    Sse::new(ticks).keep_alive(KeepAlive::default())
}

/// An event, and then silence.
async fn open() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = stream::iter([Ok(Event::default().data("open"))]);
    Sse::new(futures_util::StreamExt::chain(first, stream::pending()))
}

async fn download() -> impl IntoResponse {
    let (count, bytes) = DOWNLOAD;
    let pieces = (0..count).map(move |n| Ok::<_, Infallible>(Bytes::from(vec![n as u8; bytes])));
    let fields = [
        (header::CONTENT_TYPE, "application/x-thing"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"a thing\"",
        ),
    ];
    (fields, Body::from_stream(stream::iter(pieces)))
}

/// Reads the body as it comes.
async fn count(request: Request) -> Result<String, StatusCode> {
    let mut pieces = request.into_body().into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        bytes += piece.map_err(|_| StatusCode::BAD_REQUEST)?.len();
    }
    Ok(bytes.to_string())
}

async fn cookies() -> impl IntoResponse {
    let cookies = [(header::SET_COOKIE, "a=1"), (header::SET_COOKIE, "b=2")];
    (AppendHeaders(cookies), "two cookies")
}

async fn headers(headers: HeaderMap) -> String {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

/// What only a hub knows.
async fn context(request: Request) -> String {
    let context = request.extensions().get::<RequestContext>();
    context.map_or("none".to_owned(), |context| {
        format!(
            "{} {} {} {}",
            context.scheme,
            context.route_pattern,
            context.deadline.is_some(),
            context.cancellation.is_cancelled()
        )
    })
}

static SLOW_DROPS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Of a length that only the handler knows.
async fn sized() -> impl IntoResponse {
    let pieces = stream::iter(["a", "bc", "def"]).map(Ok::<_, Infallible>);
    ([(header::CONTENT_LENGTH, "6")], Body::from_stream(pieces))
}

/// A response that keeps its request to its end.
async fn kept(request: Request) -> Body {
    let first = stream::iter(["first\n"]);
    let last = stream::once(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(request);
        "last\n"
    });
    Body::from_stream(first.chain(last).map(Ok::<_, Infallible>))
}

/// How many are in [`together`] just now.
static INSIDE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Blocks its thread until another is here as well, or for long.
async fn together() -> &'static str {
    use std::sync::atomic::Ordering;
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let start = std::time::Instant::now();
    let mut is_alone = true;
    while is_alone && start.elapsed() < Duration::from_secs(2) {
        is_alone = INSIDE.load(Ordering::SeqCst) < 2;
        std::thread::sleep(Duration::from_millis(5));
    }
    if is_alone {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        return "alone";
    }
    "together"
}

/// What is below a prefix.
pub fn prefixed() -> Router {
    Router::new()
        .route("/api", get(async || "itself"))
        .route("/api/", get(async || "slash"))
        .route("/api/{*rest}", get(async |Path(rest): Path<String>| rest))
}

/// Never answers; counts how often it was dropped.
async fn slow() -> body::Body {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {
            SLOW_DROPS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let _dropped = Dropped;
    std::future::pending().await
}
