//! Why the control thread does not do what it is asked for. It becomes a response at the
//! edge, in [`ControlError::to_reply`].

use crate::events::frame::EventError;
use crate::http::local_reply::LocalReply;
use crate::routing::conflict::RouteConflict;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// What was sent is not the document that it should be, or a field of it is wrong.
    #[error("{why}")]
    Document {
        /// The field, if it is known.
        field: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// An event is not one that can be sent.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The routes cannot stand beside others.
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// Not for this user.
    #[error("{0}")]
    NotAllowed(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// No client is there to push to.
    #[error("no client matches")]
    NoClient,
    /// The only client there is leaving.
    #[error("the client is disconnecting")]
    Leaving,
}

impl ControlError {
    /// A field is wrong.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        Self::Document {
            field: Some(field.to_owned()),
            why: why.into(),
        }
    }

    /// The status by which a client is told.
    pub fn status(&self) -> u16 {
        match self {
            Self::Event(EventError { is_too_large, .. }) if *is_too_large => 413,
            Self::Document { .. } | Self::Event(_) => 400,
            Self::NotAllowed(_) => 403,
            Self::Conflict(_) => 409,
            Self::Unavailable(_) => 503,
            Self::NoClient => 404,
            Self::Leaving => 410,
        }
    }

    /// The response.
    pub fn to_reply(&self) -> LocalReply {
        let (status, why) = (self.status(), self.to_string());
        let field = match self {
            Self::Document { field, .. } => field.as_deref(),
            Self::Event(error) => Some(error.field),
            _ => None,
        };
        let reply = match field {
            Some(field) => LocalReply::field_error(status, field, why),
            None => LocalReply::error(status, why),
        };
        match self {
            Self::Unavailable(_) => reply.with("Retry-After", "1"),
            _ => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status_its_field_and_its_words() {
        let event = |is_too_large| EventError {
            field: "data",
            why: "longer".to_owned(),
            is_too_large,
        };
        for (error, status, words) in [
            (
                ControlError::field("name", "it is empty"),
                400,
                "\"field\":\"name\"",
            ),
            (event(false).into(), 400, "\"field\":\"data\""),
            (event(true).into(), 413, "longer"),
            (ControlError::Unavailable("later".to_owned()), 503, "later"),
            (ControlError::NoClient, 404, "no client"),
            (ControlError::Leaving, 410, "disconnecting"),
        ] {
            let reply = error.to_reply();
            let body = String::from_utf8(reply.body).unwrap();
            assert_eq!(reply.status, status, "{error:?}");
            assert!(body.contains(words), "{body}");
            assert_eq!(reply.fields.len(), if status == 503 { 2 } else { 1 });
        }
    }
}
