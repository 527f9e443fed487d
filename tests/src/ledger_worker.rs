//! The worker's side of the ledger: writes down when it takes a request, when it
//! has done it, and when it is told that nobody wants it any more.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use slotway_net::monotonic_ns;
use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{HubWorker, Method, Request, RequestBody, Route};

use crate::ledger::{ID_FIELD, WORKER_FIELD};

/// A file that outlives the process, however that ends: each line is one write.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// `name#pid`.
    worker: String,
}

impl Log {
    fn write(&self, what: &str, id: &str) {
        let line = format!("{what} {id} {} {}\n", self.worker, monotonic_ns());
        (&self.file)
            .write_all(line.as_bytes())
            .expect("the folder of the test is there");
    }
}

/// The worker, for a hub at `hub_url`, on a log that others append to as well.
pub fn worker(hub_url: &str, name: &str, log: &Path) -> HubWorker<Log> {
    let file = OpenOptions::new().append(true).create(true).open(log);
    let log = Log {
        file: file.expect("the folder of the test is there"),
        worker: format!("{name}#{}", std::process::id()),
    };
    HubWorker::new(hub_url, name, log)
        .share_routes()
        .in_place_async(Method::Get, "/ledger/shout", |_, request| async move {
            crate::upgrade_worker::shouting(&request)
        })
        .in_place_async(Method::Get, "/ledger/{ms}", |log, request| async move {
            serve(&log, &request).await
        })
        .in_place_async(Method::Post, "/ledger/{ms}", |log, request| async move {
            serve(&log, &request).await
        })
        .in_place_stream(
            Method::Post,
            "/ledger/read/{ms}",
            |log, request, body| async move { read(&log, &request, body).await },
        )
        .in_place(Method::Get, "/ledger/block/{ms}", |log, request| {
            let id = take(log, request);
            std::thread::sleep(time(request));
            respond(log, request, &id, request.body())
        })
        .routes([
            Route::in_place_async(
                Method::Get,
                "/ledger/again/{ms}",
                |log, request| async move { serve(&log, &request).await },
            )
            .retry(),
            Route::in_place(Method::Get, "/ledger/poison", |_, _| std::process::abort()).retry(),
        ])
        // Its handler alone decides when it ends.
        .in_place_async(
            Method::Get,
            "/ledger/deaf/{ms}",
            |log, request| async move {
                let id = take(&log, &request);
                tokio::time::sleep(time(&request)).await;
                respond(&log, &request, &id, request.body())
            },
        )
}

async fn serve(log: &Log, request: &Request) -> Response {
    let id = take(log, request);
    match take_time(request).await {
        Ok(()) => respond(log, request, &id, request.body()),
        Err(Unwanted) => give_up(log, request, &id),
    }
}

/// Like [`serve`], with a body that comes while this runs.
async fn read(log: &Log, request: &Request, mut body: RequestBody) -> Response {
    let id = take(log, request);
    let mut bytes = Vec::new();
    loop {
        match body.next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(piece),
            Ok(None) => break,
            Err(_) => return give_up(log, request, &id),
        }
    }
    match take_time(request).await {
        Ok(()) => respond(log, request, &id, &bytes),
        Err(Unwanted) => give_up(log, request, &id),
    }
}

/// Nobody waits for the response any more.
struct Unwanted;

async fn take_time(request: &Request) -> Result<(), Unwanted> {
    let time = time(request);
    if time.is_zero() {
        return Ok(());
    }
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = request.cancellation().cancelled_owned() => Err(Unwanted),
    }
}

fn give_up(log: &Log, request: &Request, id: &str) -> Response {
    log.write("cancelled", id);
    request.response(503).empty()
}

fn take(log: &Log, request: &Request) -> String {
    let id = request.header(ID_FIELD).unwrap_or("none").to_owned();
    log.write("take", &id);
    id
}

fn time(request: &Request) -> Duration {
    let ms = request.param("ms").and_then(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or(0))
}

fn respond(log: &Log, request: &Request, id: &str, body: &[u8]) -> Response {
    log.write("done", id);
    request
        .response(200)
        .header(ID_FIELD, id)
        .header(WORKER_FIELD, &log.worker)
        .body(body)
}
