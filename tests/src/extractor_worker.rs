//! A worker whose handlers say what their arguments were.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slotway_worker_sdk::extract::{FromRequest, Headers, Json, Path, Query, State};
use slotway_worker_sdk::response::{IntoResponse, Rejection, Response};
use slotway_worker_sdk::{CancellationToken, HubWorker, Method, Request, RequestBody};

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
    fn from_request(_: &std::sync::Arc<S>, request: &Request) -> Result<Self, Rejection> {
        let key = request.header("x-api-key");
        let key = key.ok_or_else(|| Rejection::new(401, "x-api-key is missing"))?;
        Ok(Self(key.to_owned()))
    }

    fn from_request_if_any(
        _: &std::sync::Arc<S>,
        request: &Request,
    ) -> Result<Option<Self>, Rejection> {
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
        .get("/x/state", async |State(state): State<String>| {
            state.to_string()
        })
        .get("/x/one/{n}", async |Path(n): Path<u64>| (n + 1).to_string())
        .get("/x/two/{a}/{b}", |Path((a, b)): Path<(u8, String)>| {
            format!("{a} {b}")
        })
        .get(
            "/x/map/{a}/{*b}",
            |Path(all): Path<BTreeMap<String, String>>| Json(all),
        )
        .get("/x/page", async |Query(page): Query<Page>| {
            format!("{} {:?}", page.page, page.size)
        })
        .post("/x/order", async |Json(order): Json<Order>| {
            (201, Json(order))
        })
        .post("/x/text", |text: String| text)
        .post("/x/bytes", |bytes: Vec<u8>| bytes)
        .get("/x/headers", async |headers: Headers| {
            headers.get("x-one").unwrap_or("none").to_owned()
        })
        .get("/x/key", async |ApiKey(key): ApiKey| key)
        .get("/x/maybe", async |key: Option<ApiKey>| {
            key.map_or("nobody".to_owned(), |key| key.0)
        })
        .get("/x/page-maybe", async |page: Option<Query<Page>>| {
            page.map_or("none".to_owned(), |Query(page)| page.page.to_string())
        })
        .post("/x/order-maybe", async |order: Option<Json<Order>>| {
            order.map_or("none".to_owned(), |Json(order)| order.name)
        })
        .get("/x/mistake/{a}/{b}", async |Path(one): Path<u8>| {
            one.to_string()
        })
        .get("/x/later", async || {
            tokio::time::sleep(Duration::from_millis(5)).await;
            "later"
        })
        .get("/x/teapot", async || Err::<(), _>(Refusal::Teapot))
        .get("/x/nothing", || ())
        .options("/x/method", |method: Method| method.to_string())
        .get("/x/cancelled", async |token: CancellationToken| {
            token.is_cancelled().to_string()
        })
        .post(
            "/x/count/{name}",
            async |Path(name): Path<String>, mut body: RequestBody| {
                let mut bytes = 0;
                while let Some(piece) = body.next().await.map_err(Rejection::internal)? {
                    bytes += piece.len();
                }
                Ok::<_, Rejection>(format!("{name} {bytes}"))
            },
        )
}
