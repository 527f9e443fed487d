//! What handlers take: each argument is made of the request.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use slotway_shm_proto::Method;

use super::rejection::Rejection;
#[cfg(feature = "tokio")]
use crate::exchange::cancellation::CancellationToken;
use crate::exchange::request::Request;
use crate::handler::path_params::{PathError, PathParams};

/// An argument of a handler. A rejection is the response instead of the handler's.
///
/// ```
/// use std::sync::Arc;
/// use slotway_worker_sdk::Request;
/// use slotway_worker_sdk::extract::{FromRequest, Rejection};
///
/// struct ApiKey(String);
///
/// impl<S> FromRequest<S> for ApiKey {
///     fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
///         let key = request.header("x-api-key");
///         let key = key.ok_or_else(|| Rejection::new(401, "x-api-key is missing"))?;
///         Ok(Self(key.to_owned()))
///     }
/// }
/// ```
pub trait FromRequest<S>: Sized {
    /// Makes it of a request.
    fn from_request(state: &Arc<S>, request: &Request) -> Result<Self, Rejection>;

    /// Makes it of a request that has it: for arguments that are an `Option`. `None` is
    /// for what is not there; what is there and wrong stays an error. Unless this says
    /// otherwise, there is no telling, and all that is missing is an error.
    fn from_request_if_any(state: &Arc<S>, request: &Request) -> Result<Option<Self>, Rejection> {
        Self::from_request(state, request).map(Some)
    }
}

/// The worker's state.
///
/// ```
/// use slotway_worker_sdk::extract::State;
///
/// async fn greet(State(greeting): State<String>) -> String {
///     format!("{greeting}!")
/// }
/// ```
#[derive(Debug)]
pub struct State<S>(pub Arc<S>);

impl<S> FromRequest<S> for State<S> {
    fn from_request(state: &Arc<S>, _: &Request) -> Result<Self, Rejection> {
        Ok(Self(Arc::clone(state)))
    }
}

/// The path's parameters, decoded: one value, a tuple in the pattern's order, or a
/// struct or map by their names. 400 if a value does not fit.
///
/// ```
/// use slotway_worker_sdk::extract::Path;
///
/// async fn day(Path((year, month, day)): Path<(u16, u8, u8)>) -> String {
///     format!("{day}.{month}.{year}")
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).get("/{year}/{month}/{day}", day);
/// ```
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for Path<T> {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        let params = PathParams(request.params().collect());
        T::deserialize(params)
            .map(Self)
            .map_err(|error| match error {
                PathError::Value(why) => Rejection::new(400, format!("path parameter: {why}")),
                // No client can mend that.
                PathError::Handler(why) => {
                    let pattern = request.route_pattern();
                    Rejection::internal(format_args!(
                        "{pattern}: the handler's Path does not fit: {why}"
                    ))
                }
            })
    }
}

/// The query, as a struct or map. 400 if it does not fit.
///
/// ```
/// use slotway_worker_sdk::extract::Query;
///
/// #[derive(serde::Deserialize)]
/// struct Search { text: String, limit: Option<u32> }
///
/// async fn search(Query(search): Query<Search>) -> String {
///     format!("{} of {}", search.limit.unwrap_or(10), search.text)
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).get("/search", search);
/// ```
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for Query<T> {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        let query = request.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map(Self)
            .map_err(|error| Rejection::new(400, format!("query: {error}")))
    }

    /// `None` without a query.
    fn from_request_if_any(state: &Arc<S>, request: &Request) -> Result<Option<Self>, Rejection> {
        let has_query = request.query().is_some_and(|query| !query.is_empty());
        has_query
            .then(|| Self::from_request(state, request))
            .transpose()
    }
}

/// The body as JSON; as a response, `application/json`. 415 if the request's
/// Content-Type is not JSON, 400 if the body is none, 422 with the field if it does
/// not fit.
///
/// ```
/// use slotway_worker_sdk::extract::Json;
///
/// async fn double(Json(numbers): Json<Vec<i64>>) -> Json<Vec<i64>> {
///     Json(numbers.into_iter().map(|number| number * 2).collect())
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).post("/double", double);
/// ```
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for Json<T> {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        if !request.header("content-type").is_some_and(is_json) {
            let why = "the body must be application/json";
            return Err(Rejection::new(415, why));
        }
        let mut json = serde_json::Deserializer::from_slice(request.body());
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let status = if error.inner().is_data() { 422 } else { 400 };
            Rejection::new(status, format!("body: {error}"))
        })?;
        json.end()
            .map_err(|error| Rejection::new(400, format!("body: {error}")))?;
        Ok(Self(value))
    }

    /// `None` without a body.
    fn from_request_if_any(state: &Arc<S>, request: &Request) -> Result<Option<Self>, Rejection> {
        let has_body = !request.body().is_empty() || request.header("content-type").is_some();
        has_body
            .then(|| Self::from_request(state, request))
            .transpose()
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let subtype = essence
        .get(..12)
        .filter(|start| start.eq_ignore_ascii_case("application/"))
        .and_then(|_| essence.get(12..));
    subtype.is_some_and(|subtype| {
        let subtype = subtype.to_ascii_lowercase();
        subtype == "json" || subtype.ends_with("+json")
    })
}

/// All header fields, copied, in the client's order.
///
/// ```
/// use slotway_worker_sdk::extract::Headers;
///
/// async fn agent(headers: Headers) -> String {
///     headers.get("user-agent").unwrap_or("nobody").to_owned()
/// }
/// # slotway_worker_sdk::HubWorker::new("http://h", "w", ()).get("/agent", agent);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    /// The value of the first field of that name, in any case, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

impl<S> FromRequest<S> for Headers {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        let fields = request.headers();
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
        Ok(Self(fields.collect()))
    }
}

/// The request's method; the token of [`Method::Other`] is what [`Request::method`] has.
impl<S> FromRequest<S> for Method {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        Self::of_request(request.method().as_bytes())
            .ok_or_else(|| Rejection::internal("a request's method is none of a route's"))
    }
}

/// Cancelled once nobody waits for the response; see [`Request::cancellation`].
#[cfg(feature = "tokio")]
impl<S> FromRequest<S> for CancellationToken {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        Ok(request.cancellation())
    }
}

/// The body, copied.
impl<S> FromRequest<S> for Vec<u8> {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        Ok(request.body().to_vec())
    }
}

/// The body, copied.
#[cfg(feature = "tower")]
impl<S> FromRequest<S> for bytes::Bytes {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        Ok(Self::copy_from_slice(request.body()))
    }
}

/// The body as text; 400 if it is not UTF-8.
impl<S> FromRequest<S> for String {
    fn from_request(_: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        let text = std::str::from_utf8(request.body());
        text.map(str::to_owned)
            .map_err(|_| Rejection::new(400, "the body is not UTF-8"))
    }
}

/// `None` where it is not there; see [`FromRequest::from_request_if_any`].
impl<S, T: FromRequest<S>> FromRequest<S> for Option<T> {
    fn from_request(state: &Arc<S>, request: &Request) -> Result<Self, Rejection> {
        T::from_request_if_any(state, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_content_type() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/json", "application/jsonp", "json", "application/"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
