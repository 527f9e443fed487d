//! One client's connection as bytes, and the request that is being read from it.
//!
//! [`bytes`] is the connection: socket, buffers, deadlines. [`call`] is one request on it,
//! from its head to what becomes of the connection after it; [`body`] reads its body as far
//! as it is needed before the request goes on, [`chunked_body`] one of unknown length, [`cors_fields`] are the fields by which a browser
//! lets a page read the response, [`offer`] is that of another protocol, [`noted`] is what the logs keep of a request, and [`ended`] shows it to them.

pub mod body;
pub mod bytes;
pub mod call;
pub mod chunked_body;
mod cors_fields;
mod ended;
mod noted;
pub mod offer;

pub use bytes::Wire;
pub use call::{AfterRequest, Call, EarlyEnd};
