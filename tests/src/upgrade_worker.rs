//! A worker that takes over connections by the SDK's own interface, rightly and wrongly.

use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::upgrade::Upgrade;
use slotway_worker_sdk::{HubWorker, Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The worker, for a hub at `hub_url`. `/shout` sends back what it gets in capitals, until the
/// client's end; `/drop` closes at once; `/refuse` has no 101 for anybody; `/unasked`, `/without` and
/// `/other` do what no handler may.
pub fn worker(hub_url: &str, name: &str, file: &str) -> HubWorker<()> {
    crate::message_worker::worker(hub_url, name, file)
        .in_place_async(Method::Get, "/shout", |_, request| async move {
            shouting(&request)
        })
        .in_place_async(Method::Get, "/late", |_, request| async move {
            eprintln!("late: asked");
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            accept(&request, |upgrade| {
                tokio::spawn(async move {
                    match upgrade.connection().await {
                        Ok(_) => eprintln!("late: it came"),
                        Err(error) => eprintln!("late: {error}"),
                    }
                });
            })
        })
        .in_place(Method::Get, "/drop", |(), request| accept(request, drop))
        .in_place(Method::Get, "/refuse", |(), request| {
            request.response(426).header("upgrade", "shout").empty()
        })
        .in_place(Method::Get, "/without", |(), request| {
            request.response(101).header("upgrade", "shout").empty()
        })
        .in_place(Method::Get, "/nameless", |(), request| {
            let (response, _upgrade) = request.response(101).upgrade();
            response
        })
        .in_place(Method::Get, "/other", |(), request| {
            let (response, _upgrade) = request.response(200).upgrade();
            response
        })
}

/// Sends back what comes, in capitals, until the client's end.
pub fn shouting(request: &Request) -> Response {
    accept(request, |upgrade| {
        tokio::spawn(shout(upgrade));
    })
}

fn accept(request: &Request, then: impl FnOnce(Upgrade)) -> Response {
    let offered = request.offered_upgrade().unwrap_or("nothing").to_owned();
    let response = request.response(101).header("upgrade", "shout");
    let (response, upgrade) = response.header("x-offered", offered).upgrade();
    then(upgrade);
    response
}

async fn shout(upgrade: Upgrade) -> std::io::Result<()> {
    let mut stream = upgrade.connection().await?.into_stream()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        buffer[..count].make_ascii_uppercase();
        stream.write_all(&buffer[..count]).await?;
    }
}
