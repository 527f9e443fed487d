//! Telling a handler that its response is not wanted any more.

use crate::exchange::request::Request;
#[cfg(feature = "tokio")]
pub use crate::session::slot_state::CancellationToken;

impl Request {
    /// Whether the response is probably not wanted any more: the deadline has passed,
    /// the client has left, or the session with the hub is over. A response is still
    /// due, or the slot stays taken; it may be any.
    pub fn is_cancelled(&self) -> bool {
        self.session.is_perhaps_unwanted(self.key) || self.session.has_ended()
    }

    /// A token that is cancelled once [`Request::is_cancelled`] is true, to be waited
    /// for by async handlers and passed on to what they call.
    ///
    /// ```
    /// # async fn ask_the_database(id: &str) -> String { id.to_owned() }
    /// use slotway_worker_sdk::response::Response;
    /// use slotway_worker_sdk::{HubWorker, Method, Request};
    ///
    /// async fn find(request: Request) -> Response {
    ///     let id = request.param("id").unwrap_or_default();
    ///     tokio::select! {
    ///         found = ask_the_database(id) => request.response(200).text(found),
    ///         () = request.cancellation().cancelled_owned() => request.response(503).empty(),
    ///     }
    /// }
    ///
    /// HubWorker::new("http://127.0.0.1:3200", "finder", ())
    ///     .in_place_async(Method::Get, "/find/{id}", |_, request| find(request));
    /// ```
    #[cfg(feature = "tokio")]
    pub fn cancellation(&self) -> CancellationToken {
        let mut state = self.session.lock_transfer(self.key);
        state.begin(self.key);
        let token = state.cancellation.get_or_insert_default().clone();
        // What came before the token was there has been told to nobody.
        if self.is_cancelled() {
            token.cancel();
        }
        token
    }
}
