//! A worker whose handlers say what their arguments were.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slotway_worker_sdk::{
    Error, FromRequest, Headers, HubWorker, IntoResponse, Json, Path, Query, Request, RequestBody,
    Response, State,
};

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    name: String,
    count: u32,
}

#[derive(Debug, Deserialize)]
struct Page {
    page: u32,
    #[serde(default)]
    size: Option<u32>,
}

struct ApiKey(String);

impl<S> FromRequest<S> for ApiKey {
    fn from_request(_: &std::sync::Arc<S>, request: &Request) -> Result<Self, Error> {
        let key = request.header("x-api-key");
        let key = key.ok_or_else(|| Error::new(401, "x-api-key is missing"))?;
        Ok(Self(key.to_owned()))
    }

    fn from_request_if_any(
        _: &std::sync::Arc<S>,
        request: &Request,
    ) -> Result<Option<Self>, Error> {
        let key = request.header("x-api-key");
        Ok(key.map(|key| Self(key.to_owned())))
    }
}

/// An error of a service's own.
enum Refusal {
    Teapot,
}

impl IntoResponse for Refusal {
    fn into_response(self, request: &Request) -> Response {
        match self {
            Self::Teapot => request.response(418).text("a teapot"),
        }
    }
}

/// The worker, for a hub at `hub_url`.
pub fn worker(hub_url: &str, name: &str) -> HubWorker<String> {
    HubWorker::new(hub_url, name, "the state".to_owned())
        .on("GET", "/x/state", async |State(state): State<String>| {
            state.to_string()
        })
        .on("GET", "/x/one/{n}", async |Path(n): Path<u64>| {
            (n + 1).to_string()
        })
        .on_blocking(
            "GET",
            "/x/two/{a}/{b}",
            |Path((a, b)): Path<(u8, String)>| format!("{a} {b}"),
        )
        .on_blocking(
            "GET",
            "/x/map/{a}/{*b}",
            |Path(all): Path<BTreeMap<String, String>>| Json(all),
        )
        .on("GET", "/x/page", async |Query(page): Query<Page>| {
            format!("{} {:?}", page.page, page.size)
        })
        .on("POST", "/x/order", async |Json(order): Json<Order>| {
            (201, Json(order))
        })
        .on_blocking("POST", "/x/text", |text: String| text)
        .on_blocking("POST", "/x/bytes", |bytes: Vec<u8>| bytes)
        .on("GET", "/x/headers", async |headers: Headers| {
            headers.get("x-one").unwrap_or("none").to_owned()
        })
        .on("GET", "/x/key", async |ApiKey(key): ApiKey| key)
        .on("GET", "/x/maybe", async |key: Option<ApiKey>| {
            key.map_or("nobody".to_owned(), |key| key.0)
        })
        .on("GET", "/x/page-maybe", async |page: Option<Query<Page>>| {
            page.map_or("none".to_owned(), |Query(page)| page.page.to_string())
        })
        .on(
            "POST",
            "/x/order-maybe",
            async |order: Option<Json<Order>>| {
                order.map_or("none".to_owned(), |Json(order)| order.name)
            },
        )
        .on("GET", "/x/mistake/{a}/{b}", async |Path(one): Path<u8>| {
            one.to_string()
        })
        .on("GET", "/x/later", async || {
            tokio::time::sleep(Duration::from_millis(5)).await;
            "later"
        })
        .on("GET", "/x/teapot", async || Err::<(), _>(Refusal::Teapot))
        .on_blocking("GET", "/x/nothing", || ())
        .on_stream(
            "POST",
            "/x/count/{name}",
            async |Path(name): Path<String>, mut body: RequestBody| {
                let mut bytes = 0;
                while let Some(piece) = body.next().await.map_err(Error::internal)? {
                    bytes += piece.len();
                }
                Ok::<_, Error>(format!("{name} {bytes}"))
            },
        )
}
