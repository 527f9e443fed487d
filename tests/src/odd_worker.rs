//! A worker whose handlers do what handlers should not, and a few that show
//! what a request looks like from inside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{HubWorker, Method, Request};

/// What the handlers share.
#[derive(Debug, Default)]
pub struct State {
    runs: AtomicU64,
    canaries: AtomicU64,
    /// Bytes that streamed responses have sent.
    sent: AtomicU64,
    /// Bodies, in either direction, that nobody was at the other end of.
    closed: AtomicU64,
    /// A request that its handler has put away.
    stash: Mutex<Vec<Request>>,
}

/// The worker, for a hub at `hub_url`.
pub fn worker(hub_url: &str, name: &str) -> HubWorker<State> {
    let worker = HubWorker::new(hub_url, name, State::default()).threads(2);
    writing(reading(misbehaving(worker)))
        .in_place(
            Method::Get,
            "/odd/describe/{first}/{*rest}",
            |_, request| describe(request),
        )
        .in_place(
            Method::Post,
            "/odd/describe/{first}/{*rest}",
            |_, request| describe(request),
        )
        .in_place(Method::Post, "/odd/echo", |_, request| {
            request.response(200).body(request.body())
        })
        .in_place(Method::Post, "/odd/part/{start}/{end}", |_, request| {
            let number = |name| {
                request
                    .param(name)
                    .and_then(|text| text.parse::<usize>().ok())
            };
            let (start, end) = (number("start").unwrap_or(0), number("end").unwrap_or(0));
            let body = request.body();
            let end = end.min(body.len());
            request.response(200).body(&body[start.min(end)..end])
        })
        .in_place_async(Method::Post, "/odd/echo-later", |_, request| async move {
            tokio::time::sleep(Duration::from_micros(300)).await;
            request.response(200).body(request.body())
        })
        .in_place(Method::Get, "/odd/block/{ms}", |state, request| {
            state.runs.fetch_add(1, Ordering::Relaxed);
            let ms = request
                .param("ms")
                .and_then(|ms| ms.parse().ok())
                .unwrap_or(0);
            std::thread::sleep(Duration::from_millis(ms));
            request.response(200).text(format_args!("blocked {ms} ms"))
        })
        .in_place(Method::Get, "/odd/runs", |state, request| {
            request
                .response(200)
                .text(state.runs.load(Ordering::Relaxed))
        })
        .in_place(Method::Get, "/odd/canary", |state, request| {
            state.canaries.fetch_add(1, Ordering::Relaxed);
            request.response(200).empty()
        })
        .in_place(Method::Post, "/odd/canary", |state, request| {
            state.canaries.fetch_add(1, Ordering::Relaxed);
            request.response(200).empty()
        })
        .in_place(Method::Get, "/odd/canaries", |state, request| {
            request
                .response(200)
                .text(state.canaries.load(Ordering::Relaxed))
        })
        .in_place_async(Method::Get, "/odd/stash", |state, request| async move {
            let response = request
                .response(200)
                .text("answered while the request is kept");
            lock(&state.stash).push(request);
            let state = std::sync::Arc::clone(&state);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                lock(&state.stash).clear();
            });
            response
        })
        .in_place(Method::Get, "/odd/large-text/{n}", |_, request| {
            let n = request.param("n").and_then(|n| n.parse().ok()).unwrap_or(0);
            request.response(200).text(Repeated(n))
        })
}

/// Handlers that panic, or respond as they must not.
fn misbehaving(worker: HubWorker<State>) -> HubWorker<State> {
    worker
        .in_place(Method::Get, "/odd/panic", |_, _| {
            panic!("a handler that panics")
        })
        .in_place_async(Method::Get, "/odd/panic-async", |_, _| async {
            panic!("before any await")
        })
        .in_place_async(Method::Get, "/odd/panic-later", |_, _| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            panic!("after an await")
        })
        .in_place(Method::Get, "/odd/twice", |_, request| {
            let _ = request.response(200).text("first");
            request.response(200).text("second")
        })
        .in_place(Method::Get, "/odd/changed-mind", |_, request| {
            let _ = request.response(500).header("x-no", "1");
            request
                .response(200)
                .header("x-yes", "1")
                .text("second thought")
        })
        .in_place(Method::Get, "/odd/split", |_, request| {
            request
                .response(200)
                .header("x", "a\r\nInjected: 1")
                .text("split")
        })
        .in_place(Method::Get, "/odd/status/{code}", |_, request| {
            let code = request
                .param("code")
                .and_then(|code| code.parse().ok())
                .unwrap_or(0);
            request.response(code).empty()
        })
        .in_place(Method::Get, "/odd/framing", |_, request| {
            let response = request.response(200).header("Content-Length", "9999");
            response
                .header("Connection", "close")
                .header("Transfer-Encoding", "x")
                .text("framed")
        })
}

