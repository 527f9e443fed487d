//! Functions as handlers: up to eight arguments that are [`FromRequest`], and a result
//! that is [`IntoResponse`].

use std::sync::Arc;

use super::boxed::BoxedHandler;
use super::extract::FromRequest;
#[cfg(feature = "tokio")]
use super::future::AsyncHandler;
use super::into_response::IntoResponse;
use super::rejection::Rejection;
use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
#[cfg(feature = "tokio")]
use crate::exchange::response::Response;

/// What keeps [`Handler`] from being implemented elsewhere, and what tells its
/// implementations apart.
mod sealed {
    #[derive(Clone, Copy, Debug)]
    pub struct Seal;

    /// Of functions that return a response.
    #[derive(Debug)]
    pub struct Plain;

    /// Of functions that return a future.
    #[cfg(feature = "tokio")]
    #[derive(Debug)]
    pub struct Async;

    /// Of functions that return a future and read the body themselves.
    #[cfg(feature = "tokio")]
    #[derive(Debug)]
    pub struct Streaming;
}

use sealed::Plain;
pub(crate) use sealed::Seal;
#[cfg(feature = "tokio")]
use sealed::{Async, Streaming};

/// A function that handles requests. Each argument is made of the request
/// ([`FromRequest`]), and what it returns becomes the response ([`IntoResponse`]).
/// Implemented for all functions that fit, not to be implemented by hand:
///
/// | function | runs |
/// |---|---|
/// | `fn` | on the thread that received the request; those behind it wait until it returns |
/// | `async fn` | there as well until it first waits, then in the tokio runtime |
/// | `async fn` whose last argument is a [`RequestBody`](crate::RequestBody) | before the body has arrived, however long that is |
///
/// ```
/// use slotway_worker_sdk::extract::{Json, Path, Query, State};
/// use slotway_worker_sdk::response::Rejection;
/// use slotway_worker_sdk::{HubWorker, RequestBody};
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Page { page: u32 }
///
/// fn find(State(items): State<Vec<String>>, Path(id): Path<usize>) -> Result<Json<String>, Rejection> {
///     let item = items.get(id).ok_or_else(|| Rejection::not_found("no such item"))?;
///     Ok(Json(item.clone()))
/// }
///
/// async fn list(Query(page): Query<Page>) -> Json<Page> {
///     Json(page)
/// }
///
/// async fn store(Path(name): Path<String>, mut body: RequestBody) -> Result<String, Rejection> {
///     let mut bytes = 0;
///     while let Some(piece) = body.next().await.map_err(Rejection::internal)? {
///         bytes += piece.len();
///     }
///     Ok(format!("{name}: {bytes} bytes"))
/// }
///
/// HubWorker::new("http://127.0.0.1:3200", "items", vec!["first".to_owned()])
///     .get("/items/{id}", find)
///     .get("/items", list)
///     .put("/files/{name}", store);
/// ```
///
/// A handler that takes a [`RequestBody`](crate::RequestBody) reads as much of it as it
/// wants before the response begins: what has not been read then is dropped. Arguments
/// that are made of the body, like [`Json`](crate::extract::Json), find none there.
///
/// `Kind` tells the three apart, and the compiler finds it. A closure says the types of
/// its arguments: `|Path(id): Path<u64>| …`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of a worker",
    label = "not a handler",
    note = "a handler is a function, plain or async, with up to eight arguments, each of which \
            implements `FromRequest<S>` for the worker's state `S` (an async one may have a \
            `RequestBody` after them), and a result that implements `IntoResponse`"
)]
pub trait Handler<Kind, S>: Send + Sync + 'static {
    /// Puts it behind one type.
    #[doc(hidden)]
    fn boxed(self, seal: Seal) -> BoxedHandler<S>;
}

/// What an async handler's arguments came to.
#[cfg(feature = "tokio")]
async fn finish<R: IntoResponse>(
    started: Result<impl Future<Output = R>, Rejection>,
    request: Request,
) -> Response {
    match started {
        Ok(future) => future.await.into_response(&request),
        Err(rejection) => rejection.into_response(&request),
    }
}

macro_rules! handlers {
    ($($arg:ident)*) => {
        #[allow(unused_variables, reason = "a function may have no arguments")]
        impl<F, S, R, $($arg),*> Handler<(Plain, $($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> R + Send + Sync + 'static,
            R: IntoResponse,
            S: Send + Sync + 'static,
            $($arg: FromRequest<S>,)*
        {
            fn boxed(self, _: Seal) -> BoxedHandler<S> {
                BoxedHandler::plain(move |state: &Arc<S>, request: &Request| {
                    let run = || Ok::<_, Rejection>(self($($arg::from_request(state, request)?),*));
                    run().into_response(request)
                })
            }
        }

        #[cfg(feature = "tokio")]
        #[allow(unused_variables, reason = "a function may have no arguments")]
        impl<F, Fut, S, R, $($arg),*> Handler<(Async, $($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResponse + 'static,
            S: Send + Sync + 'static,
            $($arg: FromRequest<S>,)*
        {
            fn boxed(self, _: Seal) -> BoxedHandler<S> {
                let handler = move |state: Arc<S>, request: Request| {
                    let start =
                        || Ok::<_, Rejection>(self($($arg::from_request(&state, &request)?),*));
                    finish(start(), request)
                };
                BoxedHandler::Async(AsyncHandler::whole(handler))
            }
        }

        #[cfg(feature = "tokio")]
        #[allow(unused_variables, reason = "a function may have no other arguments")]
        impl<F, Fut, S, R, $($arg),*> Handler<(Streaming, $($arg,)*), S> for F
        where
            F: Fn($($arg,)* RequestBody) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResponse + 'static,
            S: Send + Sync + 'static,
            $($arg: FromRequest<S>,)*
        {
            fn boxed(self, _: Seal) -> BoxedHandler<S> {
                let handler = move |state: Arc<S>, request: Request, body: RequestBody| {
                    let start =
                        || Ok::<_, Rejection>(self($($arg::from_request(&state, &request)?,)* body));
                    finish(start(), request)
                };
                BoxedHandler::Async(AsyncHandler::reading(handler))
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E G);
handlers!(A B C D E G H);
handlers!(A B C D E G H I);
