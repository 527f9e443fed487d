//! Functions of extractors as handlers: up to eight arguments that are
//! [`FromRequest`], and a result that is [`IntoResponse`].

use std::sync::Arc;

use super::error::Error;
use super::into_response::IntoResponse;
use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Response;
use crate::handler::extract::FromRequest;

/// Keeps the handler traits from being implemented elsewhere: their methods may get more
/// arguments.
mod sealed {
    #[derive(Clone, Copy, Debug)]
    pub struct Seal;
}

pub(crate) use sealed::Seal;

/// A function that [`HubWorker::on_blocking`](crate::HubWorker::on_blocking) takes.
/// Implemented for all that fit; not to be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plain handler of a worker",
    label = "not a handler",
    note = "a handler is a plain function with up to eight arguments, each of which implements \
            `FromRequest`, and a result that implements `IntoResponse`"
)]
pub trait BlockingHandler<Args, S>: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, state: &Arc<S>, request: &Request, seal: Seal) -> Response;
}

/// An async function that [`HubWorker::on`](crate::HubWorker::on) takes. Implemented for
/// all that fit; not to be implemented by hand.
#[cfg(feature = "tokio")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of a worker",
    label = "not a handler",
    note = "a handler is an async function with up to eight arguments, each of which implements \
            `FromRequest`, and a result that implements `IntoResponse`"
)]
pub trait AsyncHandler<Args, S>: Send + Sync + 'static {
    /// Runs it.
    fn call(
        self: Arc<Self>,
        state: Arc<S>,
        request: Request,
        seal: Seal,
    ) -> impl Future<Output = Response> + Send + 'static;
}

/// An async function that [`HubWorker::on_stream`](crate::HubWorker::on_stream) takes.
/// Implemented for all that fit; not to be implemented by hand.
#[cfg(feature = "tokio")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a streaming handler of a worker",
    label = "not a handler",
    note = "a handler is an async function with up to eight arguments, each of which implements \
            `FromRequest`, then a `RequestBody`, and a result that implements `IntoResponse`"
)]
pub trait StreamHandler<Args, S>: Send + Sync + 'static {
    /// Runs it.
    fn call(
        self: Arc<Self>,
        state: Arc<S>,
        request: Request,
        body: RequestBody,
        seal: Seal,
    ) -> impl Future<Output = Response> + Send + 'static;
}

/// What an async handler's arguments came to.
#[cfg(feature = "tokio")]
async fn finish<R: IntoResponse>(
    started: Result<impl Future<Output = R>, Error>,
    request: Request,
) -> Response {
    match started {
        Ok(future) => future.await.into_response(&request),
        Err(error) => error.into_response(&request),
    }
}

macro_rules! handlers {
    ($($arg:ident)*) => {
        impl<F, S, R, $($arg),*> BlockingHandler<($($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> R + Send + Sync + 'static,
            R: IntoResponse,
            $($arg: FromRequest<S>,)*
        {
            #[allow(unused_variables, reason = "a function may have no arguments")]
            fn call(&self, state: &Arc<S>, request: &Request, _: Seal) -> Response {
                let run = || Ok::<_, Error>(self($($arg::from_request(state, request)?),*));
                run().into_response(request)
            }
        }

        #[cfg(feature = "tokio")]
        impl<F, Fut, S, R, $($arg),*> AsyncHandler<($($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResponse + 'static,
            S: Send + Sync + 'static,
            $($arg: FromRequest<S> + 'static,)*
        {
            #[allow(unused_variables, reason = "a function may have no arguments")]
            fn call(
                self: Arc<Self>,
                state: Arc<S>,
                request: Request,
                _: Seal,
            ) -> impl Future<Output = Response> + Send + 'static {
                let start = || Ok::<_, Error>(self($($arg::from_request(&state, &request)?),*));
                finish(start(), request)
            }
        }

        #[cfg(feature = "tokio")]
        impl<F, Fut, S, R, $($arg),*> StreamHandler<($($arg,)*), S> for F
        where
            F: Fn($($arg,)* RequestBody) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoResponse + 'static,
            S: Send + Sync + 'static,
            $($arg: FromRequest<S> + 'static,)*
        {
            #[allow(unused_variables, reason = "a function may have no other arguments")]
            fn call(
                self: Arc<Self>,
                state: Arc<S>,
                request: Request,
                body: RequestBody,
                _: Seal,
            ) -> impl Future<Output = Response> + Send + 'static {
                let start =
                    || Ok::<_, Error>(self($($arg::from_request(&state, &request)?,)* body));
                finish(start(), request)
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
