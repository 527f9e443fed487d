//! An event, checked and written as an event stream has it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::http::local_reply::LocalReply;
use crate::limits::{EVENT_DATA_BYTES_MAX, EVENT_NAME_BYTES_MAX, EVENT_RETRY_MS_MAX};

/// What an event stream's client is told at intervals with nothing else to say: a
/// comment, which clients drop.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// `POST /internal/emit`, and what `/events` says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// Who says it, usually a worker's name.
    pub source: String,
    /// Its kind.
    pub event_type: String,
    /// Whatever it is, often JSON.
    pub data: String,
}

/// An event as it is sent, with what must be remembered of it. Cheap to clone: many
/// clients share it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What goes over the wire.
    pub text: Arc<str>,
    /// Its id, which clients give back as Last-Event-ID.
    pub id: Option<Arc<str>>,
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
    /// Checks it; the error is the answer to who sent it, 400 or 413.
    pub fn to_frame(self) -> Result<Frame, LocalReply> {
        let refuse = |field: &str, why: String| Err(LocalReply::field_error(400, field, why));
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
            let why = format!("longer than {EVENT_DATA_BYTES_MAX} bytes");
            return Err(LocalReply::field_error(413, "data", why));
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

impl Emitted {
    /// The event of `/events`: its data are the whole document.
    pub fn to_frame(&self) -> Result<Frame, LocalReply> {
        if self.source.len() > EVENT_NAME_BYTES_MAX {
            let why = format!("longer than {EVENT_NAME_BYTES_MAX} bytes");
            return Err(LocalReply::field_error(400, "source", why));
        }
        if self.data.len() > EVENT_DATA_BYTES_MAX {
            let why = format!("longer than {EVENT_DATA_BYTES_MAX} bytes");
            return Err(LocalReply::field_error(413, "data", why));
        }
        let document = serde_json::to_string(self).expect("strings serialise");
        let head = Event {
            event_type: &self.event_type,
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

    /// The channel that its data name, if they are a JSON object that does.
    pub fn channel(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Channel {
            channel: String,
        }
        let named: Channel = serde_json::from_str(&self.data).ok()?;
        Some(named.channel)
    }
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
            let answer = event.to_frame().expect_err("refused");
            let text = String::from_utf8(answer.body).unwrap();
            format!("{} {text}", answer.status)
        };
        assert!(refused(event("a\ndata: b", "")).contains("\"event_type\""));
        assert!(refused(event("", "")).contains("empty"));
        assert!(refused(event(&long[..300], "")).contains("\"event_type\""));
        assert!(refused(event("e", &long)).starts_with("413 "));
        for id in ["a\rb", "a\0"] {
            let event = Event {
                id: Some(id),
                ..event("e", "")
            };
            assert!(refused(event).contains("\"id\""), "{id:?}");
        }
        let forever = Event {
            retry_ms: Some(u64::MAX),
            ..event("e", "")
        };
        assert!(refused(forever).contains("\"retry\""));
    }

    #[test]
    fn an_emitted_event_is_told_whole_and_knows_its_channel() {
        let emitted = |data: &str| Emitted {
            source: "w".to_owned(),
            event_type: "done".to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(
            &*emitted("a\nb").to_frame().unwrap().text,
            "event: done\ndata: {\"source\":\"w\",\"event_type\":\"done\",\"data\":\"a\\nb\"}\n\n"
        );
        assert_eq!(
            emitted(r#"{"channel":"c","x":1}"#).channel(),
            Some("c".to_owned())
        );
        for none in ["", "channel", r#"{"channel":7}"#, r#"[{"channel":"c"}]"#] {
            assert_eq!(emitted(none).channel(), None, "{none}");
        }
    }
}