/// Handlers that read bodies while they are under way.
fn reading(worker: HubWorker<State>) -> HubWorker<State> {
    worker
        .in_place_stream(
            Method::Post,
            "/odd/sum",
            |state, request, mut body| async move {
                let (mut sum, mut bytes) = (0_u64, 0);
                loop {
                    match body.next().await {
                        Ok(Some(piece)) => {
                            bytes += piece.len();
                            sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                        }
                        Ok(None) => break,
                        Err(_) => {
                            state.closed.fetch_add(1, Ordering::Relaxed);
                            return request.response(500).text("cut");
                        }
                    }
                }
                let rest = request.body().len();
                request
                    .response(200)
                    .text(format_args!("{bytes} {sum} {rest}"))
            },
        )
        .in_place_stream(Method::Post, "/odd/read", |_, request, body| async move {
            let read = move || {
                let mut all = Vec::new();
                body.into_read().read_to_end(&mut all).map(|_| all)
            };
            let all = tokio::task::spawn_blocking(read).await;
            request.response(200).body_vec(all.unwrap().unwrap())
        })
        .in_place_stream(
            Method::Post,
            "/odd/first-piece",
            |_, request, mut body| async move {
                let first = body.next().await.ok().flatten().map_or(0, <[u8]>::len);
                drop(body);
                request.response(200).text(first)
            },
        )
}

/// Handlers that write bodies while they are under way.
fn writing(worker: HubWorker<State>) -> HubWorker<State> {
    worker
        .in_place_async(
            Method::Get,
            "/odd/stream/{n}/{how}",
            |state, request| async move {
                let n: u64 = request.param("n").and_then(|n| n.parse().ok()).unwrap_or(0);
                let how = request.param("how").unwrap_or_default().to_owned();
                let start = request.response(200).header("content-type", "text/plain");
                let (response, mut body) = match how.as_str() {
                    "known" => start.stream_of_length(n * 8),
                    "short" => start.stream_of_length(n * 8 + 1),
                    _ => start.stream(),
                };
                drop(request);
                if how == "blocking" {
                    std::thread::spawn(move || {
                        write!(body, "{}", Repeated(n as usize)).unwrap();
                        body.finish();
                    });
                    return response;
                }
                tokio::spawn(async move {
                    for number in 0..n {
                        let line = format!("{:07}\n", number % 10_000_000);
                        if body.send(line.as_bytes()).await.is_err() {
                            state.closed.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        state.sent.fetch_add(8, Ordering::Relaxed);
                    }
                    match how.as_str() {
                        "cut" => drop(body),
                        _ => body.finish(),
                    }
                });
                response
            },
        )
        .in_place_async(Method::Get, "/odd/pieces/{n}", |_, request| async move {
            let n: u64 = request.param("n").and_then(|n| n.parse().ok()).unwrap_or(0);
            let (response, mut body) = request.response(200).stream_of_length(n << 20);
            drop(request);
            let piece: Vec<u8> = (0..1 << 20)
                .map(|n: u32| (n.wrapping_mul(31) >> 3) as u8)
                .collect();
            tokio::spawn(async move {
                for _ in 0..n {
                    if body.send(&piece).await.is_err() {
                        return;
                    }
                }
                body.finish();
            });
            response
        })
        .in_place(Method::Get, "/odd/stream-counts", |state, request| {
            request.response(200).json(&json!({
                "sent": state.sent.load(Ordering::Relaxed),
                "closed": state.closed.load(Ordering::Relaxed),
            }))
        })
}

/// Text that is formatted in many small pieces.
struct Repeated(usize);

impl std::fmt::Display for Repeated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (0..self.0).try_for_each(|n| writeln!(f, "{:07}", n % 10_000_000))
    }
}

fn describe(request: &Request) -> Response {
    let headers: BTreeMap<_, _> = request
        .headers()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(value)))
        .collect();
    let params: BTreeMap<_, _> = request.params().collect();
    request.response(200).json(&json!({
        "method": request.method(),
        "target": request.target(),
        "path": request.path(),
        "query": request.query(),
        "route_pattern": request.route_pattern(),
        "params": params,
        "headers": headers,
        "peer": request.peer().ip().to_string(),
        "scheme": request.scheme(),
        "body": String::from_utf8_lossy(request.body()),
        "has_deadline": request.deadline().is_some(),
        "is_cancelled": request.is_cancelled(),
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
