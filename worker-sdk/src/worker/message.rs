//! What the supervisor is told.

use crate::error::RunError;
use crate::hub::attach::{Attachment, News};

/// What the supervisor is told.
pub(crate) enum Message {
    /// What came of registering and attaching.
    Connected(Result<Attachment, RunError>),
    /// What came of attaching to a new hub.
    Moved(Result<Attachment, RunError>),
    /// A session, by its id, has something to say.
    News(u64, News),
    /// Finish what there is, and end.
    Stop,
    /// Tell those hubs again that did not read.
    Leave,
    /// End at once.
    Abort,
}
