//! An event, checked and written as an event stream has it.

use std::sync::Arc;

use serde::Deserialize;
use slotway_shm_proto::api::WorkerEvent;

use crate::limits::{EVENT_DATA_BYTES_MAX, EVENT_NAME_BYTES_MAX, EVENT_RETRY_MS_MAX};

/// What an event stream's client is told at intervals with nothing else to say: a
/// comment, which clients drop.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// An event as it is sent, with what must be remembered of it. Cheap to clone: many
/// clients share it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What goes over the wire.
    pub text: Arc<str>,
    /// Its id, which clients give back as Last-Event-ID.
    pub id: Option<Arc<str>>,
}

/// Why an event cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct EventError {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
    /// It is larger than an event may be.
    pub is_too_large: bool,
}

impl EventError {
    fn new(field: &'static str, why: String) -> Self {
        Self {
            field,
            why,
            is_too_large: false,
        }
    }

    fn data_too_large() -> Self {
        Self {
            is_too_large: true,
            ..Self::new("data", format!("longer than {EVENT_DATA_BYTES_MAX} bytes"))
        }
    }
}

/// An event's parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'e> {
    /// `event:`
    pub event_type: &'e str,
    /// `data:`, a line for each of its lines.
    pub data: &'e str,
    /// `id:`
    pub id: Option<&'e str>,
    /// `retry:`, in milliseconds.
    pub retry_ms: Option<u64>,
}

impl Event<'_> {
    /// Checks it.
    pub fn to_frame(self) -> Result<Frame, EventError> {
        let refuse = |field, why| Err(EventError::new(field, why));
        for (field, text) in [("event_type", Some(self.event_type)), ("id", self.id)] {
            let Some(text) = text else { continue };
            if text.len() > EVENT_NAME_BYTES_MAX {
                return refuse(field, format!("longer than {EVENT_NAME_BYTES_MAX} bytes"));
            }
            // Line ends would begin another field, and clients ignore ids with NUL.
            if text.contains(['\r', '\n', '\0']) {
                return refuse(field, "it contains a line end or a NUL".to_owned());
            }
        }
        if self.event_type.is_empty() {
            return refuse("event_type", "it is empty".to_owned());
        }
        if self.retry_ms.is_some_and(|ms| ms > EVENT_RETRY_MS_MAX) {
            return refuse("retry", format!("more than {EVENT_RETRY_MS_MAX} ms"));
        }
        if self.data.len() > EVENT_DATA_BYTES_MAX {
            return Err(EventError::data_too_large());
        }
        Ok(Frame {
            text: self.write().into(),
            id: self.id.map(Into::into),
        })
    }

    fn write(self) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(self.data.len() + self.event_type.len() + 64);
        if let Some(id) = self.id {
            let _ = writeln!(text, "id: {id}");
        }
        if let Some(retry_ms) = self.retry_ms {
            let _ = writeln!(text, "retry: {retry_ms}");
        }
        let _ = writeln!(text, "event: {}", self.event_type);
        for line in lines(self.data) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text
    }
}

/// An event stream's lines end with CR, LF or both; so must an event's data be split,
/// or they could begin a field of their own.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let behind = &text[end..];
        let line_end = if behind.starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&behind[line_end..]);
        Some(&text[..end])
    })
}

/// The event of `/events`: its data are the whole document.
pub fn frame_of(emitted: &WorkerEvent) -> Result<Frame, EventError> {
    if emitted.source.len() > EVENT_NAME_BYTES_MAX {
        let why = format!("longer than {EVENT_NAME_BYTES_MAX} bytes");
        return Err(EventError::new("source", why));
    }
    if emitted.data.len() > EVENT_DATA_BYTES_MAX {
        return Err(EventError::data_too_large());
    }
    let document = serde_json::to_string(emitted).expect("strings serialise");
    let head = Event {
        event_type: &emitted.event_type,
        ..Event::default()
    };
    head.to_frame()?;
    // Escapes may have made it longer than what comes from outside may be.
    let text = Event {
        data: &document,
        ..head
    };
    Ok(Frame {
        text: text.write().into(),
        id: None,
    })
}

/// The channel that an event's data name, if they are a JSON object that does.
pub fn channel_of(emitted: &WorkerEvent) -> Option<String> {
    #[derive(Deserialize)]
    struct Channel {
        channel: String,
    }
    let named: Channel = serde_json::from_str(&emitted.data).ok()?;
    Some(named.channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'e>(event_type: &'e str, data: &'e str) -> Event<'e> {
        Event {
            event_type,
            data,
            ..Event::default()
        }
    }

    #[test]
    fn an_event_is_written_as_clients_read_it() {
        let frame = Event {
            id: Some("7"),
            retry_ms: Some(100),
            ..event("tick", "one\ntwo\r\nthree\rfour")
        };
        assert_eq!(
            &*frame.to_frame().unwrap().text,
            "id: 7\nretry: 100\nevent: tick\ndata: one\ndata: two\ndata: three\ndata: four\n\n"
        );
        assert_eq!(
            &*event("e", "").to_frame().unwrap().text,
            "event: e\ndata: \n\n"
        );
        assert_eq!(
            &*event("e", "x\n").to_frame().unwrap().text,
            "event: e\ndata: x\ndata: \n\n"
        );
    }

    #[test]
    fn what_would_begin_another_field_or_be_too_large_is_refused_by_name() {
        let long = "x".repeat(EVENT_DATA_BYTES_MAX + 1);
        let refused = |event: Event<'_>| {
            let error = event.to_frame().expect_err("refused");
            let size = if error.is_too_large {
                "too large: "
            } else {
                ""
            };
            format!("{size}{}: {error}", error.field)
        };
        assert!(refused(event("a\ndata: b", "")).starts_with("event_type: "));
        assert!(refused(event("", "")).contains("empty"));
        assert!(refused(event(&long[..300], "")).starts_with("event_type: "));
        assert!(refused(event("e", &long)).starts_with("too large: data: "));
        for id in ["a\rb", "a\0"] {
            let event = Event {
                id: Some(id),
                ..event("e", "")
            };
            assert!(refused(event).starts_with("id: "), "{id:?}");
        }
        let forever = Event {
            retry_ms: Some(u64::MAX),
            ..event("e", "")
        };
        assert!(refused(forever).starts_with("retry: "));
    }

    #[test]
    fn an_emitted_event_is_told_whole_and_knows_its_channel() {
        let emitted = |data: &str| WorkerEvent {
            source: "w".to_owned(),
            event_type: "done".to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(
            &*frame_of(&emitted("a\nb")).unwrap().text,
            "event: done\ndata: {\"source\":\"w\",\"event_type\":\"done\",\"data\":\"a\\nb\"}\n\n"
        );
        assert_eq!(
            channel_of(&emitted(r#"{"channel":"c","x":1}"#)),
            Some("c".to_owned())
        );
        for none in ["", "channel", r#"{"channel":7}"#, r#"[{"channel":"c"}]"#] {
            assert_eq!(channel_of(&emitted(none)), None, "{none}");
        }
    }
}
