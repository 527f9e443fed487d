//! A worker that has of a message what most have not: trailers, interim responses, bodies that are
//! asked for, and methods without a name.

use std::fs::File;

use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{HintsNotSent, HubWorker, Method, Request};

/// Fields as a text.
fn shown<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> String {
    let fields = fields.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
    fields.collect::<Vec<_>>().join(" ")
}

/// A response from the file at a path, or from what is none.
fn file_response(request: &Request, path: &str) -> Response {
    let what = request.param("what").unwrap_or_default();
    let open = || File::open(path).expect("a file of the test's");
    let bytes = || open().metadata().expect("it is there").len();
    let response = request.response(200).header("content-type", "text/x-test");
    match what {
        "all" => response.file(open(), 0..bytes()),
        "part" => response.file(open(), 10..bytes() - 10),
        "empty" => response.file(open(), 5..5),
        "beyond" => response.file(open(), 0..bytes() + 1),
        "folder" => response.file(File::open("/").expect("it is there"), 0..10),
        "device" => response.file(File::open("/dev/zero").expect("it is there"), 0..10),
        "write-only" => {
            let file = File::options().write(true).open(path).expect("it is there");
            response.file(file, 0..10)
        }
        #[expect(clippy::reversed_empty_ranges, reason = "that is the test")]
        "backwards" => response.file(open(), 7..3),
        "pipe" => {
            let (output, _input) = std::io::pipe().expect("a pipe");
            response.file(File::from(std::os::fd::OwnedFd::from(output)), 0..10)
        }
        _ => response.empty(),
    }
}

/// The worker, for a hub at `hub_url`; `file` is what it has for `/file/{what}`.
pub fn worker(hub_url: &str, name: &str, file: &str) -> HubWorker<()> {
    let file = file.to_owned();
    HubWorker::new(hub_url, name, ())
        .in_place_stream(Method::Post, "/gate", |_, request, mut body| async move {
            if request.header("x-key").is_none() {
                return request.response(401).text("no key");
            }
            let mut bytes = 0;
            while let Ok(Some(piece)) = body.next().await {
                bytes += piece.len();
            }
            request.response(200).text(bytes)
        })
        .in_place_stream(
            Method::Post,
            "/trailers",
            |_, request, mut body| async move {
                let mut bytes = 0;
                while let Ok(Some(piece)) = body.next().await {
                    bytes += piece.len();
                }
                let fields = shown(body.trailers());
                request.response(200).text(format_args!("{bytes} {fields}"))
            },
        )
        .in_place(Method::Put, "/trailers", |(), request| {
            let fields = shown(request.trailers());
            let bytes = request.body().len();
            request.response(200).text(format_args!("{bytes} {fields}"))
        })
        .in_place_async(Method::Get, "/trailers/{bytes}", |_, request| async move {
            let bytes = request.param("bytes").and_then(|text| text.parse().ok());
            let (response, mut sender) = request.response(200).stream();
            tokio::spawn(async move {
                sender.send(&vec![b'b'; bytes.unwrap_or(0)]).await?;
                let fields = [("x-sum", "17"), ("content-length", "3"), ("x-last", "")];
                sender.finish_with_trailers(&fields).await
            });
            response
        })
        .in_place_async(Method::Get, "/hints/{count}", |_, request| async move {
            let count = request.param("count").and_then(|text| text.parse().ok());
            for number in 0..count.unwrap_or(0_u32) {
                let link = format!("</{number}.css>; rel=preload");
                while request.early_hints(&[("link", &link)]) == Err(HintsNotSent::Busy) {
                    tokio::time::sleep(std::time::Duration::from_micros(100)).await;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let refused = [
                request.early_hints(&[("connection", "close")]),
                request.early_hints(&[("a", "b\r\nc: d")]),
                request.early_hints(&[("a", &"x".repeat(9000))]),
            ];
            assert!(refused.iter().all(Result::is_err));
            // All of what the hints have left, and more.
            request.response(200).body(&vec![b'h'; 100_000])
        })
        .in_place(Method::Get, "/file/{what}", move |(), request| {
            file_response(request, &file)
        })
        .in_place(Method::Other, "/methods/{*rest}", |(), request| {
            request.response(200).text(request.method())
        })
        .in_place(Method::Get, "/methods/{*rest}", |(), request| {
            request.response(200).text(request.method())
        })
}
