//! A request through a slot: from a parsed head to the worker's response on the socket.
//!
//! [`request_body`] reads a body as far as it is needed, [`dispatch`] finds the worker, [`reserve`] takes a slot, [`fill`] writes the request into it,
//! [`wait`] is what happens when there is none, [`absent`] when there is no worker, [`upload`] and [`download`] are bodies that
//! stream, also both at once, [`reply`] awaits the response and sends it (its [`head`] first, and before that what a worker says by [`interim`] responses), [`retry`] gives what a dead worker
//! had not begun to another, [`file`] sends a body from a file, [`upgrade`] hands a client over to its worker, and [`outcome`] names what can happen instead of a response.

pub mod absent;
pub mod dispatch;
mod download;
mod file;
pub mod fill;
mod head;
mod interim;
pub mod outcome;
pub mod reply;
mod request_body;
pub mod reserve;
mod retry;
mod upgrade;
mod upload;
pub mod wait;

use slotway_shm_proto::Method;

use crate::routing::registration::RouteSpec;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};
use dispatch::{DispatchOutcome, Ready};
use upload::UploadEnd;

/// What came of a request that went to a worker's route.
pub enum Served {
    /// The worker has responded to it.
    Responded(AfterRequest),
    /// The route is an event stream, and the request has no body.
    IsEventStream(Box<RouteSpec>),
}

/// Has a worker respond to the request.
pub async fn serve(wire: &mut Wire, call: &mut Call, method: Method) -> Result<Served, EarlyEnd> {
    let ready = if call.head.has_body() {
        request_body::with_body(wire, call, method).await?
    } else {
        // Most requests are these: no future more than is needed.
        match dispatch::now(wire, call, method)? {
            DispatchOutcome::Dispatched(exchange, _) => Ready::whole(wire, call, exchange),
            DispatchOutcome::MustWait(need, route) => {
                Box::pin(dispatch::later(wire, call, method, need, *route)).await?
            }
            DispatchOutcome::IsEventStream(route) => return Ok(Served::IsEventStream(route)),
        }
    };
    let Ready {
        mut exchange,
        mut upload,
    } = ready;
    wire.reactor.hangups.begin(&wire.state);
    if let Some(under_way) = &mut upload
        && upload::run(wire, &exchange, under_way).await? == UploadEnd::Complete
    {
        call.note_upload_complete();
        upload = None;
    }
    let response = reply::receive(wire, call, &mut exchange).await?;
    let after = reply::send(wire, call, exchange, &response, upload).await?;
    Ok(Served::Responded(after))
}
