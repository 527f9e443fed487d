//! Why a worker stops.

use std::fmt;
use std::io;
use std::path::PathBuf;

use slotway_shm_proto::message::{Goodbye, Refusal};

/// Why connecting to a hub failed, or why [`crate::HubWorker::run`] returned.
///
/// Its `Debug` is its text, so that it reads well where `main` returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The hub's URL is not valid.
    #[error("{url:?} is not a hub URL ({why}); expected, for example, http://127.0.0.1:3200")]
    Url {
        /// What was passed to [`crate::HubWorker::new`].
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The hub did not respond to the registration.
    #[error("cannot register at {url}: {why} (is slotway-hub running there? HUB_URL names it)")]
    Unreachable {
        /// Where.
        url: String,
        /// The transport's error.
        why: String,
    },
    /// The hub refused the registration.
    #[error("the hub refused the registration with {status}: {response}")]
    Registration {
        /// Status code.
        status: u16,
        /// What it said.
        response: String,
    },
    /// The hub's response to the registration is not valid.
    #[error("the hub's response to the registration is not valid: {0}")]
    RegistrationResponse(String),
    /// The attach socket cannot be reached.
    #[error("cannot reach the attach socket {path}: {error}")]
    AttachSocket {
        /// Where the hub said it is.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The attach socket is not for this user.
    #[error(
        "this worker may not use the attach socket {path}: it is for its hub's user{} and root, \
         and this worker runs as user {own}",
        owner.map(|uid| format!(" ({uid})")).unwrap_or_default()
    )]
    AttachDenied {
        /// The socket.
        path: PathBuf,
        /// Whose it is, if that may be known.
        owner: Option<u32>,
        /// This worker's user.
        own: u32,
    },
    /// The environment's `HUB_USER` names nobody.
    #[error("HUB_USER names {name:?}: {why}; it is the user that the hub runs as")]
    HubUser {
        /// What it says.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Another user listens where the hub should.
    #[error(
        "the attach socket {path} is of user {uid}, who is neither this worker's own nor root: if \
         that is the hub's user, say so with HUB_USER={uid} in the \
         environment, or trust_hub_user({uid})"
    )]
    UntrustedHub {
        /// The socket.
        path: PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// The hub refused to attach.
    #[error("the hub refused to attach: {0}")]
    Refused(Refusal),
    /// The hub sent something that is not a message of the protocol.
    #[error("the hub's message is not valid: {0}")]
    Message(String),
    /// The hub's memory cannot be used.
    #[error("the shared memory cannot be used: {0}")]
    Region(String),
    /// An async handler without a runtime.
    #[error("async handlers need a tokio runtime: start the worker in one")]
    NoRuntime,
    /// Threads or descriptors ran out.
    #[error("cannot start the worker's threads: {0}")]
    Threads(#[source] io::Error),
    /// The hub ended the session.
    #[error("the hub ended the session: {0}")]
    Ended(Goodbye),
    /// The connection to the hub broke.
    #[error("the connection to the hub was lost")]
    Disconnected,
}

impl RunError {
    /// Whether trying again can help. If not, `run` returns the error.
    pub fn is_transient(&self) -> bool {
        match self {
            // The hub may come back to where an impostor is now.
            Self::Unreachable { .. }
            | Self::AttachSocket { .. }
            | Self::UntrustedHub { .. }
            | Self::Disconnected => true,
            Self::Registration { status, .. } => *status >= 500,
            Self::Refused(why) => matches!(
                why,
                Refusal::UnknownWorkerId
                    | Refusal::Expired
                    | Refusal::NoResources
                    | Refusal::Stopping
                    | Refusal::TooMany
            ),
            Self::Ended(why) => {
                matches!(
                    why,
                    Goodbye::Stopping
                        | Goodbye::TooManyUnanswered
                        | Goodbye::Unresponsive
                        | Goodbye::NoResources
                )
            }
            Self::Url { .. }
            | Self::AttachDenied { .. }
            | Self::RegistrationResponse(_)
            | Self::Message(_)
            | Self::Region(_)
            | Self::NoRuntime
            | Self::Threads(_)
            | Self::HubUser { .. } => false,
        }
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// For a `main` that returns text.
impl From<RunError> for String {
    fn from(error: RunError) -> Self {
        error.to_string()
    }
}

/// For a handler that returns text.
impl From<EmitError> for String {
    fn from(error: EmitError) -> Self {
        error.to_string()
    }
}

impl fmt::Debug for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why an event was not passed on.
///
/// Its `Debug` is its text.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The worker's hub URL is not valid; running it says what is wrong.
    #[error("the worker's hub URL is not valid")]
    Url,
    /// The hub did not respond.
    #[error("cannot reach the hub: {0}")]
    Unreachable(String),
    /// The hub refused it.
    #[error("the hub refused the event with {status}: {response}")]
    Refused {
        /// Status code.
        status: u16,
        /// What it said.
        response: String,
    },
}
