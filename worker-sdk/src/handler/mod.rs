//! Handlers: the functions that a service writes, behind one type.
//!
//! [`route`] is a route with its handler, [`boxed`]; [`function`] makes handlers of functions
//! whose arguments are [`extract`]ed ([`path_params`]) and whose result becomes a response
//! ([`into_response`], [`rejection`]); [`future`] runs async ones (on the [`runtime`] where
//! they are not ready at once), and [`scratch`] is what a thread keeps between requests.

mod boxed;
pub(crate) mod extract;
pub(crate) mod function;
#[cfg(feature = "tokio")]
pub(crate) mod future;
pub(crate) mod into_response;
mod path_params;
pub(crate) mod rejection;
pub(crate) mod route;
pub(crate) mod runtime;
pub(crate) mod scratch;
