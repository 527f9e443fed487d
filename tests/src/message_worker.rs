//! A worker that has of a message what most have not: trailers, interim responses, bodies that are
//! asked for, and methods without a name.

use slotway_worker_sdk::{HintsNotSent, HubWorker, Method};

/// Fields as a text.
fn shown<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> String {
    let fields = fields.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
    fields.collect::<Vec<_>>().join(" ")
}

/// The worker, for a hub at `hub_url`.
pub fn worker(hub_url: &str, name: &str) -> HubWorker<()> {
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
        .in_place(Method::Other, "/methods/{*rest}", |(), request| {
            request.response(200).text(request.method())
        })
        .in_place(Method::Get, "/methods/{*rest}", |(), request| {
            request.response(200).text(request.method())
        })
}
